"""The formulas: precision, recall, F1, accuracy, average precision, area under the ROC curve.

Every formula takes photo weights. Weights of one give the plain figure; the counts of a bootstrap
resample give the figure of that resample, so that both come from the same lines and a thousand
resamples cost one pass over arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError

BoolArray = NDArray[np.bool_]
Floats = NDArray[np.float64]
Formula = Callable[[BoolArray, Floats, Floats | None], Floats]


@dataclass(frozen=True, eq=False)
class Counts:
    """(resamples, labels) weighted photos by truth and decision."""

    true_positives: Floats
    false_positives: Floats
    false_negatives: Floats
    true_negatives: Floats

    def summed(self) -> Counts:
        """The counts of all labels together, (resamples, 1): the micro average's."""
        return Counts(
            *(
                part.sum(axis=1, keepdims=True)
                for part in (
                    self.true_positives,
                    self.false_positives,
                    self.false_negatives,
                    self.true_negatives,
                )
            )
        )


def count_decisions(truth: BoolArray, decided: BoolArray, weights: Floats | None = None) -> Counts:
    """Count photos by truth and decision.

    Args:
        truth: (photos, labels) which labels each photo truly has.
        decided: (photos, labels) which labels each photo was given.
        weights: (resamples, photos) how often each photo counts; None counts each once.
    """
    weights = plain_weights(len(truth)) if weights is None else weights
    return Counts(
        weights @ (truth & decided).astype(np.float64),
        weights @ (~truth & decided).astype(np.float64),
        weights @ (truth & ~decided).astype(np.float64),
        weights @ (~truth & ~decided).astype(np.float64),
    )


def precision(counts: Counts) -> Floats:
    """TP / (TP + FP); 0 where nothing was decided, NaN where the label has no positives."""
    share = _divide(counts.true_positives, counts.true_positives + counts.false_positives, 0.0)
    return _nan_without_positives(share, counts)


def recall(counts: Counts) -> Floats:
    """TP / (TP + FN); NaN where the label has no positives."""
    return _divide(counts.true_positives, counts.true_positives + counts.false_negatives, np.nan)


def f1(counts: Counts) -> Floats:
    """The harmonic mean of precision and recall; NaN where the label has no positives."""
    return f_beta(counts, 1.0)


def f_beta(counts: Counts, beta: float) -> Floats:
    """Recall weighing ``beta`` times as much as precision; NaN where there are no positives."""
    square = beta * beta
    hits = (1 + square) * counts.true_positives
    misses = square * counts.false_negatives + counts.false_positives
    return _nan_without_positives(_divide(hits, hits + misses, 0.0), counts)


def accuracy(counts: Counts) -> Floats:
    """(TP + TN) / photos; defined without positives too."""
    right = counts.true_positives + counts.true_negatives
    return _divide(right, right + counts.false_positives + counts.false_negatives, np.nan)


def average_precision(truth: BoolArray, scores: Floats, weights: Floats | None = None) -> Floats:
    """The area under the precision-recall steps, without interpolation.

    Args:
        truth: (photos,) which photos have the label.
        scores: (photos,) higher means more likely; photos of equal score enter together.
        weights: (resamples, photos) how often each photo counts; None counts each once.

    Returns:
        (resamples,) 0..1; NaN where there are no positives.
    """
    hits, alarms = cumulate_scores(truth, scores, weights)
    steps = np.diff(hits, axis=1, prepend=0.0)
    area = (steps * _divide(hits, hits + alarms, 0.0)).sum(axis=1)
    return _divide(area, hits[:, -1], np.nan)


def roc_auc(truth: BoolArray, scores: Floats, weights: Floats | None = None) -> Floats:
    """How often a photo with the label outranks one without; ties count half.

    Args:
        truth: (photos,) which photos have the label.
        scores: (photos,) higher means more likely.
        weights: (resamples, photos) how often each photo counts; None counts each once.

    Returns:
        (resamples,) 0..1; NaN where there are no positives or no negatives.
    """
    hits, alarms = cumulate_scores(truth, scores, weights)
    alarm_steps = np.diff(alarms, axis=1, prepend=0.0)
    hit_steps = np.diff(hits, axis=1, prepend=0.0)
    pairs = (alarm_steps * (hits - hit_steps / 2)).sum(axis=1)
    return _divide(pairs, hits[:, -1] * alarms[:, -1], np.nan)


def cumulate_scores(
    truth: BoolArray, scores: Floats, weights: Floats | None = None
) -> tuple[Floats, Floats]:
    """Positives and negatives at or above each distinct score, from high to low.

    Args:
        truth: (photos,) which photos have the label.
        scores: (photos,) higher means more likely.
        weights: (resamples, photos) how often each photo counts; None counts each once.

    Returns:
        Two arrays (resamples, distinct scores).
    """
    weights = plain_weights(len(truth)) if weights is None else weights
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    ordered = weights[:, order]
    positive = truth[order].astype(np.float64)
    hits = np.cumsum(ordered * positive, axis=1)[:, ends]
    everyone = np.cumsum(ordered, axis=1)[:, ends]
    return hits, everyone - hits


def score_labels(
    formula: Formula, truth: BoolArray, scores: Floats, weights: Floats | None = None
) -> Floats:
    """(resamples, labels) a ranking formula for every column of truth and scores."""
    columns = range(truth.shape[1])
    return np.stack([formula(truth[:, j], scores[:, j], weights) for j in columns], axis=1)


def mean_defined(values: Floats, axis: int) -> Floats:
    """The mean of the values that are defined along an axis; NaN where none is."""
    defined = ~np.isnan(values)
    total: Floats = np.where(defined, values, 0.0).sum(axis=axis)
    return _divide(total, defined.sum(axis=axis).astype(np.float64), np.nan)


def plain_weights(photos: int) -> Floats:
    """(1, photos) every photo once."""
    return np.ones((1, photos))


def check_truth_and_probs(
    truth: NDArray[Any], probs: NDArray[Any], labels: int | None = None
) -> tuple[BoolArray, Floats]:
    """Check that truth and probabilities fit each other.

    Args:
        truth: (photos, labels) booleans or zeros and ones.
        probs: (photos, labels) 0..1.
        labels: how many labels there should be, if known.

    Returns:
        Truth as booleans and probabilities as 64-bit floats.

    Raises:
        InputError: when shapes differ, there is no photo, or a probability is not in 0..1.
    """
    if truth.ndim != 2 or truth.shape != probs.shape:
        raise InputError(
            "Expected truth and probabilities of the same shape (photos, labels), but got "
            f"{truth.shape} and {probs.shape}."
        )
    if len(truth) == 0:
        raise InputError("Expected at least one photo to evaluate, but got none.")
    if labels is not None and truth.shape[1] != labels:
        raise InputError(
            f"Expected one column for each of the {labels} labels, but got {truth.shape[1]}."
        )
    wrong = ~((probs >= 0) & (probs <= 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise InputError(
            f"Expected probabilities from 0 to 1, but photo {row}, label {column} has "
            f"{probs[row, column]}."
        )
    return truth.astype(np.bool_), probs.astype(np.float64)


def _divide(above: Floats, below: Floats, otherwise: float) -> Floats:
    result = np.full(np.broadcast_shapes(above.shape, below.shape), otherwise)
    np.divide(above, below, out=result, where=below > 0)
    return result


def _nan_without_positives(values: Floats, counts: Counts) -> Floats:
    has_positives = counts.true_positives + counts.false_negatives > 0
    return np.where(has_positives, values, np.nan)
