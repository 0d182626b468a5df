"""The grid of full-resolution tiles: it covers every pixel, for any size and aspect ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.types import Pixels, Tiles

MIN_TILE_PX = 32


def lay_tiles(photo_size_px_hw: tuple[int, int], tile_px: int) -> Tiles:
    """Lay the fewest evenly spaced tiles that cover a photo.

    A side of ``length`` pixels gets ``ceil(length / tile_px)`` lines whose starts are spread
    evenly and rounded, so that neighbours overlap a little and nothing is left out: 3000×4000
    pixels and tiles of 384 give 8×11 = 88 tiles, not the 8×8 that would leave 23% unseen.

    Args:
        photo_size_px_hw: height and width of the photo in pixels.
        tile_px: side of a tile in pixels.

    Raises:
        InputError: when a side or the tile is too small.
    """
    height, width = photo_size_px_hw
    if tile_px < MIN_TILE_PX:
        raise InputError(
            f"Expected tiles of at least {MIN_TILE_PX} px, but got {tile_px} px. "
            "Choose a larger --tile-px."
        )
    if height < 1 or width < 1:
        raise InputError(f"Expected a photo with pixels, but got {width}×{height} px.")
    return Tiles(
        photo_size_px_hw=(height, width),
        tile_px=tile_px,
        tops=_starts(height, tile_px),
        lefts=_starts(width, tile_px),
    )


def _starts(length: int, tile_px: int) -> tuple[int, ...]:
    count = math.ceil(length / tile_px)
    if count == 1:
        return (0,)
    step = (length - tile_px) / (count - 1)
    return tuple(round(index * step) for index in range(count))


def cut_tiles(
    pixels: Pixels, tiles: Tiles, indices: Sequence[int] | NDArray[np.integer] | None = None
) -> Pixels:
    """Cut tiles out of a photo at full resolution.

    Args:
        pixels: (height, width, 3) the photo that ``tiles`` was laid for.
        tiles: the grid.
        indices: which tiles, in this order; None cuts all of them.

    Returns:
        (tiles, tile_px, tile_px, 3) copies; a photo smaller than a tile is continued with its
        edge pixels.

    Raises:
        InputError: when the photo's size is not the one that the grid was laid for.
    """
    if pixels.shape[:2] != tiles.photo_size_px_hw:
        raise InputError(
            f"Expected a photo of {tiles.photo_size_px_hw} px (height, width), as the tiles were "
            f"laid for, but got {pixels.shape[:2]}."
        )
    chosen = range(len(tiles)) if indices is None else indices
    side = tiles.tile_px
    out = np.empty((len(chosen), side, side, 3), dtype=np.uint8)
    for slot, index in enumerate(chosen):
        left, top, right, bottom = tiles.boxes_px_xyxy[index]
        piece = pixels[top:bottom, left:right]
        height, width = piece.shape[:2]
        out[slot, :height, :width] = piece
        out[slot, height:, :width] = piece[-1:]
        out[slot, :, width:] = out[slot, :, width - 1 : width]
    return out


def stitch_tiles(cut: NDArray[np.uint8], tiles: Tiles) -> Pixels:
    """Put all tiles of a grid back into the photo: the inverse of ``cut_tiles``.

    Args:
        cut: (tiles, tile_px, tile_px, 3) all tiles in the grid's order.
        tiles: the grid.

    Returns:
        (height, width, 3) the photo; where tiles overlap, the later one stands.
    """
    out = np.zeros((*tiles.photo_size_px_hw, 3), dtype=np.uint8)
    for piece, (left, top, right, bottom) in zip(cut, tiles.boxes_px_xyxy, strict=True):
        out[top:bottom, left:right] = piece[: bottom - top, : right - left]
    return out
