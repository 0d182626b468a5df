"""What a photo may be before any pixel of it is decoded, and how a command line sets that."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace

from leafscout.errors import InputError

MAX_MEGAPIXELS = "LEAFSCOUT_MAX_MEGAPIXELS"
"""Environment variable: most megapixels of a JPEG file, in this process and those it starts."""

_MOST_MEGAPIXELS = 4295.0
"""A JPEG file cannot have more: its sides are 16-bit numbers."""


@dataclass(frozen=True)
class DecodeLimits:
    """What a photo may be, checked in its header before any pixel is decoded.

    Attributes:
        jpeg_px: most pixels of a JPEG file.
        other_px: most pixels of any other file; PNG and its kin can hide gigabytes in kilobytes.
        min_side_px: shortest side.
        file_bytes: most bytes of a file.
        memory_bytes: most memory that decoding may take, the pixels included.
        seconds: most processor time of a decoder that runs in a process of its own.
    """

    jpeg_px: int = 200_000_000
    other_px: int = 100_000_000
    min_side_px: int = 64
    file_bytes: int = 512 << 20
    memory_bytes: int = 1 << 30
    seconds: float = 8.0


DEFAULT_LIMITS = DecodeLimits()


def allow_megapixels(megapixels: float) -> None:
    """Set what a JPEG file may have, for this process and those that it starts.

    Raises:
        InputError: when it is not a number above 0 and up to 4,295.
    """
    scale_limits(megapixels, "--max-megapixels")
    os.environ[MAX_MEGAPIXELS] = f"{megapixels:.17g}"


def read_limits() -> DecodeLimits:
    """The limits of this process: the default ones, or those that ``MAX_MEGAPIXELS`` asks for.

    Raises:
        InputError: when the environment variable holds anything but a number in range.
    """
    text = os.environ.get(MAX_MEGAPIXELS)
    if not text:
        return DEFAULT_LIMITS
    try:
        megapixels = float(text)
    except ValueError:
        megapixels = math.nan
    return scale_limits(megapixels, MAX_MEGAPIXELS)


def scale_limits(megapixels: float, option: str) -> DecodeLimits:
    """Limits for JPEG files of so many megapixels, and others of half as many.

    Memory and processor time grow with them; they never shrink below the default ones.

    Args:
        megapixels: most of a JPEG file.
        option: what set it, for the message.

    Raises:
        InputError: when it is not a number above 0 and up to 4,295.
    """
    if not 0 < megapixels <= _MOST_MEGAPIXELS:
        raise InputError(
            f"Expected {option} to be a number above 0 and up to {_MOST_MEGAPIXELS:.0f}, but got "
            f"{megapixels:g}."
        )
    default, scale = DEFAULT_LIMITS, 1e6 * megapixels / DEFAULT_LIMITS.jpeg_px
    grown = max(1.0, scale)
    return replace(
        default,
        jpeg_px=max(1, round(scale * default.jpeg_px)),
        other_px=max(1, round(scale * default.other_px)),
        file_bytes=round(grown * default.file_bytes),
        memory_bytes=round(grown * default.memory_bytes),
        seconds=grown * default.seconds,
    )
