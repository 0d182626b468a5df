"""Which tiles are more than pure green: a colour threshold, as simple as such things are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leafscout.types import Pixels

GREEN_EXCESS = 0.2
"""Excess green ``2g − r − b`` of shares of the three channels, from which a pixel is green.

Faint lesions on a green leaf are greenish themselves: a lower bound takes many of them for leaf.
"""

DARK = 40
"""Below this sum of the channels, out of 765, a pixel has no colour to speak of."""

FOREGROUND_FRAC = 0.002
"""Share of a tile's pixels that must not be green: 18 of 96×96, a spot of 5 px."""


def find_green_pixels(pixels: Pixels) -> NDArray[np.bool_]:
    """Pixels of pure green, by their excess green (Woebbecke et al. 1995).

    Args:
        pixels: (..., 3) RGB, 0..255.

    Returns:
        (...) True where green leads the other channels, whatever the brightness.
    """
    channels = pixels.astype(np.float32)
    total = channels.sum(axis=-1)
    excess = 3.0 * channels[..., 1] - total  # 2G − R − B
    return np.asarray((total >= DARK) & (excess > GREEN_EXCESS * total))


def find_foreground_tiles(tiles: Pixels) -> NDArray[np.bool_]:
    """Tiles that may show something: all but those of nothing but green.

    Weeds of another colour, soil and sky stay in. They are what a photo without disease teaches
    about, and a colour cannot tell them from a lesion.

    Args:
        tiles: (tiles, side, side, 3) RGB, 0..255.

    Returns:
        (tiles,) True where at least ``FOREGROUND_FRAC`` of the pixels is not green.
    """
    return np.asarray(
        [1.0 - find_green_pixels(tile).mean() >= FOREGROUND_FRAC for tile in tiles], dtype=np.bool_
    )
