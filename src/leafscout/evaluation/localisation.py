"""Are the places that a model marks the places where the lesions are?

The truth of a photo is either lesion boxes, integers (boxes, 4) ``xyxy`` in pixels with right and
bottom exclusive, or a lesion mask, booleans (height, width). Truth of one label gives figures of
that label. None of this is ever seen by training.
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

Lesions = NDArray[Any]
"""Boxes (boxes, 4) integers, or a mask (height, width) of booleans."""

MIN_LESION_PX = 64
"""A tile with less than 8×8 lesion pixels shows the rim of a lesion at most."""


@dataclass(frozen=True)
class PointingGame(JsonValue):
    """How often the strongest place lies on a lesion.

    Attributes:
        hits: photos whose point lies on a lesion.
        photos: photos with lesions.
        share: hits / photos; NaN without photos.
        by_label: the share for each label, if labels were given.
        macro: mean of ``by_label``; equal to ``share`` without labels.
    """

    hits: int
    photos: int
    share: float
    by_label: dict[str, float]
    macro: float


@dataclass(frozen=True)
class FalseTiles(JsonValue):
    """Tiles that accuse healthy photos.

    Attributes:
        photos: healthy photos.
        mean: false tiles in a healthy photo, on average; NaN without photos.
        share: share of healthy photos with at least one.
    """

    photos: int
    mean: float
    share: float


@dataclass(frozen=True)
class Overlap(JsonValue):
    """How a thresholded lesion map and the lesion mask cover each other.

    Attributes:
        iou: intersection over union; NaN when both are empty.
        precision: share of the marked pixels that are lesion; NaN when nothing is marked.
        recall: share of the lesion pixels that are marked; NaN without lesion.
    """

    iou: float
    precision: float
    recall: float


@dataclass(frozen=True)
class Localisation(JsonValue):
    """Figures of localisation over photos; None for what was not measured.

    Attributes:
        pointing: the pointing game.
        hits_at_k: k → mean hits among the k strongest tiles / min(k, lesion tiles).
        lesion_kept: share of photos with lesions in which a tile with a lesion was read.
        false_tiles: on healthy photos.
        iou: mean overlap of lesion map and lesion mask.
        photos: photos with lesions behind these figures.
    """

    photos: int
    pointing: PointingGame | None = None
    hits_at_k: dict[int, float] | None = None
    lesion_kept: float | None = None
    false_tiles: FalseTiles | None = None
    iou: float | None = None


def pointing_hit(
    point_px_xy: tuple[float, float], lesions: Lesions, tolerance_px: float = 0.0
) -> bool:
    """Whether a point lies on a lesion or at most ``tolerance_px`` away from one.

    Args:
        point_px_xy: x and y of the point in pixels; it stands for the pixel that holds it.
        lesions: boxes or mask.
        tolerance_px: allowed distance in pixels to the nearest lesion pixel.
    """
    x, y = (int(np.floor(value)) for value in point_px_xy)
    if _is_mask(lesions):
        reach = int(tolerance_px)
        top, left = max(y - reach, 0), max(x - reach, 0)
        near = lesions[top : max(y + reach + 1, 0), left : max(x + reach + 1, 0)]
        rows, columns = np.nonzero(near)
        distances = np.hypot(rows + top - y, columns + left - x)
    else:
        left_, top_, right, bottom = lesions.reshape(-1, 4).T
        right_gap = np.maximum(left_ - x, x - (right - 1))
        down_gap = np.maximum(top_ - y, y - (bottom - 1))
        distances = np.hypot(np.maximum(right_gap, 0), np.maximum(down_gap, 0))
    return bool((distances <= tolerance_px).any())


def play_pointing_game(
    points_px_xy: Sequence[tuple[float, float] | None],
    lesions: Sequence[Lesions],
    labels: Sequence[str] | None = None,
    tolerance_px: float = 0.0,
) -> PointingGame:
    """Play the pointing game over photos, or over pairs of photo and label.

    Args:
        points_px_xy: the strongest place of each; None where nothing was marked: a miss.
        lesions: boxes or mask of each; those without any lesion are left out.
        labels: the label of each, for figures per label; None mixes all.
        tolerance_px: see ``pointing_hit``.

    Raises:
        InputError: when the sequences differ in length.
    """
    names = [""] * len(lesions) if labels is None else labels
    if not len(points_px_xy) == len(lesions) == len(names):
        raise InputError(
            f"Expected as many points as photos and labels, but got {len(points_px_xy)} points, "
            f"{len(lesions)} photos and {len(names)} labels."
        )
    found: dict[str, list[bool]] = {}
    for point, truth, name in zip(points_px_xy, lesions, names, strict=True):
        if truth.any():
            hit = point is not None and pointing_hit(point, truth, tolerance_px)
            found.setdefault(name, []).append(hit)
    everyone = [hit for hits in found.values() for hit in hits]
    shares = {name: _mean(hits) for name, hits in sorted(found.items())}
    return PointingGame(
        hits=sum(everyone),
        photos=len(everyone),
        share=_mean(everyone),
        by_label={} if labels is None else shares,
        macro=_mean(list(shares.values())),
    )


def find_lesion_tiles(
    tile_boxes_px_xyxy: NDArray[np.int64], lesions: Lesions, min_lesion_px: int = MIN_LESION_PX
) -> BoolArray:
    """(tiles,) whether each tile shows a lesion.

    A tile shows a lesion when it holds at least ``min_lesion_px`` pixels of it, or at least half
    of it where it is smaller than twice that. With boxes this is asked of each box, with a mask
    of all lesion pixels of the photo together.

    Args:
        tile_boxes_px_xyxy: (tiles, 4) the tiles.
        lesions: boxes or mask.
        min_lesion_px: pixels, at least 1.
    """
    if _is_mask(lesions):
        areas = _count_inside(tile_boxes_px_xyxy, lesions)[:, None]
        whole = np.array([int(lesions.sum())])
    else:
        boxes = lesions.reshape(-1, 4).astype(np.int64)
        areas = _intersect(tile_boxes_px_xyxy, boxes)
        whole = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    enough = (areas >= np.minimum(min_lesion_px, whole / 2)) & (areas > 0)
    return np.asarray(enough.any(axis=1))


def count_hits_at_k(tile_scores: NDArray[Any], lesion_tiles: BoolArray, k: int) -> float:
    """Lesion tiles among the k strongest / min(k, lesion tiles); NaN without lesion tiles.

    Tiles of equal score count as if drawn at random among them, so that a constant map scores
    what chance would. Tiles without a score (NaN) come last and are never hits.

    Args:
        tile_scores: (tiles,) higher means more suspicious.
        lesion_tiles: (tiles,) from ``find_lesion_tiles``.
        k: how many tiles are looked at, at least 1.

    Raises:
        InputError: when k is below 1 or the arrays differ in length.
    """
    if k < 1 or np.shape(tile_scores) != np.shape(lesion_tiles):
        raise InputError(
            f"Expected k of at least 1 and one score a tile, but got k = {k}, "
            f"{np.size(tile_scores)} scores and {np.size(lesion_tiles)} tiles."
        )
    if not lesion_tiles.any():
        return float("nan")
    scored = ~np.isnan(tile_scores)
    scores, lesion = tile_scores[scored], lesion_tiles[scored]
    hits = float(lesion.sum())
    if len(scores) > k:
        last = np.sort(scores)[-k]
        surely, tied = scores > last, scores == last
        hits = float(lesion[surely].sum() + (k - surely.sum()) * lesion[tied].mean())
    return hits / min(k, int(lesion_tiles.sum()))


def hits_at_k(
    tile_scores: NDArray[Any],
    tile_boxes_px_xyxy: NDArray[np.int64],
    lesions: Lesions,
    k: int,
    min_lesion_px: int = MIN_LESION_PX,
) -> float:
    """Like ``count_hits_at_k``, finding the lesion tiles with ``find_lesion_tiles`` first."""
    lesion_tiles = find_lesion_tiles(tile_boxes_px_xyxy, lesions, min_lesion_px)
    return count_hits_at_k(tile_scores, lesion_tiles, k)


def lesion_kept(
    read: BoolArray,
    tile_boxes_px_xyxy: NDArray[np.int64],
    lesions: Lesions,
    min_lesion_px: int = MIN_LESION_PX,
) -> bool:
    """Whether at least one of the tiles that were read shows a lesion."""
    return bool((find_lesion_tiles(tile_boxes_px_xyxy, lesions, min_lesion_px) & read).any())


def count_false_tiles(tile_probs: Sequence[NDArray[Any]], threshold: float) -> FalseTiles:
    """Count the tiles at or above a probability on healthy photos.

    Args:
        tile_probs: for each healthy photo (tiles,) or (tiles, labels); a tile counts once,
            whatever labels it accuses; NaN where it was not read.
        threshold: probability, 0..1.
    """
    counts = [
        int((probs.reshape(len(probs), -1) >= threshold).any(axis=1).sum()) for probs in tile_probs
    ]
    return FalseTiles(len(counts), _mean(counts), _mean([count > 0 for count in counts]))


def measure_overlap(lesion_map: NDArray[Any], mask: BoolArray, threshold: float) -> Overlap:
    """Compare a lesion map at or above a threshold with the lesion mask.

    Args:
        lesion_map: (height, width) probabilities; see ``spread_map`` for coarser ones.
        mask: (height, width) lesion pixels.
        threshold: probability, 0..1.

    Raises:
        InputError: when the shapes differ.
    """
    if lesion_map.shape != mask.shape:
        raise InputError(
            f"Expected a lesion map as large as its mask {mask.shape}, but got {lesion_map.shape}."
        )
    marked = lesion_map >= threshold
    both = int((marked & mask).sum())
    areas = int((marked | mask).sum()), int(marked.sum()), int(mask.sum())
    return Overlap(*(both / area if area else float("nan") for area in areas))


def spread_map(lesion_map: NDArray[Any], cell_px: int, size_px_hw: tuple[int, int]) -> Floats:
    """(height, width) a coarse map at full resolution, each cell ``cell_px`` wide and high."""
    rows = np.arange(size_px_hw[0]) // cell_px
    columns = np.arange(size_px_hw[1]) // cell_px
    return lesion_map[np.ix_(rows, columns)].astype(np.float64)


def _is_mask(lesions: Lesions) -> bool:
    if lesions.ndim == 2 and lesions.dtype == np.bool_:
        return True
    if lesions.size == 0 or (lesions.ndim == 2 and lesions.shape[1] == 4):
        return False
    raise InputError(
        "Expected lesions as boxes (boxes, 4) of integers or as a mask (height, width) of "
        f"booleans, but got shape {lesions.shape} of {lesions.dtype}."
    )


def _count_inside(boxes: NDArray[np.int64], mask: BoolArray) -> NDArray[np.int64]:
    """(boxes,) true pixels inside each box, by an integral image."""
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.int64)
    np.cumsum(np.cumsum(mask, axis=0, dtype=np.int64), axis=1, out=sums[1:, 1:])
    left, top, right, bottom = boxes.T
    return np.asarray(sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left])


def _intersect(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """(len(a), len(b)) pixels in common."""
    upper_left = np.maximum(a[:, None, :2], b[None, :, :2])
    lower_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.asarray(np.maximum(lower_right - upper_left, 0).prod(axis=2))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
