"""From the scout's places to tiles: area-exact resampling of a map to the tile grid.

The scout's map has cells of its own stride, the tiles overlap and start anywhere; so a tile's
value is a soft maximum over the cells, each weighted by the area it shares with the tile.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leafscout.types import FloatArray, Tiles

PLACE_SHARPNESS = 4.0
"""Between the mean (0) and the maximum (infinite) of the evidence of places."""

LEAST_EXPONENT = -600.0
"""Places this far (after sharpening) below the loudest one count as just so far below it."""


def overlap_weights(
    starts: tuple[int, ...], side_px: int, length_px: int, cells: int
) -> FloatArray:
    """Share of each tile's side that falls into each cell, along one axis.

    Args:
        starts: where the tiles start, in pixels of the photo.
        side_px: side of a tile.
        length_px: side of the photo; the cells divide it evenly.
        cells: number of cells along it.

    Returns:
        (tiles, cells) non-negative; every row sums to 1.
    """
    edges = np.linspace(0.0, length_px, cells + 1)
    begin = np.asarray(starts, dtype=np.float64)[:, None]
    end = np.minimum(begin + side_px, length_px)
    shared = np.minimum(end, edges[None, 1:]) - np.maximum(begin, edges[None, :-1])
    shared = np.maximum(shared, 0.0)
    weights: FloatArray = (shared / shared.sum(axis=1, keepdims=True)).astype(np.float32)
    return weights


def tile_weights(tiles: Tiles, map_size_hw: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Row weights (grid rows, map rows) and column weights (grid columns, map columns)."""
    height, width = tiles.photo_size_px_hw
    return (
        overlap_weights(tiles.tops, tiles.tile_px, height, map_size_hw[0]),
        overlap_weights(tiles.lefts, tiles.tile_px, width, map_size_hw[1]),
    )


def pool_places(place_logits: FloatArray, tiles: Tiles) -> FloatArray:
    """Evidence of tiles from the evidence of places.

    For each tile ``log(Σ_j w_j exp(r z_j)) / r`` with area shares ``w`` and sharpness ``r``
    (``PLACE_SHARPNESS``), the length-normalised log-sum-exp of Pinheiro & Collobert (2015), eq. 6.

    Args:
        place_logits: (channels, rows, columns) logits over the whole photo.
        tiles: the grid.

    Returns:
        (tiles, channels) logits.
    """
    rows, columns = tile_weights(tiles, (place_logits.shape[1], place_logits.shape[2]))
    scaled: NDArray[np.float64] = PLACE_SHARPNESS * place_logits.astype(np.float64)
    # One constant a channel keeps exp() in range without changing the result.
    top = scaled.max(axis=(1, 2), keepdims=True)
    summed = rows @ np.exp(np.maximum(scaled - top, LEAST_EXPONENT)) @ columns.T
    pooled = (np.log(summed) + top) / PLACE_SHARPNESS
    out: FloatArray = pooled.reshape(len(place_logits), -1).T.astype(np.float32)
    return out
