"""Which label is found, and which label is taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.evaluation.json_values import JsonValue
from leafscout.evaluation.metrics import HEALTHY
from leafscout.evaluation.scores import BoolArray, Floats

MISSED = "(missed)"
ADDED = "(added)"


@dataclass(frozen=True)
class BinaryConfusion(JsonValue):
    """Photos with and without one label, by whether it was found."""

    label: str
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int


@dataclass(frozen=True, eq=False)
class TakenFor(JsonValue):
    """Which label is taken for which.

    Attributes:
        truths: names of the rows: the labels, healthy, ``ADDED``.
        answers: names of the columns: the labels, healthy, ``MISSED``.
        photos: (rows, columns) photos; broken numbers where one mistake is shared out.
    """

    truths: tuple[str, ...]
    answers: tuple[str, ...]
    photos: Floats


def count_binary(
    truth: NDArray[Any], decided: NDArray[Any], labels: Sequence[str]
) -> tuple[BinaryConfusion, ...]:
    """The 2×2 table of each label.

    Args:
        truth: (photos, labels) which labels each photo truly has.
        decided: (photos, labels) which labels each photo was given.
        labels: their names.

    Raises:
        InputError: when the shapes do not fit.
    """
    truth, decided = _check(truth, decided, labels)
    return tuple(
        BinaryConfusion(
            label,
            int((truth[:, j] & decided[:, j]).sum()),
            int((~truth[:, j] & decided[:, j]).sum()),
            int((truth[:, j] & ~decided[:, j]).sum()),
            int((~truth[:, j] & ~decided[:, j]).sum()),
        )
        for j, label in enumerate(labels)
    )


def count_taken_for(truth: NDArray[Any], decided: NDArray[Any], labels: Sequence[str]) -> TakenFor:
    """Which label is taken for which, for photos with several labels or none.

    A photo without labels is truly (or found to be) *healthy*, as if that were its only label.
    Each true label of a photo then gives one photo to its row: to its own column where it was
    found; else to the wrong labels found in that photo, in equal shares; else (nothing wrong was
    found) to ``MISSED``. Rows of labels so add up to the photos that have them, and data of one
    label a photo give the usual confusion matrix. Wrong labels of photos in which nothing was
    missed stand in the row ``ADDED``, one photo each.

    Args:
        truth: (photos, labels) which labels each photo truly has.
        decided: (photos, labels) which labels each photo was given.
        labels: their names.

    Raises:
        InputError: when the shapes do not fit.
    """
    truth, decided = _check(truth, decided, labels)
    truth = np.column_stack([truth, ~truth.any(axis=1)])
    decided = np.column_stack([decided, ~decided.any(axis=1)])
    right = (truth & decided).astype(np.float64)
    missed = (truth & ~decided).astype(np.float64)
    wrong = (~truth & decided).astype(np.float64)
    wrong_in_photo = wrong.sum(axis=1, keepdims=True)
    shares = wrong / np.maximum(wrong_in_photo, 1)
    size = truth.shape[1]
    photos = np.zeros((size + 1, size + 1))
    photos[:size, :size] = np.diag(right.sum(axis=0)) + missed.T @ shares
    photos[:size, size] = missed[wrong_in_photo[:, 0] == 0].sum(axis=0)
    photos[size, :size] = wrong[~missed.any(axis=1)].sum(axis=0)
    return TakenFor((*labels, HEALTHY, ADDED), (*labels, HEALTHY, MISSED), photos)


def _check(
    truth: NDArray[Any], decided: NDArray[Any], labels: Sequence[str]
) -> tuple[BoolArray, BoolArray]:
    if truth.ndim != 2 or truth.shape != decided.shape or truth.shape[1] != len(labels):
        raise InputError(
            f"Expected truth and decisions of shape (photos, {len(labels)}), but got "
            f"{truth.shape} and {decided.shape}."
        )
    return truth.astype(np.bool_), decided.astype(np.bool_)
