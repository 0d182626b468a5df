"""Per-label calibration: logits → probabilities that mean what they say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafscout.types import FloatArray


@dataclass(frozen=True)
class Calibration:
    """``p = σ(scale · logit + shift)`` per label (Platt 1999), or a softmax in place of the σ.

    Attributes:
        scale: (labels,) positive, so that the order of photos is kept; 1/scale is a temperature.
        shift: (labels,).
        exclusive: photos show one disease or none: a softmax over healthy, whose logit is 0, and
            the labels (vector scaling, Guo et al. 2017). Probabilities then sum to at most 1.
    """

    scale: tuple[float, ...]
    shift: tuple[float, ...]
    exclusive: bool = False

    def apply(self, logits: FloatArray) -> FloatArray:
        """(..., labels) logits → (..., labels) probabilities, 0..1."""
        scaled = np.asarray(self.scale) * logits + np.asarray(self.shift)
        squash = softmax_with_healthy if self.exclusive else sigmoid
        probs: FloatArray = squash(scaled).astype(np.float32)
        return probs


def sigmoid(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """``1 / (1 + exp(−z))`` without overflow."""
    half: NDArray[np.float64] = 0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float64)))
    return half


def softmax_with_healthy(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """``exp(z) / (1 + Σ exp(z))`` over the last axis: healthy has the logit 0 and the rest."""
    z = logits.astype(np.float64)
    top = np.maximum(z.max(axis=-1, keepdims=True), 0.0)
    raised: NDArray[np.float64] = np.exp(z - top)
    probs: NDArray[np.float64] = raised / (np.exp(-top) + raised.sum(axis=-1, keepdims=True))
    return probs


def fit_calibration(
    logits: FloatArray,
    truth: NDArray[np.bool_],
    *,
    prior_strength: float = 2.0,
    exclusive: bool = False,
) -> Calibration:
    """Fit scale and shift per label by penalised maximum likelihood (Newton's method).

    Args:
        logits: (photos, labels).
        truth: (photos, labels).
        prior_strength: pulls ``log scale`` and ``shift`` towards 0, as that many photos would;
            a label seen rarely stays nearly as it is.
        exclusive: fit a softmax over healthy and all labels together; at most one label a photo.

    Returns:
        The calibration.
    """
    if exclusive:
        return _fit_exclusive(logits.astype(np.float64), truth, prior_strength)
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


def _fit_exclusive(
    z: NDArray[np.float64], truth: NDArray[np.bool_], prior_strength: float
) -> Calibration:
    photos, labels = z.shape
    # Each class is pulled a little towards the others, as Platt does with two of them.
    counts = np.concatenate([[(~truth.any(axis=1)).sum()], truth.sum(axis=0)])
    wanted = np.concatenate([~truth.any(axis=1, keepdims=True), truth], axis=1).astype(np.float64)
    softness = (wanted / (counts + labels + 1.0)).sum(axis=1, keepdims=True)
    target = ((1.0 - (labels + 1.0) * softness) * wanted + softness)[:, 1:]

    def loss(x: NDArray[np.float64]) -> float:
        u = np.exp(x[:labels]) * z + x[labels:]
        everyone = np.logaddexp.reduce(np.concatenate([np.zeros((photos, 1)), u], axis=1), axis=1)
        return float((everyone - (target * u).sum(axis=1)).sum() + 0.5 * prior_strength * x @ x)

    x = np.zeros(2 * labels)
    for _ in range(100):
        inner = np.exp(x[:labels]) * z
        p = softmax_with_healthy(inner + x[labels:])
        slope = np.concatenate([(p - target) * inner, p - target], axis=1)  # (photos, 2·labels)
        # Gauss–Newton curvature Jᵀ (diag p − p pᵀ) J: positive definite with the prior.
        both = np.concatenate([p * inner, p], axis=1)
        same = np.concatenate([inner, np.ones_like(inner)], axis=1)
        diagonal = np.einsum("nc,nkc,nlc->klc", p, *(2 * [same.reshape(photos, 2, labels)]))
        curvature = prior_strength * np.eye(2 * labels) - both.T @ both
        for k, m in np.ndindex(2, 2):
            places = np.arange(labels)
            curvature[k * labels + places, m * labels + places] += diagonal[k, m]
        step = np.linalg.solve(curvature, slope.sum(axis=0) + prior_strength * x)
        rate, start = 1.0, loss(x)
        while loss(x - rate * step) > start and rate > 1e-6:
            rate *= 0.5
        x = x - rate * step
        if np.abs(rate * step).max() < 1e-9:
            break
    return Calibration(
        tuple(float(value) for value in np.exp(x[:labels])),
        tuple(float(value) for value in x[labels:]),
        exclusive=True,
    )
