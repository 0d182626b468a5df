"""Closer glances: for very large photos, a finer look at the promising regions before any tile.

A single glance that shows a lesion of a given size grows with the photo's area. Here a coarse
glance covers the whole photo, and the same scout looks again, at a finer scale, at a bounded number
of regions. What it says there takes the place of what it said of them from afar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from leafscout.glance.view import GLANCE_STEP_PX
from leafscout.types import FloatArray, Pixels

REGION_PX = 128
"""Side of a region in pixels of the closer glance; a multiple of ``GLANCE_STEP_PX``."""


def lay_regions(closer_size_px_hw: tuple[int, int]) -> NDArray[np.int64]:
    """Regions that cover a closer glance, overlapping a little where they must.

    Args:
        closer_size_px_hw: height and width of the closer glance, multiples of ``GLANCE_STEP_PX``.

    Returns:
        (regions, 4) boxes ``xyxy`` in cells of ``GLANCE_STEP_PX`` pixels.
    """
    spans = []
    for length in closer_size_px_hw:
        cells, side = length // GLANCE_STEP_PX, REGION_PX // GLANCE_STEP_PX
        count = -(-cells // side)
        step = (cells - side) / (count - 1) if count > 1 else 0.0
        starts = [round(index * step) for index in range(count)]
        spans.append([(start, min(start + side, cells)) for start in starts])
    return np.array(
        [(left, top, right, bottom) for top, bottom in spans[0] for left, right in spans[1]],
        dtype=np.int64,
    )


def promising_regions(
    score_map: FloatArray, regions: NDArray[np.int64], most: int
) -> NDArray[np.int64]:
    """The regions with the highest scores, seen from afar.

    Args:
        score_map: (rows, columns) in cells of the closer glance.
        regions: (regions, 4) boxes in the same cells.
        most: so many at most.

    Returns:
        Sorted indices; between equal regions the earlier is preferred.
    """
    loudest = np.array([score_map[t:b, le:r].max() for le, t, r, b in regions])
    return np.sort(np.argsort(-loudest, kind="stable")[:most])


def spread_map(coarse: FloatArray, rows: int, columns: int) -> FloatArray:
    """(..., rows, columns) of a coarser map: each cell takes what lies under its centre."""
    from_row = ((np.arange(rows) + 0.5) * coarse.shape[-2] / rows).astype(np.int64)
    from_column = ((np.arange(columns) + 0.5) * coarse.shape[-1] / columns).astype(np.int64)
    fine: FloatArray = coarse[..., from_row[:, None], from_column[None, :]]
    return fine


def look_closer(
    coarse: FloatArray,
    closer: Pixels,
    most: int,
    look: Callable[[Pixels], FloatArray],
) -> FloatArray:
    """Replace what was said from afar of the most promising regions by what is said close up.

    Args:
        coarse: (views, channels, rows, columns) logits of the whole photo; channel 0 is the score.
        closer: (height, width, 3) the closer glance; sides are multiples of ``GLANCE_STEP_PX``.
        most: regions looked at, at most.
        look: pixels of a region → (views, channels, rows, columns) logits.

    Returns:
        (views, channels, rows, columns), one cell for each ``GLANCE_STEP_PX`` of the closer glance.
        Where two regions overlap, the louder score decides.
    """
    rows, columns = (side // GLANCE_STEP_PX for side in closer.shape[:2])
    fine = spread_map(coarse, rows, columns).copy()
    regions = lay_regions((closer.shape[0], closer.shape[1]))
    seen = np.zeros((rows, columns), dtype=np.bool_)
    for index in promising_regions(fine[:, 0].mean(axis=0), regions, most):
        left, top, right, bottom = (int(edge) for edge in regions[index])
        step = GLANCE_STEP_PX
        found = look(closer[top * step : bottom * step, left * step : right * step])
        before = fine[..., top:bottom, left:right]
        louder = before[:, 0].mean(axis=0) > found[:, 0].mean(axis=0)
        keep = seen[top:bottom, left:right] & louder
        fine[..., top:bottom, left:right] = np.where(keep, before, found)
        seen[top:bottom, left:right] = True
    return fine


def count_closer_px(closer_size_px_hw: tuple[int, int], most: int) -> int:
    """Pixels of the closer glance that are looked at: what it costs the scout."""
    regions = lay_regions(closer_size_px_hw)
    sides: Sequence[int] = np.sort(
        (regions[:, 2] - regions[:, 0]) * (regions[:, 3] - regions[:, 1])
    )[::-1][:most].tolist()
    return int(sum(sides)) * GLANCE_STEP_PX**2
