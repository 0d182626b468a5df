"""Healthy, present, or worth a second look."""

import numpy as np
import pytest

from leafscout.diagnosis.decide import UNSURE_MARGIN, healthy_probability, reason_to_doubt

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
    far = np.array([0.5 + UNSURE_MARGIN + 0.01, 0.05], np.float32)
    assert reason_to_doubt(LABELS, far, np.array([0.5, 0.5], np.float32)) is None
