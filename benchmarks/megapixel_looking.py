"""What each method sees of a canvas of digits: glances, tiles of a grid, tiles at peaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from leafscout.glance.view import glance_size_px_hw
from leafscout.photos.tiles import lay_tiles
from megapixel_canvases import Canvas, Gray, Sheet, render_canvas, render_region
from megapixel_networks import TILE_PX
from megapixel_tasks import Answers, answer_truly

GLANCE_SHRINK = 4
SHIFT_PX = 8
"""A grid is laid up to so many pixels aside while learning, so that no cut is always the same."""

JITTER_PX = 4
RESIZED_PX = 128
"""What a whole canvas is resized to for one network, whatever its size."""


class Bag(NamedTuple):
    """Tiles of several canvases.

    Attributes:
        tiles: (canvases, tiles, 64, 64) bytes.
        middles_px: (canvases, tiles, 2) row and column.
        mask: (canvases, tiles) False where a canvas has fewer tiles.
    """

    tiles: Tensor
    middles_px: Tensor
    mask: Tensor


@dataclass(frozen=True, eq=False)
class CanvasSet:
    """Canvases of one part with their right answers and, once asked for, their glances."""

    canvases: list[Canvas]
    sheet: Sheet

    @property
    def side_px(self) -> int:
        """Of every canvas."""
        return self.canvases[0].side_px

    @cached_property
    def truth(self) -> Answers:
        """The right answers."""
        return answer_truly(self.canvases)

    @cached_property
    def glances(self) -> Gray:
        """(canvases, side, side) bytes."""
        return np.stack([take_gray_glance(render_canvas(one, self.sheet)) for one in self.canvases])

    @cached_property
    def resized(self) -> Gray:
        """(canvases, 128, 128) bytes."""
        return np.stack(
            [shrink(render_canvas(one, self.sheet), RESIZED_PX) for one in self.canvases]
        )

    def targets(self, rows: Sequence[int] | NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        """(canvases, 3) digits, −1 for none, and (canvases, 10) presence as 0 or 1."""
        chosen = np.asarray(rows)
        return (
            torch.from_numpy(self.truth.choices[chosen]),
            torch.from_numpy(self.truth.present[chosen]).float(),
        )


def take_gray_glance(pixels: Gray) -> Gray:
    """Shrink a gray canvas to a quarter, as ``leafscout.glance.view.take_glance`` shrinks a photo.

    Args:
        pixels: (side, side) bytes.
    """
    side = pixels.shape[0]
    return shrink(pixels, glance_size_px_hw((side, side), side // GLANCE_SHRINK)[0])


def shrink(pixels: Gray, side_px: int) -> Gray:
    """(side, side) bytes made small by averaging areas."""
    return np.array(Image.fromarray(pixels).resize((side_px, side_px), Image.Resampling.BOX))


def grid_corners_px(side_px: int) -> NDArray[np.int64]:
    """(tiles, 2) upper left pixels of the package's grid."""
    return lay_tiles((side_px, side_px), TILE_PX).boxes_px_xyxy[:, [1, 0]]


def cut_gray(pixels: Gray, corners_px: NDArray[np.int64]) -> Gray:
    """(tiles, 64, 64) bytes out of a canvas."""
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (TILE_PX, TILE_PX))
    return windows[corners_px[:, 0], corners_px[:, 1]]


def cut_grid(
    data: CanvasSet, row: int, rng: np.random.Generator | None
) -> tuple[Gray, NDArray[np.int64]]:
    """All tiles of a canvas's grid and their corners on the canvas.

    Args:
        data: the canvases.
        row: which of them.
        rng: lays the grid a little aside; None leaves it where it is.
    """
    shift = np.zeros(2, dtype=np.int64)
    if rng is not None:
        shift = rng.integers(-SHIFT_PX, SHIFT_PX + 1, size=2)
    canvas, side = data.canvases[row], data.side_px
    pixels = render_region(canvas, data.sheet, (int(shift[0]), int(shift[1])), (side, side))
    corners = grid_corners_px(side)
    return cut_gray(pixels, corners), corners + shift


def join_bag(parts: Sequence[tuple[Gray, NDArray[np.int64]]]) -> Bag:
    """Tiles and corners of several canvases, filled up to the longest."""
    longest = max(1, max(len(tiles) for tiles, _ in parts))
    tiles = np.zeros((len(parts), longest, TILE_PX, TILE_PX), dtype=np.uint8)
    middles = np.zeros((len(parts), longest, 2), dtype=np.float32)
    mask = np.zeros((len(parts), longest), dtype=np.bool_)
    for row, (some, corners) in enumerate(parts):
        tiles[row, : len(some)] = some
        middles[row, : len(some)] = corners + TILE_PX / 2
        mask[row, : len(some)] = True
    return Bag(torch.from_numpy(tiles), torch.from_numpy(middles), torch.from_numpy(mask))


class Peaks(NamedTuple):
    """The best places of one canvas, best first.

    Attributes:
        cells: (peaks,) index into the flattened map of scores.
        scores: (peaks,) logits.
        corners_px: (peaks, 2) upper left pixels of the tiles around them.
    """

    cells: NDArray[np.int64]
    scores: NDArray[np.float32]
    corners_px: NDArray[np.int64]


def find_peaks(score_map: Tensor, side_px: int, count: int) -> Peaks:
    """The best local maxima of a map of scores: off the grid, so that no border cuts a digit.

    Args:
        score_map: (rows, columns) logits over the whole canvas.
        side_px: of the canvas.
        count: at most so many.
    """
    padded = score_map[None, None]
    highest = F.max_pool2d(padded, 3, stride=1, padding=1)
    alone = torch.where(padded >= highest, padded, torch.tensor(-torch.inf)).flatten()
    best = alone.topk(min(count, len(alone)))
    kept = torch.isfinite(best.values)
    cells = best.indices[kept]
    # A digit is larger than a cell: the middle of what its cells say is nearer to its middle.
    neighbours = F.unfold(F.pad(padded.sigmoid(), (1, 1, 1, 1)), 3)[0][:, cells]  # (9, peaks)
    weights = neighbours / neighbours.sum(dim=0).clamp(min=1e-12)
    steps = torch.tensor([[row, column] for row in (-1, 0, 1) for column in (-1, 0, 1)])
    offset = (weights.T @ steps.float()).numpy()
    columns = score_map.shape[1]
    at = np.stack(np.divmod(cells.numpy(), columns), axis=1) + 0.5 + offset
    middles = at * (side_px / columns)
    return Peaks(
        cells.numpy(),
        best.values[kept].numpy(),
        np.round(middles - TILE_PX / 2).astype(np.int64),
    )


def snap_to_grid(peaks: Peaks, side_px: int) -> Peaks:
    """The same peaks, each with the nearest tile of the grid; the best peak of a tile stands."""
    corners = grid_corners_px(side_px)
    away = np.abs(peaks.corners_px[:, None] - corners[None]).max(axis=2)
    nearest = away.argmin(axis=1)
    _, first = np.unique(nearest, return_index=True)
    kept = np.sort(first)
    return Peaks(peaks.cells[kept], peaks.scores[kept], corners[nearest[kept]])


def cut_around(
    data: CanvasSet, row: int, corners_px: NDArray[np.int64], margin_px: int = 0
) -> Gray:
    """(tiles, 64 + 2·margin, …) bytes at any corners; paper lies beyond the canvas."""
    side = TILE_PX + 2 * margin_px
    out = np.zeros((len(corners_px), side, side), dtype=np.uint8)
    for slot, (top, left) in enumerate(corners_px):
        out[slot] = render_region(
            data.canvases[row],
            data.sheet,
            (int(top) - margin_px, int(left) - margin_px),
            (side, side),
        )
    return out


def jitter(tiles: Gray, rng: np.random.Generator) -> tuple[Gray, NDArray[np.int64]]:
    """Tiles cut with a margin of ``JITTER_PX`` → tiles a little aside, and by how much."""
    shift = rng.integers(-JITTER_PX, JITTER_PX + 1, size=(len(tiles), 2))
    start = shift + JITTER_PX
    moved = [
        one[top : top + TILE_PX, left : left + TILE_PX]
        for one, (top, left) in zip(tiles, start, strict=True)
    ]
    return np.stack(moved) if moved else tiles[:, :TILE_PX, :TILE_PX], shift
