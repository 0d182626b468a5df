"""How good the answers are on photos with no label, with one, with two: several at once are harder.

Ranking figures need photos with and without a label, so they are not given here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.evaluation import scores as formulas
from leafscout.evaluation.bootstrap import Estimate, bootstrap
from leafscout.evaluation.json_values import JsonValue
from leafscout.evaluation.scores import BoolArray, Counts, Floats


@dataclass(frozen=True)
class CountRow(JsonValue):
    """Photos that truly have so many labels.

    Attributes:
        count: labels of a photo; 0 is healthy.
        photos: how many photos.
        exact_match: share of them whose set of labels is exactly right.
        precision: right ones among all labels named in them; NaN of healthy photos.
        recall: found ones among all labels that they have; NaN of healthy photos.
        f1: harmonic mean of the two; NaN of healthy photos.
        accuracy: share of right decisions, each photo and label one.
        wrong_labels: mean number of wrong labels named in a photo.
    """

    count: int
    photos: int
    exact_match: Estimate
    precision: Estimate
    recall: Estimate
    f1: Estimate
    accuracy: Estimate
    wrong_labels: Estimate


COUNT_FIGURES = ("exact_match", "precision", "recall", "f1", "accuracy", "wrong_labels")
"""Of a ``CountRow``, in order."""


def measure_by_count(
    truth: NDArray[Any],
    decided: NDArray[Any],
    resamples: int = 1000,
    seed: int = 0,
    groups: NDArray[Any] | None = None,
) -> tuple[CountRow, ...]:
    """Figures of photos by how many labels they have, with bootstrap intervals over such photos.

    Args:
        truth: (photos, labels) which labels each photo truly has.
        decided: (photos, labels) which labels each photo was given.
        resamples: bootstrap resamples; 0 leaves the intervals undefined.
        seed: seed of the bootstrap.
        groups: (photos,) photos that are drawn together.

    Returns:
        One row for each number of labels that some photo has, from few to many.
    """
    truth, decided = truth.astype(np.bool_), decided.astype(np.bool_)
    counts = truth.sum(axis=1)
    rows = []
    for count in np.unique(counts).tolist():
        some = counts == count
        figures = {
            name: bootstrap(
                metric, truth[some], decided[some], resamples=resamples, seed=seed,
                groups=None if groups is None else groups[some],
            )
            for name, metric in _METRICS.items()
        }  # fmt: skip
        rows.append(CountRow(int(count), int(some.sum()), **figures))
    return tuple(rows)


def _micro(
    formula: Callable[[Counts], Floats],
) -> Callable[[BoolArray, NDArray[Any], Floats], Floats]:
    """A formula of counts over all pairs of photo and label."""

    def measure(truth: BoolArray, decided: NDArray[Any], weights: Floats) -> Floats:
        return formula(formulas.count_decisions(truth, decided, weights).summed())[:, 0]

    return measure


def _exact_match(truth: BoolArray, decided: NDArray[Any], weights: Floats) -> Floats:
    return _mean((truth == decided).all(axis=1).astype(np.float64), weights)


def _wrong_labels(truth: BoolArray, decided: NDArray[Any], weights: Floats) -> Floats:
    return _mean((~truth & decided).sum(axis=1).astype(np.float64), weights)


def _mean(values: Floats, weights: Floats) -> Floats:
    mean: Floats = weights @ values / weights.sum(axis=1)
    return mean


_METRICS = {
    "exact_match": _exact_match,
    "precision": _micro(formulas.precision),
    "recall": _micro(formulas.recall),
    "f1": _micro(formulas.f1),
    "accuracy": _micro(formulas.accuracy),
    "wrong_labels": _wrong_labels,
}
