"""Precision-recall curves, and precision, recall and F1 against the threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.evaluation import scores as formulas
from leafscout.evaluation.json_values import JsonValue
from leafscout.evaluation.scores import Floats, check_truth_and_probs


@dataclass(frozen=True, eq=False)
class PrecisionRecallCurve(JsonValue):
    """Precision and recall of one label at every observed probability, from high to low.

    Attributes:
        label: its name.
        thresholds: (points,) probabilities, strictly falling.
        precision: (points,) 0..1.
        recall: (points,) 0..1, never falling.
        ap: the area under the steps of the whole curve.
    """

    label: str
    thresholds: Floats
    precision: Floats
    recall: Floats
    ap: float

    def thinned(self, points: int) -> PrecisionRecallCurve:
        """The same curve with at most this many evenly chosen points, both ends kept."""
        if len(self.thresholds) <= points:
            return self
        keep = np.unique(np.linspace(0, len(self.thresholds) - 1, points).round().astype(int))
        return PrecisionRecallCurve(
            self.label, self.thresholds[keep], self.precision[keep], self.recall[keep], self.ap
        )


@dataclass(frozen=True, eq=False)
class ConfidenceCurve(JsonValue):
    """Precision, recall and F1 of one label against the threshold.

    Attributes:
        label: its name.
        thresholds: (points,) rising, 0..1.
        precision: (points,) NaN where nothing is found.
        recall: (points,) 0..1.
        f1: (points,) 0..1.
    """

    label: str
    thresholds: Floats
    precision: Floats
    recall: Floats
    f1: Floats


def precision_recall_curve(
    label: str, truth: NDArray[Any], scores: NDArray[Any]
) -> PrecisionRecallCurve:
    """The precision-recall curve of one label.

    Args:
        label: its name.
        truth: (photos,) which photos have it.
        scores: (photos,) probabilities, 0..1.

    Returns:
        The curve; without positives its recall and AP are NaN.

    Raises:
        InputError: when shapes do not fit or a probability is not in 0..1.
    """
    column, probs = check_truth_and_probs(truth.reshape(-1, 1), scores.reshape(-1, 1))
    hits, alarms = formulas.cumulate_scores(column[:, 0], probs[:, 0])
    positives = hits[0, -1]
    recall = hits[0] / positives if positives else np.full(hits.shape[1], np.nan)
    return PrecisionRecallCurve(
        label,
        np.unique(probs)[::-1],
        hits[0] / (hits[0] + alarms[0]),
        recall,
        float(formulas.average_precision(column[:, 0], probs[:, 0])[0]),
    )


def confidence_curves(
    truth: NDArray[Any], probs: NDArray[Any], labels: tuple[str, ...], points: int = 101
) -> tuple[ConfidenceCurve, ...]:
    """Precision, recall and F1 of every label on an even grid of thresholds from 0 to 1.

    Args:
        truth: (photos, labels) which labels each photo truly has.
        probs: (photos, labels) probabilities, 0..1.
        labels: their names.
        points: thresholds on the grid, both ends included.

    Returns:
        One curve for each label that has positives.

    Raises:
        InputError: when shapes do not fit or a probability is not in 0..1.
    """
    truth, probs = check_truth_and_probs(truth, probs, len(labels))
    grid = np.linspace(0, 1, points)
    curves = []
    for index in np.flatnonzero(truth.any(axis=0)):
        decided = probs[:, index, None] >= grid
        column = np.broadcast_to(truth[:, index, None], decided.shape)
        counts = formulas.count_decisions(column, decided)
        found = decided.any(axis=0)
        curves.append(
            ConfidenceCurve(
                labels[index],
                grid,
                np.where(found, formulas.precision(counts)[0], np.nan),
                formulas.recall(counts)[0],
                formulas.f1(counts)[0],
            )
        )
    return tuple(curves)
