"""Weights of losses that come in late."""

import pytest

from leafscout.losses.rising_weight import RAMP_EPOCHS, rising_weight


def test_nothing_before_the_warm_up_then_a_rise_to_the_full_weight() -> None:
    weights = [rising_weight(epoch, 0.6, 4) for epoch in range(12)]
    assert weights[:4] == [0.0] * 4
    assert weights[4 : 4 + RAMP_EPOCHS] == pytest.approx([0.2, 0.4, 0.6])
    assert weights[4 + RAMP_EPOCHS :] == pytest.approx([0.6] * (8 - RAMP_EPOCHS))


def test_without_a_warm_up_it_is_full_from_the_start() -> None:
    assert rising_weight(0, 0.6, 0) == 0.6


def test_weight_nought_stays_nought() -> None:
    assert [rising_weight(epoch, 0.0, 2) for epoch in range(6)] == [0.0] * 6
