"""Mirrored glances: does the scout say the same when the photo is turned over?

A sigmoid says how likely a lesion is, not how well that is known. Where the scout says one thing
of a place and another of its mirror image, it does not know (Wang et al. 2019, test-time
augmentation as a measure of uncertainty).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leafscout.types import FloatArray, Pixels

_AXES: tuple[tuple[int, ...], ...] = ((), (1,), (0,), (0, 1))
"""Axes of (rows, columns) that each view turns round; the first is the glance as it is."""


def mirror_glance(pixels: Pixels, count: int) -> list[Pixels]:
    """The glance, and ``count`` mirror images of it.

    Args:
        pixels: (height, width, 3) of the glance.
        count: 0 to 3: left-right, upside down, both.

    Returns:
        ``1 + count`` views of the same pixels, the glance itself first.
    """
    return [np.flip(pixels, axis=axes) if axes else pixels for axes in _AXES[: 1 + count]]


def turn_back(maps: Sequence[FloatArray]) -> list[FloatArray]:
    """Maps of ``mirror_glance``'s views, laid as the photo lies.

    Args:
        maps: per view, (..., rows, columns).

    Returns:
        The same, each place where it is in the photo.
    """
    return [
        np.flip(one, axis=tuple(axis - 2 for axis in axes)) if axes else one
        for one, axes in zip(maps, _AXES[: len(maps)], strict=True)
    ]
