"""What the scout should see: the expert's evidence as targets from 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafscout.diagnosis.calibrate import sigmoid
from leafscout.types import FloatArray

RANKED_FRAC = 0.2
"""Share of all training tiles whose order the target ``rank`` tells; the others are all 0."""

ACTIVATION_SPAN = (0.5, 0.99)
"""Quantiles of the training tiles' logits that the target ``activation`` puts at 0 and at 1."""


def known_absent(truth: NDArray[np.bool_], *, labels_complete: bool) -> NDArray[np.bool_]:
    """(labels,) True where a photo's labels rule a disease out.

    Args:
        truth: (labels,) the photo's labels.
        labels_complete: whether a label that is not named is known to be absent.
    """
    return ~truth if labels_complete or not truth.any() else np.zeros_like(truth)


def evidence_targets(
    tile_logits: FloatArray, truth: NDArray[np.bool_], *, labels_complete: bool
) -> FloatArray:
    """What the scout should see: the expert's probabilities, without what the label rules out.

    Args:
        tile_logits: (tiles, labels) the expert's evidence; NaN where the expert did not look.
        truth: (labels,) the photo's labels.
        labels_complete: whether a label that is not named is known to be absent.

    Returns:
        (tiles, labels) 0..1; exactly 0 for labels that the photo does not have, and NaN where
        nothing is known.
    """
    probs = sigmoid(tile_logits).astype(np.float32)
    probs[:, known_absent(truth, labels_complete=labels_complete)] = 0.0
    return probs


@dataclass(frozen=True)
class ScoreScale:
    """How loud evidence turns into the target of the scout's score.

    It is one monotone function for all photos, so a score stays absolute: a scaling within each
    photo could not say "nothing here".

    Attributes:
        kind: ``probability``, ``activation`` or ``rank``, see ``fit_score_scale``.
        levels: rising logits that mark ``targets``; empty for ``probability``.
        targets: as many rising values, 0..1.
    """

    kind: str
    levels: tuple[float, ...] = ()
    targets: tuple[float, ...] = ()

    def apply(
        self, tile_logits: FloatArray, truth: NDArray[np.bool_], *, labels_complete: bool
    ) -> FloatArray:
        """(tiles,) targets 0..1 of the score: of the loudest label that the photo may have.

        Args:
            tile_logits: (tiles, labels) the expert's evidence; NaN where the expert did not look.
            truth: (labels,) the photo's labels.
            labels_complete: whether a label that is not named is known to be absent.
        """
        loudest = loudest_logits(tile_logits, truth, labels_complete=labels_complete)
        if self.kind == "probability":
            return sigmoid(loudest).astype(np.float32)
        scaled = np.interp(loudest, self.levels, self.targets)
        return np.where(np.isnan(loudest), np.nan, scaled).astype(np.float32)


def loudest_logits(
    tile_logits: FloatArray, truth: NDArray[np.bool_], *, labels_complete: bool
) -> FloatArray:
    """(tiles,) the loudest evidence that labels allow; −inf without any, NaN where not known."""
    absent = known_absent(truth, labels_complete=labels_complete)
    allowed = np.where(absent, -np.inf, tile_logits)
    loudest: FloatArray = allowed.max(axis=1).astype(np.float32)
    return loudest


def fit_score_scale(
    kind: str,
    evidence: Sequence[FloatArray],
    truth: NDArray[np.bool_],
    *,
    labels_complete: bool,
) -> ScoreScale:
    """Fit the target of the scout's score to the evidence of the training photos.

    - ``probability``: the expert's probability.
    - ``activation``: its logit, straight from 0 at the median tile to 1 at the 99th percentile:
      a tile that excites the expert a little counts a little, where the probability is near 0.
    - ``rank``: the place among all training tiles, from 1 for the loudest to 0 for those outside
      the loudest fifth; it does not depend on how sure the expert is.

    Args:
        kind: one of these.
        evidence: per training photo, (tiles, labels) logits.
        truth: (photos, labels).
        labels_complete: whether a label that is not named is known to be absent.

    Returns:
        The scale. Where no tile has evidence, it is that of the probability.
    """
    if kind == "probability":
        return ScoreScale(kind)
    loudest = np.concatenate(
        [
            loudest_logits(logits, row, labels_complete=labels_complete)
            for logits, row in zip(evidence, truth, strict=True)
        ]
    )
    allowed = np.sort(loudest[np.isfinite(loudest)].astype(np.float64))
    if not len(allowed) or allowed[0] == allowed[-1]:
        return ScoreScale("probability")
    if kind == "activation":
        low, high = (float(value) for value in np.quantile(allowed, ACTIVATION_SPAN))
        return ScoreScale(kind, (low, max(high, low + 1e-3)), (0.0, 1.0))
    # Tiles that labels rule out belong to the crowd that is outranked.
    crowd = int(np.count_nonzero(~np.isnan(loudest)))
    loud = allowed[-max(2, round(RANKED_FRAC * crowd)) :]
    places = np.linspace(0.0, 1.0, 21)
    return ScoreScale(
        kind,
        tuple(float(value) for value in np.quantile(loud, places)),
        tuple(float(value) for value in places),
    )
