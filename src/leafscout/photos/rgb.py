"""Every form that pixels come in, turned into upright RGB of 8 bits a channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leafscout.errors import InputError, PhotoError
from leafscout.photos.pillow_bands import (
    BAND_PX,
    FORMS,
    UnknownRangeError,
    choose_form,
    cut_bands,
)
from leafscout.types import Pixels


def flatten(image: Image.Image, name: str) -> Pixels:
    """Turn a decoded Pillow image of any mode into RGB.

    Args:
        image: the image, loaded.
        name: what to call the photo in an error.

    Returns:
        (height, width, 3) RGB: transparency over white, the upper 8 of 16 bits.

    Raises:
        PhotoError: ``unsupported`` for 32-bit values, whose range nobody knows.
    """
    try:
        form = choose_form(image)
    except UnknownRangeError:
        raise PhotoError(
            "unsupported",
            f"{name} holds 32-bit values: expected 8 or 16 bits a channel. Save it as 8-bit.",
        ) from None
    pixels = np.empty((image.height, image.width, 3), dtype=np.uint8)
    for top, rows in cut_bands(image, form):
        if form == "I;16":
            band = take_array(np.frombuffer(rows, "<u2").reshape(-1, image.width))
        else:
            read = np.frombuffer(rows, np.uint8)
            band = take_array(read.reshape(-1, image.width, FORMS[form]))
        pixels[top : top + len(band)] = band
    return pixels


def take_array(array: NDArray[np.uint8] | NDArray[np.uint16]) -> Pixels:
    """Turn an array into RGB.

    Args:
        array: (height, width), or (height, width, 1, 3 or 4 channels), of uint8 or uint16.

    Returns:
        (height, width, 3) RGB: transparency over white, the upper 8 of 16 bits; the same memory
        where nothing had to change.

    Raises:
        InputError: when the array is not an image.
    """
    if array.dtype not in (np.uint8, np.uint16):
        raise InputError(f"Expected an array of uint8 or uint16, but got {array.dtype}.")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise InputError(
            "Expected an array of (height, width) or (height, width, 1, 3 or 4 channels), but got "
            f"the shape {array.shape}."
        )
    pixels: Pixels = (array >> 8 if array.dtype == np.uint16 else array).astype(
        np.uint8, copy=False
    )
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    elif pixels.shape[2] == 4:
        pixels = _lay_over_white(pixels)
    return np.ascontiguousarray(pixels)


def _lay_over_white(rgba: NDArray[np.uint8]) -> Pixels:
    pixels = np.empty((*rgba.shape[:2], 3), dtype=np.uint8)
    rows = max(1, BAND_PX // rgba.shape[1])
    for top in range(0, len(rgba), rows):  # in bands: 16 bits a channel of all would be dear
        band = rgba[top : top + rows]
        alpha = band[:, :, 3:].astype(np.uint16)
        mixed = (band[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255
        pixels[top : top + rows] = mixed
    return pixels


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation.

    Args:
        pixels: (height, width, 3) as stored.
        orientation: 1..8 as EXIF counts them; 1 is upright.
    """
    return np.ascontiguousarray(view_upright(pixels, orientation))


def view_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation without copying: as ``turn_upright``, but a view."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
