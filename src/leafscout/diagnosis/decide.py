"""Decide: probabilities → labels present, healthy, or unsure with a reason. Once, in numpy."""

from __future__ import annotations

import numpy as np

from leafscout.types import FloatArray

UNSURE_ODDS = 1.5
"""A label whose odds differ from its threshold's by less than this factor is a close call."""


def healthy_probability(label_probs: FloatArray, *, exclusive: bool = False) -> float:
    """Probability that no label is present: ``Π(1 − p)`` of independent labels.

    Args:
        label_probs: (labels,) calibrated probabilities.
        exclusive: photos show one disease or none: ``1 − Σp``.
    """
    if exclusive:
        return max(0.0, 1.0 - float(label_probs.astype(np.float64).sum()))
    return float(np.prod(1.0 - label_probs.astype(np.float64)))


def reason_to_doubt(
    labels: tuple[str, ...],
    label_probs: FloatArray,
    thresholds: FloatArray,
    *,
    exclusive: bool = False,
    strangeness: float = 0.0,
) -> str | None:
    """Why a person should check the diagnosis, or None.

    Args:
        labels: names of the labels.
        label_probs: (labels,) calibrated probabilities.
        thresholds: (labels,) decision thresholds.
        exclusive: photos show one disease or none.
        strangeness: how unlike the training photos the photo is; above 1 counts as unlike.

    Returns:
        A sentence: that the photo is strange; or, where labels exclude each other and several
        reach their thresholds, their names; or the closest call. None when the odds of every
        label differ from those of its threshold by a factor of ``UNSURE_ODDS`` or more.
    """
    if strangeness > 1.0:
        return (
            "unlike the photos that the model learnt from, in sharpness, light, colours or layout "
            f"({strangeness:.1f} times as far from them as one of them may be): probabilities were "
            "drawn towards how common each disease is among those"
        )
    rivals = np.flatnonzero(label_probs >= thresholds)
    if exclusive and len(rivals) > 1:
        named = ", ".join(f"{labels[index]} {label_probs[index]:.2f}" for index in rivals)
        return f"several labels where one was expected: {named}"
    # Odds, not differences: 0.02 is nowhere near a threshold of 0.1, 0.45 is near one of 0.53.
    margins = np.abs(_log_odds(label_probs) - _log_odds(thresholds))
    closest = int(margins.argmin())
    if margins[closest] >= np.log(UNSURE_ODDS):
        return None
    return (
        f"a close call: {labels[closest]} has probability {label_probs[closest]:.2f}, and "
        f"{thresholds[closest]:.2f} decides"
    )


def _log_odds(probs: FloatArray) -> FloatArray:
    inside = np.clip(probs, 1e-6, 1 - 1e-6)
    odds: FloatArray = np.log(inside / (1 - inside))
    return odds
