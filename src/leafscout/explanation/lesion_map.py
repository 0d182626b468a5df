"""The lesion map: evidence of places inside the tiles read, laid over the whole photo.

The map comes from the expert's evidence of places, never from attention weights, which are known
to invert or to go uniform.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leafscout.diagnosis.calibrate import sigmoid
from leafscout.types import FloatArray, LesionBox, Tiles


def lesion_cell_px(tile_px: int, places: int) -> int:
    """The side of a lesion map's cell, in pixels of the photo, that loses no peak.

    Half a place: wherever a place lies, one cell at least then falls wholly inside it, and
    area-exact resampling leaves its evidence as it was.

    Args:
        tile_px: side of a tile in pixels.
        places: number of places along a side of the tile.
    """
    return max(1, tile_px // (2 * places))


def build_lesion_map(
    tiles: Tiles,
    read: NDArray[np.bool_],
    place_logits: FloatArray,
    *,
    cell_px: int,
    place_offset_px: float = 0.0,
) -> FloatArray:
    """Lay the evidence of places inside the tiles read over the whole photo.

    Within a tile, a cell gets the mean of the places that it covers, weighted by the area shared;
    where tiles overlap, the larger value stands, so that a tile that cuts a lesion does not
    dilute the tile that shows it whole. Cells that no read tile touches stay 0.

    Args:
        tiles: the grid of the photo.
        read: (tiles,) True where the expert looked.
        place_logits: (tiles read, labels, rows, columns) logits of an even grid of places that
            covers the whole tile, in the order of the grid.
        cell_px: side of a cell in pixels of the photo; see ``lesion_cell_px``.
        place_offset_px: how far right of and below an even grid the network sees its places; the
            outer ones are widened to the tile's border.

    Returns:
        (labels, rows, columns) probabilities 0..1; the last cells are cut by the photo's border.

    Raises:
        ValueError: when the places are not those of the tiles read, or a cell has no size.
    """
    return lay_places(
        tiles, read, sigmoid(place_logits), cell_px=cell_px, place_offset_px=place_offset_px
    )


def lay_places(
    tiles: Tiles,
    read: NDArray[np.bool_],
    place_probs: NDArray[np.floating],
    *,
    cell_px: int,
    place_offset_px: float = 0.0,
) -> FloatArray:
    """Like ``build_lesion_map``, of values 0..1 instead of logits: heat of any kind."""
    indices = np.flatnonzero(read)
    if len(indices) != len(place_probs) or len(read) != len(tiles):
        raise ValueError(
            f"Expected places for each of the {len(indices)} tiles read out of {len(tiles)}, but "
            f"got places for {len(place_probs)} tiles and {len(read)} flags."
        )
    if cell_px < 1:
        raise ValueError(f"Expected cells of at least 1 px, but got {cell_px}.")
    height, width = tiles.photo_size_px_hw
    _, labels, place_rows, place_columns = place_probs.shape
    out = np.zeros((labels, -(-height // cell_px), -(-width // cell_px)), dtype=np.float32)
    for tile_probs, index in zip(place_probs, indices, strict=True):
        row, column = divmod(int(index), tiles.columns)
        top, down = _cell_weights(
            tiles.tops[row], tiles.tile_px, place_rows, height, cell_px, place_offset_px
        )
        left, across = _cell_weights(
            tiles.lefts[column], tiles.tile_px, place_columns, width, cell_px, place_offset_px
        )
        # (cells down, places) @ (labels, places, places) @ (places, cells across)
        seen = (down @ tile_probs @ across.T).astype(np.float32)
        window = out[:, top : top + len(down), left : left + len(across)]
        np.maximum(window, np.minimum(seen, 1.0), out=window)
    return out


def _cell_weights(
    start_px: int, tile_px: int, places: int, photo_px: int, cell_px: int, offset_px: float
) -> tuple[int, NDArray[np.float64]]:
    """First cell that a tile touches, and (cells, places) shares; every row sums to 1."""
    end_px = min(start_px + tile_px, photo_px)
    first = start_px // cell_px
    cells = np.arange(first, -(-end_px // cell_px), dtype=np.float64)[:, None] * cell_px
    edges = start_px + offset_px + np.linspace(0.0, tile_px, places + 1)
    edges[0], edges[-1] = start_px, start_px + tile_px
    begin, end = np.maximum(cells, start_px), np.minimum(cells + cell_px, end_px)
    shared = np.minimum(end, edges[None, 1:]) - np.maximum(begin, edges[None, :-1])
    shared = np.maximum(shared, 0.0)
    return first, shared / shared.sum(axis=1, keepdims=True)


def peak_px_xy(
    label_map: FloatArray, cell_px: int, photo_size_px_hw: tuple[int, int]
) -> tuple[float, float] | None:
    """The middle of the strongest cells, in pixels of the photo; None where the map is empty.

    A place covers several cells of equal strength; its middle is meant, not its first cell.

    Args:
        label_map: (rows, columns) one label's lesion map, 0..1.
        cell_px: side of a cell in pixels.
        photo_size_px_hw: height and width of the photo; the last cells end there.
    """
    if not label_map.size or label_map.max() <= 0:
        return None
    components, _ = label_components(label_map >= label_map.max())
    rows, columns = np.nonzero(components == 1)
    box = int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
    left, top, right, bottom = _cells_to_px(box, cell_px, photo_size_px_hw)
    return (left + right) / 2, (top + bottom) / 2


def find_lesion_boxes(
    lesion_map: FloatArray,
    lesion_map_px: int,
    photo_size_px_hw: tuple[int, int],
    labels: Sequence[str],
    present: Sequence[str],
    *,
    min_prob: float = 0.5,
    max_boxes: int = 20,
) -> tuple[LesionBox, ...]:
    """Box the connected places that speak for the labels found.

    Args:
        lesion_map: (labels, rows, columns) probabilities 0..1.
        lesion_map_px: side of a cell in pixels of the photo.
        photo_size_px_hw: height and width of the photo; boxes are clipped to it.
        labels: the labels of the map, in its order.
        present: the labels to box.
        min_prob: a cell belongs to a lesion at or above it.
        max_boxes: how many boxes to keep, over all labels.

    Returns:
        Boxes with the peak probability inside each, strongest first, larger ones first among
        equals.
    """
    found: list[tuple[float, int, LesionBox]] = []
    for name, label_map in zip(labels, lesion_map, strict=True):
        if name not in present:
            continue
        components, count = label_components(label_map >= min_prob)
        for component, (left, top, right, bottom) in enumerate(_component_boxes(components, count)):
            inside = components[top:bottom, left:right] == component + 1
            peak = float(label_map[top:bottom, left:right][inside].max())
            box = _cells_to_px((left, top, right, bottom), lesion_map_px, photo_size_px_hw)
            found.append((peak, int(inside.sum()), LesionBox(name, box, peak)))
    found.sort(key=lambda entry: entry[:2], reverse=True)
    return tuple(box for _, _, box in found[:max_boxes])


def label_components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], int]:
    """Number the 4-connected components of a mask, by runs of rows and union-find.

    Args:
        mask: (rows, columns).

    Returns:
        (rows, columns) 0 outside, 1..n inside in the order of their first cell; and n.
    """
    padded = np.pad(mask.astype(np.int8), ((0, 0), (1, 1)))
    steps = np.diff(padded, axis=1)
    run_rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]  # exclusive, in the same order as the starts
    parents = list(range(len(starts)))
    first_of_row = np.searchsorted(run_rows, np.arange(len(mask) + 1)).tolist()
    for row in range(1, len(mask)):
        above, current, stop = first_of_row[row - 1 : row + 2]
        upper = above
        for run in range(current, stop):
            while upper < current and ends[upper] <= starts[run]:
                upper += 1
            touching = upper
            while touching < current and starts[touching] < ends[run]:
                _unite(parents, touching, run)
                touching += 1
    numbers: dict[int, int] = {}
    out = np.zeros(mask.shape, dtype=np.int64)
    for run, (line, start, end) in enumerate(zip(run_rows, starts, ends, strict=True)):
        out[line, start:end] = numbers.setdefault(_find(parents, run), len(numbers) + 1)
    return out, len(numbers)


def _find(parents: list[int], run: int) -> int:
    while parents[run] != run:
        parents[run] = parents[parents[run]]  # halve the path
        run = parents[run]
    return run


def _unite(parents: list[int], first: int, second: int) -> None:
    one, other = _find(parents, first), _find(parents, second)
    parents[max(one, other)] = min(one, other)


def _component_boxes(components: NDArray[np.int64], count: int) -> list[tuple[int, int, int, int]]:
    """Boxes xyxy in cells, one a component, in one pass over the map."""
    rows, columns = np.nonzero(components)
    which = components[rows, columns] - 1
    low = np.full((count, 2), np.iinfo(np.int64).max)
    high = np.zeros((count, 2), dtype=np.int64)
    for axis, values in enumerate((columns, rows)):
        np.minimum.at(low[:, axis], which, values)
        np.maximum.at(high[:, axis], which, values + 1)
    return [
        (int(x0), int(y0), int(x1), int(y1)) for (x0, y0), (x1, y1) in zip(low, high, strict=True)
    ]


def _cells_to_px(
    box_cells: tuple[int, int, int, int], cell_px: int, photo_size_px_hw: tuple[int, int]
) -> tuple[int, int, int, int]:
    height, width = photo_size_px_hw
    left, top, right, bottom = (edge * cell_px for edge in box_cells)
    return left, top, min(right, width), min(bottom, height)
