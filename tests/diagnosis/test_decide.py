"""Healthy, present, or worth a second look."""

import numpy as np
import pytest

from leafscout.diagnosis.decide import UNSURE_ODDS, healthy_probability, reason_to_doubt

LABELS = ("rust", "scab")


def test_healthy_is_the_absence_of_every_label() -> None:
    assert healthy_probability(np.array([0.5, 0.2], np.float32)) == pytest.approx(0.4)
    assert healthy_probability(np.array([0.0, 0.0], np.float32)) == 1.0
    assert healthy_probability(np.array([0.3, 1.0], np.float32)) == 0.0


def test_the_closest_call_is_named() -> None:
    reason = reason_to_doubt(
        LABELS, np.array([0.9, 0.45], np.float32), np.array([0.5, 0.4], np.float32)
    )
    assert reason is not None
    assert reason == "a close call: scab has probability 0.45, and 0.40 decides"


def test_clear_calls_give_no_doubt() -> None:
    near, far = (odds / (1 + odds) for odds in (0.99 * UNSURE_ODDS, 1.01 * UNSURE_ODDS))
    even = np.array([0.5, 0.5], np.float32)
    assert reason_to_doubt(LABELS, np.array([near, 0.05], np.float32), even) is not None
    assert reason_to_doubt(LABELS, np.array([far, 0.05], np.float32), even) is None
    assert reason_to_doubt(LABELS, np.array([1 - far, 0.95], np.float32), even) is None


def test_a_small_probability_is_clear_of_a_low_threshold() -> None:
    low = np.array([0.1, 0.1], np.float32)
    assert reason_to_doubt(LABELS, np.array([0.02, 0.04], np.float32), low) is None
