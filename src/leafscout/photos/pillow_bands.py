"""A picture that Pillow has loaded, given out a band of rows at a time.

Converting a whole photo at once would hold it three times over; bands need memory for one of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image

BAND_PX = 4_000_000
"""Pixels of a band, about."""

FORMS = {"RGB": 3, "RGBA": 4, "I;16": 2}
"""Form → bytes a pixel."""


class UnknownRangeError(Exception):
    """The picture holds 32-bit values, whose range nobody knows."""


def choose_form(image: Image.Image) -> str:
    """Which of ``FORMS`` tells everything about a picture that can be shown.

    Raises:
        UnknownRangeError: for 32-bit values.
    """
    if image.mode.startswith("I;16"):
        return "I;16"
    if image.mode in ("I", "F"):
        raise UnknownRangeError
    return "RGBA" if image.has_transparency_data else "RGB"


def cut_bands(image: Image.Image, form: str) -> Iterator[tuple[int, bytes]]:
    """The picture's rows in a form, from the top.

    Args:
        image: loaded.
        form: of ``choose_form``.

    Yields:
        The first row of a band, and its bytes; 16-bit values are little-endian.
    """
    rows = max(1, BAND_PX // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(image.height, top + rows)))
        if form != "I;16":
            band = band.convert(form)
        elif band.mode != "I;16":
            band = band.convert("I").convert("I;16")
        yield top, band.tobytes()
