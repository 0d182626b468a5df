"""How good the answers are: a row for each label and for healthy, and their averages.

Labels are independent diseases; *healthy* is derived, as the absence of all of them. A label
without positives among the photos has no precision, recall, F1, AP or AUC: its figures are NaN,
the macro average leaves it out, and it is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.evaluation import scores as formulas
from leafscout.evaluation.bootstrap import Estimate, draw_weights, estimate
from leafscout.evaluation.json_values import JsonValue
from leafscout.evaluation.scores import BoolArray, Floats

HEALTHY = "healthy"
FIGURES = ("precision", "recall", "f1", "ap", "auc", "accuracy")


@dataclass(frozen=True)
class LabelRow(JsonValue):
    """The figures of one label, each with its 95% interval.

    Attributes:
        label: its name; ``healthy`` for the derived row.
        positives: photos that truly have it.
        threshold: it counts as found at or above this probability; NaN for healthy, which is
            found where no label is.
        precision: share of right ones among the photos where it was found; 0 if nowhere.
        recall: share of found ones among the photos that have it.
        f1: harmonic mean of the two.
        ap: average precision, the area under the precision-recall steps.
        auc: area under the ROC curve, ties counting half.
        accuracy: share of photos decided rightly for this label.
    """

    label: str
    positives: int
    threshold: float
    precision: Estimate
    recall: Estimate
    f1: Estimate
    ap: Estimate
    auc: Estimate
    accuracy: Estimate


@dataclass(frozen=True)
class AverageRow(JsonValue):
    """An average over labels; see ``LabelRow`` for the figures.

    Attributes:
        name: ``macro`` (mean over labels) or ``micro`` (all photo-label pairs together), with or
            without healthy.
        labels: the labels averaged; macro leaves out those without positives.
    """

    name: str
    labels: tuple[str, ...]
    precision: Estimate
    recall: Estimate
    f1: Estimate
    ap: Estimate
    auc: Estimate
    accuracy: Estimate


@dataclass(frozen=True)
class LabelEvaluation(JsonValue):
    """All figures of one model on one set of photos.

    Attributes:
        photos: how many photos were evaluated.
        rows: one for each label.
        healthy: the derived healthy row.
        macro: mean over the labels.
        micro: all photo-label pairs together.
        macro_with_healthy: mean over the labels and healthy.
        micro_with_healthy: all pairs together, healthy as one more label.
        exact_match: share of photos whose set of labels is exactly right.
        sensitivity: share of photos with any disease in which some disease was found.
        specificity: share of healthy photos in which none was found.
        without_positives: labels that no photo has; their figures are undefined.
        resamples: bootstrap resamples behind the intervals.
        seed: seed of the bootstrap.
    """

    photos: int
    rows: tuple[LabelRow, ...]
    healthy: LabelRow
    macro: AverageRow
    micro: AverageRow
    macro_with_healthy: AverageRow
    micro_with_healthy: AverageRow
    exact_match: Estimate
    sensitivity: Estimate
    specificity: Estimate
    without_positives: tuple[str, ...]
    resamples: int
    seed: int

    @property
    def averages(self) -> tuple[AverageRow, ...]:
        """The four averages."""
        return (self.macro, self.micro, self.macro_with_healthy, self.micro_with_healthy)


def evaluate_labels(
    truth: NDArray[Any],
    probs: NDArray[Any],
    thresholds: NDArray[Any],
    labels: Sequence[str],
    *,
    healthy_prob: NDArray[Any] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    groups: NDArray[Any] | None = None,
) -> LabelEvaluation:
    """Evaluate multi-label answers, with bootstrap intervals over photos.

    Args:
        truth: (photos, labels) which labels each photo truly has; none of them means healthy.
        probs: (photos, labels) probabilities, 0..1.
        thresholds: (labels,) a label is found at or above its threshold.
        labels: their names.
        healthy_prob: (photos,) probability that a photo is healthy, for the healthy row's AP and
            AUC; None takes the product of (1 - probability) over the labels.
        resamples: bootstrap resamples; 0 leaves all intervals undefined.
        seed: seed of the bootstrap.
        groups: (photos,) photos that are drawn together, such as those of one plant.

    Raises:
        InputError: when shapes do not fit or a probability is not in 0..1.
    """
    truth, probs = formulas.check_truth_and_probs(truth, probs, len(labels))
    decided = decide_with_healthy(probs, thresholds)
    truth = np.column_stack([truth, ~truth.any(axis=1)])
    healthy = np.prod(1 - probs, axis=1) if healthy_prob is None else healthy_prob
    if np.shape(healthy) != (len(truth),):
        raise InputError(
            f"Expected one healthy probability for each of {len(truth)} photos, but got an array "
            f"of shape {np.shape(healthy)}."
        )
    scores = np.column_stack([probs, healthy]).astype(np.float64)
    measured, measured_photos = [], []
    drawn = draw_weights(len(truth), resamples, seed, groups)
    for weights in chain([formulas.plain_weights(len(truth))], drawn):
        measured.append(_measure(truth, scores, decided, weights))
        measured_photos.append(_measure_photos(truth, decided, weights))
    figures, photo_figures = np.concatenate(measured), np.concatenate(measured_photos)
    table = [
        {
            name: estimate(figures[0, row, column], figures[1:, row, column])
            for column, name in enumerate(FIGURES)
        }
        for row in range(figures.shape[1])
    ]
    of_photos = [estimate(column[0], column[1:]) for column in photo_figures.T]
    names = (*labels, HEALTHY)
    rows = _label_rows(truth, thresholds, names, table)
    present = tuple(row.label for row in rows if row.positives)
    diseases = tuple(label for label in present if label != HEALTHY)
    macro, micro, macro_healthy, micro_healthy = table[len(names) :]
    return LabelEvaluation(
        photos=len(truth),
        rows=rows[:-1],
        healthy=rows[-1],
        macro=AverageRow("macro", diseases, **macro),
        micro=AverageRow("micro", names[:-1], **micro),
        macro_with_healthy=AverageRow("macro with healthy", present, **macro_healthy),
        micro_with_healthy=AverageRow("micro with healthy", names, **micro_healthy),
        exact_match=of_photos[0],
        sensitivity=of_photos[1],
        specificity=of_photos[2],
        without_positives=tuple(label for label in labels if label not in present),
        resamples=resamples,
        seed=seed,
    )


def decide_with_healthy(probs: NDArray[Any], thresholds: NDArray[Any]) -> BoolArray:
    """(photos, labels + 1) labels at or above their thresholds; last column: none of them is.

    Raises:
        InputError: when there is not one threshold for each label.
    """
    if np.shape(thresholds) != (probs.shape[1],):
        raise InputError(
            f"Expected one threshold for each of {probs.shape[1]} labels, but got an array of "
            f"shape {np.shape(thresholds)}."
        )
    found: BoolArray = probs >= thresholds
    return np.column_stack([found, ~found.any(axis=1)])


def _measure(truth: BoolArray, scores: Floats, decided: BoolArray, weights: Floats) -> Floats:
    """(resamples, labels + healthy + 4, figures) every label, then the averages of ``averages``."""
    each = _figures(truth, scores, decided, weights)
    averages = []
    for columns in (truth.shape[1] - 1, truth.shape[1]):
        present = np.flatnonzero(truth[:, :columns].any(axis=0))
        averages.append(formulas.mean_defined(each[:, present], 1))
        part = slice(None), slice(columns)
        averages.append(_micro(truth[part], scores[part], decided[part], weights))
    return np.concatenate([each, np.stack(averages, axis=1)], axis=1)


def _measure_photos(truth: BoolArray, decided: BoolArray, weights: Floats) -> Floats:
    """(resamples, 3) exact match, sensitivity and specificity for any disease."""
    exact = (truth == decided).all(axis=1).astype(np.float64)
    diseased = formulas.count_decisions(~truth[:, -1:], ~decided[:, -1:], weights)
    healthy = formulas.count_decisions(truth[:, -1:], decided[:, -1:], weights)
    return np.column_stack(
        [
            weights @ exact / weights.sum(axis=1),
            formulas.recall(diseased)[:, 0],
            formulas.recall(healthy)[:, 0],
        ]
    )


def _figures(truth: BoolArray, scores: Floats, decided: BoolArray, weights: Floats) -> Floats:
    """(resamples, labels, figures) in the order of ``FIGURES``."""
    counts = formulas.count_decisions(truth, decided, weights)
    return np.stack(
        [
            formulas.precision(counts),
            formulas.recall(counts),
            formulas.f1(counts),
            formulas.score_labels(formulas.average_precision, truth, scores, weights),
            formulas.score_labels(formulas.roc_auc, truth, scores, weights),
            formulas.accuracy(counts),
        ],
        axis=2,
    )


def _micro(truth: BoolArray, scores: Floats, decided: BoolArray, weights: Floats) -> Floats:
    """(resamples, figures) of all photo-label pairs together."""
    pair_weights = np.repeat(weights, truth.shape[1], axis=1)
    flat = truth.reshape(-1, 1), scores.reshape(-1, 1), decided.reshape(-1, 1)
    return _figures(*flat, pair_weights)[:, 0]


def _label_rows(
    truth: BoolArray,
    thresholds: NDArray[Any],
    names: tuple[str, ...],
    table: list[dict[str, Estimate]],
) -> tuple[LabelRow, ...]:
    limits = [*np.asarray(thresholds, dtype=np.float64).tolist(), float("nan")]
    return tuple(
        LabelRow(name, int(count), limit, **figures)
        for name, count, limit, figures in zip(
            names, truth.sum(axis=0), limits, table[: len(names)], strict=True
        )
    )
