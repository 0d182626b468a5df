"""Tiles straight from a photo's file: decoded into the same memory over and over."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leafscout.photos.jpeg_photo import JpegPhoto
from leafscout.photos.tiles import cut_tiles
from leafscout.types import Photo, Pixels, Tiles


def read_tiles(photo: Photo, tiles: Tiles, indices: Sequence[int] | NDArray[np.integer]) -> Pixels:
    """Cut tiles out of a photo, whose pixels are decoded for that and kept.

    Args:
        photo: the photo.
        tiles: its grid.
        indices: which tiles, in this order.

    Returns:
        (tiles, tile_px, tile_px, 3) copies.

    Raises:
        PhotoError: when the photo's data are damaged.
    """
    return cut_tiles(photo.pixels, tiles, indices)


class TileReader:
    """Reads tiles of one photo after another without keeping the photos.

    Fetching memory for a whole photo from the system costs a good part of what decoding costs; so
    each thread keeps as much as its largest photo needed. Several threads may read at a time.
    """

    def __init__(self) -> None:
        self._memory = threading.local()

    def read(
        self, photo: Photo, tiles: Tiles, indices: Sequence[int] | NDArray[np.integer]
    ) -> Pixels:
        """As ``read_tiles``, but the photo does not keep its pixels."""
        if not isinstance(photo, JpegPhoto) or photo.decoded:
            return read_tiles(photo, tiles, indices)
        return cut_tiles(photo.decode_full(self._buffer(photo)), tiles, indices)

    def _buffer(self, photo: Photo) -> NDArray[np.uint8]:
        height, width = photo.size_px_hw
        buffer: NDArray[np.uint8] | None = getattr(self._memory, "buffer", None)
        if buffer is None or buffer.size < height * width * 3:
            self._memory.buffer = None  # freed before the larger one is fetched
            buffer = self._memory.buffer = np.empty(height * width * 3, dtype=np.uint8)
        return buffer
