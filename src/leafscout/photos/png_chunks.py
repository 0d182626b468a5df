"""The chunks of a PNG file that make its pixels, without those that could hide gigabytes.

Texts and colour profiles are compressed: kilobytes can unfold to gigabytes. Nothing here needs
them, so the decoder never sees them; but a file that tries is refused.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from leafscout.photos.headers import DamagedHeaderError, walk_png

MOST_UNFOLDED_BYTES = 16 << 20
"""What all texts and profiles of a file may unfold to; real profiles have a few megabytes."""

_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_COMPRESSED = {b"zTXt", b"iTXt", b"iCCP"}
_STEP_BYTES = 1 << 16


class UnfoldsTooMuchError(DamagedHeaderError):
    """Texts or profiles of the file unfold to more than anyone can mean."""


def keep_pixels(data: bytes) -> bytes:
    """The file with nothing but what makes its pixels.

    Args:
        data: a whole PNG file.

    Raises:
        UnfoldsTooMuchError: when what is left out would unfold to more than
            ``MOST_UNFOLDED_BYTES``.
    """
    chunks = list(walk_png(data))
    room = MOST_UNFOLDED_BYTES
    for name, first, last in chunks:
        if name in _COMPRESSED:
            for count in _unfold(name, data[first + 8 : last - 4]):
                room -= count
                if room < 0:
                    raise UnfoldsTooMuchError
    if all(name in _PIXELS for name, _, _ in chunks):
        return data
    view = memoryview(data)
    parts = [view[first:last] for name, first, last in chunks if name in _PIXELS]
    return b"".join([view[:8], *parts])


def _unfold(name: bytes, content: bytes) -> Iterator[int]:
    """Sizes of the pieces that a compressed chunk unfolds to; the pieces are thrown away."""
    stream = _find_stream(name, content)
    unfolder = zlib.decompressobj()
    try:
        while stream:
            yield len(unfolder.decompress(stream, _STEP_BYTES))
            if unfolder.eof:
                return
            stream = unfolder.unconsumed_tail
    except zlib.error:
        return  # damaged, and not needed


def _find_stream(name: bytes, content: bytes) -> bytes:
    _, _, rest = content.partition(b"\x00")  # a keyword, or the profile's name
    if name != b"iTXt":
        return rest[1:]  # after the method
    if rest[:1] != b"\x01":
        return b""  # not compressed
    _, _, rest = rest[2:].partition(b"\x00")  # language
    _, _, rest = rest.partition(b"\x00")  # translated keyword
    return rest
