"""Where in its cell a network sees a place, measured on mirrored tiles.

Strided convolutions look a little left of and above the middle of their cells, up to half a cell
over all layers, and training may or may not make up for it. A mirrored tile tells: what is marked
in it, mirrored back, lies as far on the other side of the truth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leafscout.model import Networks
from leafscout.types import FloatArray, Pixels

LEAST_TILES = 8
"""The median over fewer pairs of tile and axis says nothing."""


def measure_place_offset(networks: Networks, tiles: Sequence[tuple[Pixels, int]]) -> float:
    """How far right of and below an even grid the expert sees its places.

    Args:
        networks: holds the trained expert.
        tiles: (tile_px, tile_px, 3) pixels that show a lesion, with the index of its label.

    Returns:
        Pixels, the median over tiles and both axes; 0 with fewer than ``LEAST_TILES`` tiles.
    """
    if len(tiles) < LEAST_TILES:
        return 0.0
    offsets_px: list[float] = []
    for pixels, label in tiles:
        views = np.stack([pixels, pixels[:, ::-1], pixels[::-1]])
        plain, mirrored, flipped = networks.run_expert(views).place_logits[:, label]
        place_px = pixels.shape[0] / plain.shape[0]
        for axis, other in ((1, mirrored[:, ::-1]), (0, flipped[::-1])):
            # A place that is seen d px too far right is marked d px left of where it is.
            apart = _centre(other, axis) - _centre(plain, axis)
            offsets_px.append(float(apart) / 2 * place_px)
    return round(float(np.median(offsets_px)), 1)


def _centre(place_logits: FloatArray, axis: int) -> float:
    """Centre of gravity, along an axis, of what stands out around the strongest place."""
    above = np.maximum(place_logits - np.median(place_logits), 0.0).astype(np.float64)
    row, column = np.unravel_index(int(above.argmax()), above.shape)
    near = np.zeros_like(above)
    window = np.s_[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
    near[window] = above[window]
    along = near.sum(axis=1 - axis)
    total = max(float(along.sum()), 1e-12)
    return float((along * (np.arange(len(along)) + 0.5)).sum() / total)
