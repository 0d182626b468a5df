"""A depthwise and a pointwise convolution against a full one: counted, not believed."""

from fractions import Fraction

import pytest
from torch import nn

from leafscout.networks import count_macs

SIDE_PX = 16


@pytest.mark.parametrize(("outputs", "kernel"), [(8, 3), (32, 3), (16, 5)])
def test_a_separable_convolution_saves_what_its_formula_says(outputs: int, kernel: int) -> None:
    channels, padding = 3, kernel // 2
    full = nn.Conv2d(channels, outputs, kernel, padding=padding)
    separable = nn.Sequential(
        nn.Conv2d(channels, channels, kernel, padding=padding, groups=channels),
        nn.Conv2d(channels, outputs, 1),
    )
    counted = Fraction(count_macs(separable, SIDE_PX, SIDE_PX), count_macs(full, SIDE_PX, SIDE_PX))
    assert counted == Fraction(1, outputs) + Fraction(1, kernel**2)
