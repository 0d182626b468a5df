"""From the scout's places to tiles: area-exact resampling of a map to the tile grid.

The scout's map has cells of its own stride, the tiles overlap and start anywhere; so a tile's
value is a soft maximum over the cells, each weighted by the area it shares with the tile. A soft
maximum hardly heeds a weight: a loud cell of which a tile holds a sliver would be as loud there as
in the tile that holds the lesion, and the tile beside a lesion would be read in place of another
lesion. Shares to a high power leave such a cell to the tile that holds most of it.
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
    starts: tuple[int, ...],
    side_px: int,
    length_px: int,
    cells: int,
    border_exponent: float = 1.0,
) -> FloatArray:
    """Share of each tile's side that falls into each cell, along one axis.

    Args:
        starts: where the tiles start, in pixels of the photo.
        side_px: side of a tile.
        length_px: side of the photo; the cells divide it evenly.
        cells: number of cells along it.
        border_exponent: power of the shares, at least 1. At 1 they are areas; the higher it is,
            the less a cell counts for a tile that holds less of it than of others.

    Returns:
        (tiles, cells) non-negative; every row sums to 1.
    """
    edges = np.linspace(0.0, length_px, cells + 1)
    begin = np.asarray(starts, dtype=np.float64)[:, None]
    end = np.minimum(begin + side_px, length_px)
    shared = np.minimum(end, edges[None, 1:]) - np.maximum(begin, edges[None, :-1])
    shared = np.maximum(shared, 0.0)
    # Against the largest share: a power of pixels would leave the range of a number.
    shared = (shared / shared.max(axis=1, keepdims=True)) ** border_exponent
    weights: FloatArray = (shared / shared.sum(axis=1, keepdims=True)).astype(np.float32)
    return weights


def tile_weights(
    tiles: Tiles, map_size_hw: tuple[int, int], border_exponent: float = 1.0
) -> tuple[FloatArray, FloatArray]:
    """Row weights (grid rows, map rows) and column weights (grid columns, map columns)."""
    height, width = tiles.photo_size_px_hw
    return (
        overlap_weights(tiles.tops, tiles.tile_px, height, map_size_hw[0], border_exponent),
        overlap_weights(tiles.lefts, tiles.tile_px, width, map_size_hw[1], border_exponent),
    )


def pool_places(place_logits: FloatArray, tiles: Tiles, border_exponent: float = 1.0) -> FloatArray:
    """Evidence of tiles from the evidence of places.

    For each tile ``log(Σ_j w_j exp(r z_j)) / r`` with sharpness ``r`` (``PLACE_SHARPNESS``) and
    weights ``w`` from ``overlap_weights``; with the exponent 1, shares of area, this is the
    length-normalised log-sum-exp of Pinheiro & Collobert (2015), eq. 6.

    Args:
        place_logits: (channels, rows, columns) logits over the whole photo.
        tiles: the grid.
        border_exponent: how strictly a place that a tile's border cuts counts for the tile that
            holds most of it; 1 is in proportion.

    Returns:
        (tiles, channels) logits.
    """
    map_size_hw = (place_logits.shape[1], place_logits.shape[2])
    rows, columns = tile_weights(tiles, map_size_hw, border_exponent)
    scaled: NDArray[np.float64] = PLACE_SHARPNESS * place_logits.astype(np.float64)
    # One constant a channel keeps exp() in range without changing the result.
    top = scaled.max(axis=(1, 2), keepdims=True)
    summed = rows @ np.exp(np.maximum(scaled - top, LEAST_EXPONENT)) @ columns.T
    pooled = (np.log(summed) + top) / PLACE_SHARPNESS
    out: FloatArray = pooled.reshape(len(place_logits), -1).T.astype(np.float32)
    return out
