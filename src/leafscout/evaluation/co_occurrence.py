"""Which labels come together: on the same photos, in truth or in answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.evaluation.json_values import JsonValue


@dataclass(frozen=True, eq=False)
class CoOccurrence(JsonValue):
    """How many photos have two labels at once.

    Attributes:
        labels: names.
        photos: (labels, labels) photos with both; on the diagonal, photos with the label.
        alone: (labels,) photos with the label and no other.
        none: photos without any label.
    """

    labels: tuple[str, ...]
    photos: NDArray[np.int64]
    alone: NDArray[np.int64]
    none: int


def count_together(truth: NDArray[Any], labels: Sequence[str]) -> CoOccurrence:
    """Count photos for each pair of labels.

    Args:
        truth: (photos, labels) 0 or 1.
        labels: names.

    Raises:
        InputError: when there is not one column a label.
    """
    if truth.ndim != 2 or truth.shape[1] != len(labels):
        raise InputError(
            f"Expected one column for each of the {len(labels)} labels, but got {truth.shape}."
        )
    has = truth.astype(np.int64)
    per_photo = has.sum(axis=1)
    return CoOccurrence(
        labels=tuple(labels),
        photos=has.T @ has,
        alone=has[per_photo == 1].sum(axis=0),
        none=int((per_photo == 0).sum()),
    )
