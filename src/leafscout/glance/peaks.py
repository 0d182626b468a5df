"""Tiles off the grid: where the scout's evidence is, instead of where a grid happens to lie.

A lesion that the border between two tiles cuts is seen in halves. Here tiles may start anywhere:
the one that holds the most evidence is taken, what it covers is crossed out, and the next one
follows (greedy non-maximum suppression). A tile's score is pooled just as that of a grid tile, so
the same threshold and cap apply.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafscout.glance.places import overlap_weights, pool_places
from leafscout.types import FloatArray, Tiles

CROSSED_OUT = -100.0
"""Logit of places that an earlier tile covers: no evidence left."""

STEPS_PER_TILE = 8
"""Starts that are tried along a tile's side."""


@dataclass(frozen=True, eq=False)
class PlacedTiles:
    """Tiles that were placed where the evidence is.

    Attributes:
        boxes_px_xyxy: (tiles, 4) boxes in the photo, strongest first; they may overlap a little.
        logits: (tiles,) score of each, of what no earlier tile covers.
    """

    boxes_px_xyxy: NDArray[np.int64]
    logits: FloatArray


def place_tiles(
    score_map: FloatArray,
    photo_size_px_hw: tuple[int, int],
    tile_px: int,
    *,
    max_tiles: int,
    threshold_logit: float = -np.inf,
) -> PlacedTiles:
    """Place tiles on the peaks of a scout's map.

    Args:
        score_map: (rows, columns) logits over the whole photo.
        photo_size_px_hw: height and width of the photo.
        tile_px: side of a tile.
        max_tiles: so many at most.
        threshold_logit: tiles below it are not placed.

    Returns:
        The tiles, inside the photo; one that is larger than the photo ends at its borders.
    """
    starts = _lay_starts(photo_size_px_hw, tile_px)
    rows, columns = (
        overlap_weights(lines, tile_px, length, cells)
        for lines, length, cells in zip(starts, photo_size_px_hw, score_map.shape, strict=True)
    )
    candidates = Tiles(photo_size_px_hw, tile_px, *starts)
    left = score_map.astype(np.float32).copy()
    boxes: list[NDArray[np.int64]] = []
    logits: list[float] = []
    while len(boxes) < max_tiles:
        scores = pool_places(left[None], candidates)[:, 0]
        best = int(scores.argmax())
        if scores[best] < threshold_logit or scores[best] <= CROSSED_OUT / 2:
            break
        box = candidates.boxes_px_xyxy[best]
        boxes.append(box)
        logits.append(float(scores[best]))
        row, column = rows[best // len(starts[1])], columns[best % len(starts[1])]
        left[_covered(row)[:, None] & _covered(column)[None, :]] = CROSSED_OUT
    return PlacedTiles(
        np.array(boxes, dtype=np.int64).reshape(-1, 4), np.array(logits, dtype=np.float32)
    )


def _covered(shares: FloatArray) -> NDArray[np.bool_]:
    """(cells,) True for cells of which the tile holds at least about half."""
    return np.asarray(shares >= 0.5 * shares.max())


def _lay_starts(
    photo_size_px_hw: tuple[int, int], tile_px: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows and columns where a tile may start: evenly from border to border."""
    lines = []
    for length in photo_size_px_hw:
        room = max(0, length - tile_px)
        count = max(1, round(room * STEPS_PER_TILE / tile_px)) + 1 if room else 1
        lines.append(tuple(sorted({round(step) for step in np.linspace(0, room, count)})))
    return lines[0], lines[1]
