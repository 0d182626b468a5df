"""Fuse the evidence of the tiles with that of the glance itself: once, in numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leafscout.types import FloatArray


def fuse_evidence(
    focus_logits: FloatArray, glance_logits: FloatArray, glance_weights: Sequence[float]
) -> FloatArray:
    """Weighted mean of two logits.

    Args:
        focus_logits: (..., labels) pooled evidence of the tiles.
        glance_logits: (..., labels) photo-level evidence of the glance.
        glance_weights: (labels,) 0 ignores the glance, 1 ignores the tiles.

    Returns:
        (..., labels) logits.
    """
    weights = np.asarray(glance_weights)
    fused: FloatArray = ((1.0 - weights) * focus_logits + weights * glance_logits).astype(
        np.float32
    )
    return fused


def fill_unread(
    tile_logits: FloatArray,
    scout_logits: FloatArray,
    scout_label_logits: FloatArray,
    read: NDArray[np.bool_],
) -> FloatArray:
    """Let unread tiles enter the pooling with the scout's guess.

    Poolings other than the maximum change with the number of tiles; so the bag always holds all
    tiles of the photo. The guess for a label never exceeds the score of the tile itself, which
    was too low to be read.

    Args:
        tile_logits: (tiles, labels) the expert's evidence; anything where not read.
        scout_logits: (tiles,) score of each tile.
        scout_label_logits: (tiles, labels) the scout's guess.
        read: (tiles,) True where the expert looked.

    Returns:
        (tiles, labels) logits without gaps.
    """
    guess = np.minimum(scout_label_logits, scout_logits[:, None])
    filled: FloatArray = np.where(read[:, None], tile_logits, guess).astype(np.float32)
    return filled
