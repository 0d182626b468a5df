"""Decide: probabilities → labels present, healthy, or unsure with a reason. Once, in numpy."""

from __future__ import annotations

import numpy as np

from leafscout.types import FloatArray

UNSURE_MARGIN = 0.1
"""A label whose probability is nearer than this to its threshold is a close call."""


def healthy_probability(label_probs: FloatArray) -> float:
    """Probability that no label is present, the labels taken as independent: ``Π(1 − p)``."""
    return float(np.prod(1.0 - label_probs.astype(np.float64)))


def reason_to_doubt(
    labels: tuple[str, ...], label_probs: FloatArray, thresholds: FloatArray
) -> str | None:
    """Why a person should check the diagnosis, or None.

    Args:
        labels: names of the labels.
        label_probs: (labels,) calibrated probabilities.
        thresholds: (labels,) decision thresholds.

    Returns:
        A sentence that names the closest call, or None when every label is clear of its
        threshold by ``UNSURE_MARGIN``.
    """
    margins = np.abs(label_probs - thresholds)
    closest = int(margins.argmin())
    if margins[closest] >= UNSURE_MARGIN:
        return None
    return (
        f"a close call: {labels[closest]} has probability {label_probs[closest]:.2f}, and "
        f"{thresholds[closest]:.2f} decides"
    )
