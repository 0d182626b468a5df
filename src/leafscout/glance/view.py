"""The glance: a whole photo, made small."""

from __future__ import annotations

import numpy as np
from PIL import Image

from leafscout.photos.jpeg_photo import JpegPhoto
from leafscout.types import Glance, Photo, Pixels

GLANCE_STEP_PX = 16
"""Sides of a glance are multiples of this, so that the scout's cells end at its borders."""


def glance_size_px_hw(photo_size_px_hw: tuple[int, int], long_side_px: int) -> tuple[int, int]:
    """Height and width of the glance of a photo.

    The aspect ratio is kept up to the rounding to ``GLANCE_STEP_PX``; a photo smaller than the
    wanted glance is not enlarged beyond that rounding.

    Args:
        photo_size_px_hw: height and width of the photo.
        long_side_px: wanted long side of the glance.
    """
    height, width = photo_size_px_hw
    scale = min(1.0, long_side_px / max(height, width))
    step = GLANCE_STEP_PX
    return (
        max(2 * step, round(height * scale / step) * step),
        max(2 * step, round(width * scale / step) * step),
    )


def take_glance(photo: Photo, long_side_px: int, closer_side_px: int = 0) -> Glance:
    """Shrink a photo by averaging areas: the one way to a glance, in training and afterwards.

    A photo in a JPEG file is decoded small, so its glance differs a little (well below one step of
    256 on average) from that of the same pixels given as an array.

    Args:
        photo: the photo; its pixels are not decoded where its file can be decoded small.
        long_side_px: wanted long side of the glance in pixels.
        closer_side_px: wanted long side of a closer glance in pixels; 0 for none.

    Returns:
        The glance; every pixel of the photo has about the same weight in it.

    Raises:
        PhotoError: when the photo is decoded now and its data are damaged.
    """
    closer = None
    if closer_side_px:
        closer = _shrink(photo, glance_size_px_hw(photo.size_px_hw, closer_side_px))
    small = _shrink(photo, glance_size_px_hw(photo.size_px_hw, long_side_px))
    return Glance(pixels=small, photo_size_px_hw=photo.size_px_hw, closer=closer)


def take_square(photo: Photo, side_px: int) -> Pixels:
    """Squeeze a photo into a square: what networks for one size of photo are given.

    Nothing is cut off; what is not square is squeezed. A smaller photo is enlarged.

    Args:
        photo: the photo; decoded small where that can be done.
        side_px: of the square.

    Returns:
        (side, side, 3) pixels.

    Raises:
        PhotoError: when the photo is decoded now and its data are damaged.
    """
    return _shrink(photo, (side_px, side_px))


def _shrink(photo: Photo, size_px_hw: tuple[int, int]) -> Pixels:
    height, width = size_px_hw
    small = photo.shrink((height, width)) if isinstance(photo, JpegPhoto) else None
    if small is None:
        image = Image.fromarray(photo.pixels)
        small = np.array(image.resize((width, height), Image.Resampling.BOX, reducing_gap=None))
    return small
