"""Filters of the first layer as pictures."""

import numpy as np
import pytest
import torch
from torch import nn

from leafscout.errors import InputError
from leafscout.explanation.filters import draw_filters, first_filters
from leafscout.networks import build_scout


def test_the_first_layer_over_colours_is_found() -> None:
    network = build_scout("tiny", 2)
    convolution = next(one for one in network.modules() if isinstance(one, nn.Conv2d))
    filters = first_filters(network)
    assert filters.shape == (24, 3, 3, 3)
    assert np.array_equal(filters[5, 1, 2], convolution.weight.detach().numpy()[5, :, 1, 2])


def test_a_filter_is_grey_where_it_is_0_and_bright_at_its_largest() -> None:
    filters = np.zeros((2, 3, 3, 3), dtype=np.float32)
    filters[0, 0, 0, 1] = 2.0
    sheet = draw_filters(filters, cell_px=6)
    assert sheet.shape == (8, 15, 3)
    assert sheet[1, 1].tolist() == [128, 255, 128]
    assert sheet[5, 5].tolist() == [128, 128, 128]
    assert sheet[0, 0].tolist() == [255, 255, 255]


def test_a_network_without_colours_is_refused() -> None:
    with pytest.raises(InputError, match="no first layer"):
        first_filters(nn.Linear(3, 3))
    assert torch.is_grad_enabled()
