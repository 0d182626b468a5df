"""A photo that still lies in its JPEG file: decoded small, or in full, when that is asked for."""

from __future__ import annotations

import re
from functools import cached_property

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from leafscout.errors import PhotoError
from leafscout.photos.rgb import turn_upright, view_upright
from leafscout.types import Photo, Pixels

EIGHTHS = (1, 2, 4)
"""Scales to decode at, in eighths. The others are slower than the next larger one of these."""

LEAST_MARGIN = 1.5
"""A scaled photo is about as large as what is made of it, or at least so many times: shrinking by
less than that would blur."""

NEAR_MARGIN = 1.04
"""Up to so many times larger or smaller counts as about as large: cubic interpolation moves pixels
by so little without blurring them."""

# By how much the colours of a scaled photo are coarser than its lightness. The decoder makes up for
# halved colours only where they are halved both ways; other samplings are not decoded small.
_COARSER_COLOURS = {"Gray": 1, "444": 1, "420": 1, "422": 2, "440": 2}

_HARMLESS_WARNING = re.compile(r"extraneous bytes before marker 0xd9")


class JpegPhoto(Photo):
    """A photo whose pixels are decoded from its JPEG file when they are first asked for, once.

    A JPEG file stores blocks of 8×8 pixels by their frequencies: decoding the lowest ones alone
    gives the photo at 1/8, 1/4 or 1/2 in about half the time and a sixteenth of the memory, or
    less. A photo of which nothing is read at full resolution is never decoded in full.

    Args:
        data: the whole file; baseline, with one or three channels.
        source: what the photo is called.
        stored_px_hw: height and width as stored.
        orientation: 1..8 as EXIF counts them.
    """

    def __init__(
        self, data: bytes, source: str, stored_px_hw: tuple[int, int], orientation: int
    ) -> None:
        object.__setattr__(self, "source", source)
        self._data = data
        self._stored_px_hw = stored_px_hw
        self._orientation = orientation
        self._coarser_colours = _COARSER_COLOURS.get(_read_sampling(data))

    @cached_property
    def pixels(self) -> Pixels:
        """(height, width, 3) RGB, 0..255, upright.

        Raises:
            PhotoError: when the data are damaged.
        """
        return np.ascontiguousarray(self.decode_full())

    @property
    def size_px_hw(self) -> tuple[int, int]:
        """Height and width of the upright photo in pixels; nothing is decoded."""
        return self._turned(self._stored_px_hw)

    @property
    def decoded(self) -> bool:
        """Whether ``pixels`` has been asked for: asking again costs nothing."""
        return "pixels" in vars(self)

    def decode_full(self, buffer: NDArray[np.uint8] | None = None) -> Pixels:
        """Decode all pixels and keep nothing.

        Args:
            buffer: (at least height · width · 3,) memory to decode into, so that it need not be
                fetched from the system for every photo; None takes new memory.

        Returns:
            (height, width, 3) RGB, 0..255, upright; a view of ``buffer`` where one was given.

        Raises:
            PhotoError: when the data are damaged.
        """
        height, width = self._stored_px_hw
        if buffer is not None and buffer.size < height * width * 3:
            buffer = None
        return view_upright(decode_jpeg(self._data, self.source, buffer=buffer), self._orientation)

    def shrink(self, size_px_hw: tuple[int, int]) -> Pixels | None:
        """Make the photo small without decoding it in full.

        Args:
            size_px_hw: wanted height and width, upright.

        Returns:
            (height, width, 3) RGB, 0..255, upright; None when that is more than about half of
            the photo, or its colours are stored in a rare way, so that a full decode is needed.

        Raises:
            PhotoError: when the data are damaged.
        """
        height, width = self._turned(size_px_hw)  # turning twice is turning back
        if self._coarser_colours is None:
            return None
        eighths = _choose_eighths(self._stored_px_hw, (height, width), self._coarser_colours)
        if eighths is None:
            return None
        stored_height, stored_width = self._stored_px_hw
        small = decode_jpeg(
            self._data, self.source, eighths=eighths, stored_px_hw=self._stored_px_hw
        )
        # The last block may reach beyond the photo: what is averaged ends where the photo does.
        box = (0.0, 0.0, stored_width * eighths / 8, stored_height * eighths / 8)
        if box[2:] != (width, height):
            near = max(box[2] / width, box[3] / height) <= NEAR_MARGIN
            filter_ = Image.Resampling.BICUBIC if near else Image.Resampling.HAMMING
            small = np.asarray(Image.fromarray(small).resize((width, height), filter_, box=box))
        return turn_upright(small, self._orientation)

    def _turned(self, size_px_hw: tuple[int, int]) -> tuple[int, int]:
        height, width = size_px_hw
        return (width, height) if self._orientation >= 5 else (height, width)


def read_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Height and width as the decoder reads them; None when it cannot."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return int(height), int(width)


def _read_sampling(data: bytes) -> str:
    try:
        return str(simplejpeg.decode_jpeg_header(data)[3])
    except ValueError:  # damaged: decoding will say how
        return ""


def _choose_eighths(
    stored_px_hw: tuple[int, int], wanted_px_hw: tuple[int, int], coarser_colours: int
) -> int | None:
    for eighths in EIGHTHS:
        ratios = [
            stored * eighths / 8 / wanted / coarser_colours
            for stored, wanted in zip(stored_px_hw, wanted_px_hw, strict=True)
        ]
        near = min(ratios) >= 1 / NEAR_MARGIN and max(ratios) <= NEAR_MARGIN
        if near or min(ratios) >= LEAST_MARGIN:
            return eighths
    return None


def decode_jpeg(
    data: bytes,
    name: str,
    *,
    eighths: int = 8,
    stored_px_hw: tuple[int, int] = (0, 0),
    buffer: NDArray[np.uint8] | None = None,
) -> Pixels:
    """Decode a JPEG file as it is stored.

    Args:
        data: the whole file.
        name: what to call the photo in an error.
        eighths: at how many eighths of its size: 8, or one of ``EIGHTHS``.
        stored_px_hw: height and width of the whole photo; needed for a part of its size alone.
        buffer: memory to decode into.

    Returns:
        (height, width, 3) RGB, 0..255; sides are rounded up.

    Raises:
        PhotoError: ``unreadable`` when the data are damaged.
    """
    options: dict[str, object] = {"colorspace": "RGB", "buffer": buffer}
    if eighths < 8:
        height, width = (-(-side * eighths // 8) for side in stored_px_hw)
        options |= {"min_height": height, "min_width": width, "min_factor": 8 / eighths}
    try:
        try:
            pixels = simplejpeg.decode_jpeg(data, strict=True, **options)
        except ValueError as error:
            # Some cameras pad before the end marker: every pixel has been decoded by then.
            if not _HARMLESS_WARNING.search(str(error)):
                raise
            pixels = simplejpeg.decode_jpeg(data, strict=False, **options)
    except ValueError as error:
        raise PhotoError(
            "unreadable",
            f"{name} starts like a JPEG photo, but its data are damaged ({error}). Copy it again.",
        ) from error
    decoded: Pixels = pixels
    return decoded
