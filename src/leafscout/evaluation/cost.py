"""What diagnoses cost: tiles read, multiply-adds, seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.evaluation.json_values import JsonValue
from leafscout.types import Cost


@dataclass(frozen=True)
class CostGroup(JsonValue):
    """The cost of a group of photos; every figure is NaN where the group is empty.

    Attributes:
        name: ``all``, ``healthy`` or ``diseased``.
        photos: how many.
        drop_rate: share of a photo's tiles that the expert never read, mean over photos.
        early_exit: share of photos in which it read no tile at all.
        tiles_read: tiles read in a photo, mean.
        tiles_read_median: the same, median.
        tiles_read_high: the same, 90th percentile.
        tiles_total: tiles that cover a photo, mean.
        macs_ratio: multiply-adds spent / multiply-adds of the expert on all tiles, mean.
        macs_ratio_median: the same, median.
        seconds: wall time of a photo, mean.
        seconds_median: the same, median.
    """

    name: str
    photos: int
    drop_rate: float
    early_exit: float
    tiles_read: float
    tiles_read_median: float
    tiles_read_high: float
    tiles_total: float
    macs_ratio: float
    macs_ratio_median: float
    seconds: float
    seconds_median: float


@dataclass(frozen=True)
class CostSummary(JsonValue):
    """The cost over all photos and over healthy and diseased ones."""

    everyone: CostGroup
    healthy: CostGroup
    diseased: CostGroup


def summarise_cost(costs: Sequence[Cost], healthy: NDArray[Any]) -> CostSummary:
    """Summarise what diagnoses cost.

    Args:
        costs: one for each photo.
        healthy: (photos,) True where the photo truly has no label.

    Raises:
        InputError: when there is not one truth for each cost.
    """
    if np.shape(healthy) != (len(costs),):
        raise InputError(
            f"Expected one truth for each of {len(costs)} costs, but got an array of shape "
            f"{np.shape(healthy)}."
        )
    marked = [(cost, bool(mark)) for cost, mark in zip(costs, healthy, strict=True)]
    return CostSummary(
        _summarise_group("all", costs),
        _summarise_group("healthy", [cost for cost, mark in marked if mark]),
        _summarise_group("diseased", [cost for cost, mark in marked if not mark]),
    )


def _summarise_group(name: str, costs: Sequence[Cost]) -> CostGroup:
    if not costs:
        return CostGroup(name, 0, *[float("nan")] * 10)
    read = np.array([cost.tiles_read for cost in costs], dtype=np.float64)
    total = np.array([cost.tiles_total for cost in costs], dtype=np.float64)
    macs = np.array([cost.macs / max(cost.macs_all_tiles, 1) for cost in costs])
    seconds = np.array([cost.seconds for cost in costs])
    return CostGroup(
        name=name,
        photos=len(costs),
        drop_rate=float(np.mean(1 - read / np.maximum(total, 1))),
        early_exit=float(np.mean(read == 0)),
        tiles_read=float(read.mean()),
        tiles_read_median=float(np.median(read)),
        tiles_read_high=float(np.quantile(read, 0.9)),
        tiles_total=float(total.mean()),
        macs_ratio=float(macs.mean()),
        macs_ratio_median=float(np.median(macs)),
        seconds=float(seconds.mean()),
        seconds_median=float(np.median(seconds)),
    )
