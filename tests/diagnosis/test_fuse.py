"""Fusing glance and focus, and letting unread tiles enter the bag."""

import numpy as np
import pytest

from leafscout.diagnosis.fuse import fill_unread, fuse_evidence


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 2.0), (1.0, -4.0), (0.25, 0.5)])
def test_fusion_is_a_weighted_mean_of_logits(weight: float, expected: float) -> None:
    focus, glance = np.array([[2.0]], np.float32), np.array([[-4.0]], np.float32)
    assert fuse_evidence(focus, glance, (weight,))[0, 0] == pytest.approx(expected)


def test_unread_tiles_enter_with_a_guess_no_higher_than_their_score() -> None:
    expert = np.array([[5.0, -5.0], [np.nan, np.nan], [np.nan, np.nan]], np.float32)
    guess = np.array([[9.0, 9.0], [3.0, -4.0], [-1.0, -2.0]], np.float32)
    score = np.array([9.0, -3.0, 4.0], np.float32)
    filled = fill_unread(expert, score, guess, np.array([True, False, False]))
    np.testing.assert_array_equal(filled, [[5, -5], [-3, -4], [-1, -2]])
    assert np.isnan(expert[1]).all(), "what was given must not change"
