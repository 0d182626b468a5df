"""Do heat maps lie where the lesions are, how large are they, and how alike are those of labels?

Heat is from 0, of any height; maps and masks are of one size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.evaluation.json_values import JsonValue
from leafscout.evaluation.scores import BoolArray, Floats

HOT = 0.5
"""A place is hot from this share of the map's largest heat on."""


@dataclass(frozen=True)
class HeatAgreement(JsonValue):
    """One heat map against the lesions of its photo.

    Attributes:
        on_lesion: share of the heat on lesions, 0..1; NaN for a map without heat.
        lesion_share: share of the photo that is lesion: what an even map would have on them.
        area_ratio: hot area / lesion area; NaN without lesion.
        iou: overlap of hot area and lesions; NaN when both are empty.
        points_at_lesion: whether the hottest place is on a lesion.
    """

    on_lesion: float
    lesion_share: float
    area_ratio: float
    iou: float
    points_at_lesion: bool


def heat_share(heat: NDArray[Any], mask: BoolArray) -> float:
    """Share of a map's heat inside a mask: drift to background or shadow, or aim at lesions.

    Args:
        heat: (height, width) from 0.
        mask: (height, width).

    Returns:
        0..1; NaN for a map without heat.

    Raises:
        InputError: when the shapes differ or heat is negative.
    """
    _check(heat, mask)
    total = float(heat.sum())
    return float(heat[mask].sum()) / total if total > 0 else float("nan")


def hot_area(heat: NDArray[Any], level: float = HOT) -> BoolArray:
    """(height, width) places from a share of the largest heat on; none without heat."""
    largest = float(heat.max()) if heat.size else 0.0
    return np.asarray((heat >= level * largest) & (largest > 0))


def compare_with_lesions(
    heat: NDArray[Any], lesions: BoolArray, level: float = HOT
) -> HeatAgreement:
    """A heat map against the lesion mask.

    Args:
        heat: (height, width) from 0.
        lesions: (height, width).
        level: share of the largest heat from which a place is hot, 0..1.

    Raises:
        InputError: when the shapes differ or heat is negative.
    """
    _check(heat, lesions)
    hot = hot_area(heat, level)
    both, either, area = (hot & lesions).sum(), (hot | lesions).sum(), lesions.sum()
    hottest = np.unravel_index(int(np.argmax(heat)), heat.shape)
    return HeatAgreement(
        on_lesion=heat_share(heat, lesions),
        lesion_share=float(lesions.mean()),
        area_ratio=float(hot.sum() / area) if area else float("nan"),
        iou=float(both / either) if either else float("nan"),
        points_at_lesion=bool(heat.max() > 0 and lesions[hottest]),
    )


def overlap_of_labels(maps: NDArray[Any]) -> Floats:
    """(labels, labels) how much the heat of labels lies in the same places.

    Each map is made to sum to 1; the overlap is the sum of the smaller of both: 1 for maps of one
    shape, 0 for maps that share no place (histogram intersection, Swain & Ballard 1991). NaN for
    a map without heat.

    Args:
        maps: (labels, height, width) from 0.

    Raises:
        InputError: when heat is negative.
    """
    if maps.ndim != 3 or (maps < 0).any():
        raise InputError(
            f"Expected maps (labels, height, width) of heat from 0, but got shape {maps.shape}."
        )
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    totals = flat.sum(axis=1, keepdims=True)
    shares = np.divide(flat, totals, out=np.full_like(flat, np.nan), where=totals > 0)
    return np.array([[np.minimum(a, b).sum() for b in shares] for a in shares])


def mean_agreement(agreements: Sequence[HeatAgreement]) -> dict[str, float]:
    """Means over photos, leaving out what is undefined; medians for areas, which are skewed."""

    def defined(name: str) -> list[float]:
        values = [float(getattr(one, name)) for one in agreements]
        return [value for value in values if not np.isnan(value)]

    found = {name: defined(name) for name in ("on_lesion", "lesion_share", "iou")}
    means = {
        name: float(np.mean(values)) if values else float("nan") for name, values in found.items()
    }
    areas = defined("area_ratio")
    return means | {
        "median_area_ratio": float(np.median(areas)) if areas else float("nan"),
        "pointing": float(np.mean([one.points_at_lesion for one in agreements]))
        if agreements
        else float("nan"),
        "photos": float(len(agreements)),
    }


def _check(heat: NDArray[Any], mask: BoolArray) -> None:
    if heat.shape != mask.shape or heat.ndim != 2:
        raise InputError(
            f"Expected a heat map as large as its mask {mask.shape}, but got {heat.shape}."
        )
    if heat.size and not float(heat.min()) >= 0:
        raise InputError(f"Expected heat from 0, but got {heat.min()}.")
