"""Per-label calibration: logits → probabilities that mean what they say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafscout.types import FloatArray


@dataclass(frozen=True)
class Calibration:
    """``p = σ(scale · logit + shift)`` per label (Platt 1999).

    Attributes:
        scale: (labels,) positive, so that the order of photos is kept; 1/scale is a temperature.
        shift: (labels,).
    """

    scale: tuple[float, ...]
    shift: tuple[float, ...]

    def apply(self, logits: FloatArray) -> FloatArray:
        """(..., labels) logits → (..., labels) probabilities, 0..1."""
        probs: FloatArray = sigmoid(
            np.asarray(self.scale) * logits + np.asarray(self.shift)
        ).astype(np.float32)
        return probs


def sigmoid(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """``1 / (1 + exp(−z))`` without overflow."""
    half: NDArray[np.float64] = 0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float64)))
    return half


def fit_calibration(
    logits: FloatArray, truth: NDArray[np.bool_], *, prior_strength: float = 2.0
) -> Calibration:
    """Fit scale and shift per label by penalised maximum likelihood (Newton's method).

    Args:
        logits: (photos, labels).
        truth: (photos, labels).
        prior_strength: pulls ``log scale`` and ``shift`` towards 0, as that many photos would;
            a label seen rarely stays nearly as it is.

    Returns:
        The calibration.
    """
    fitted = [
        _fit_label(logits[:, label].astype(np.float64), truth[:, label], prior_strength)
        for label in range(logits.shape[1])
    ]
    return Calibration(
        scale=tuple(scale for scale, _ in fitted), shift=tuple(shift for _, shift in fitted)
    )


def _fit_label(
    z: NDArray[np.float64], y: NDArray[np.bool_], prior_strength: float
) -> tuple[float, float]:
    # Platt's targets, not 0 and 1: keeps a separable label from becoming infinitely sure.
    positives, negatives = int(y.sum()), int((~y).sum())
    target = np.where(y, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(log_scale: float, shift: float) -> float:
        u = np.exp(log_scale) * z + shift
        fit = np.logaddexp(0.0, u) - target * u
        return float(fit.sum() + 0.5 * prior_strength * (log_scale**2 + shift**2))

    log_scale, shift = 0.0, 0.0
    for _ in range(100):
        scale = np.exp(log_scale)
        p = sigmoid(scale * z + shift)
        inner = scale * z
        gradient = np.array(
            [((p - target) * inner).sum() + prior_strength * log_scale,
             (p - target).sum() + prior_strength * shift]
        )  # fmt: skip
        weight = p * (1 - p)
        # Gauss–Newton curvature: positive definite, so that every step goes downhill.
        curvature = np.array(
            [[(weight * inner**2).sum(), (weight * inner).sum()],
             [(weight * inner).sum(), weight.sum()]]
        ) + prior_strength * np.eye(2)  # fmt: skip
        step = np.linalg.solve(curvature, gradient)
        rate, start = 1.0, loss(log_scale, shift)
        while loss(log_scale - rate * step[0], shift - rate * step[1]) > start and rate > 1e-6:
            rate *= 0.5
        log_scale, shift = log_scale - rate * step[0], shift - rate * step[1]
        if np.abs(rate * step).max() < 1e-9:
            break
    return float(np.exp(log_scale)), float(shift)
