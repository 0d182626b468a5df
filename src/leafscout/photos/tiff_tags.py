"""The first directory of a TIFF file, or of an EXIF block, read without following it anywhere.

Only numbers that lie inside the given bytes are looked at; nothing is copied, and a directory that
points at itself or names gigabytes costs no more than an honest one.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

# Type of a value → its bytes.
_SIZES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
    16: 8, 17: 8, 18: 8,
}  # fmt: skip
_UNSIGNED = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}

_Order = Literal["little", "big"]


@dataclass(frozen=True)
class _Value:
    kind: int
    count: int
    at: int


@dataclass(frozen=True)
class TiffTags:
    """The entries of a directory.

    Attributes:
        data: what they were read from.
        order: of bytes.
        values: tag → where its value lies.
        value_bytes: of all values together, as the directory says.
    """

    data: bytes | mmap.mmap
    order: _Order
    values: dict[int, _Value]
    value_bytes: int

    WIDTH: ClassVar[int] = 256
    HEIGHT: ClassVar[int] = 257
    ORIENTATION: ClassVar[int] = 274
    TILE_WIDTH: ClassVar[int] = 322
    TILE_HEIGHT: ClassVar[int] = 323
    PLACES: ClassVar[tuple[tuple[int, int], ...]] = ((273, 279), (324, 325))
    """Offsets and lengths: of strips, or of tiles."""

    def number(self, tag: int) -> int | None:
        """The first number of a value; None when there is none or it is of another kind."""
        found = self.numbers(tag)
        return None if found is None or not len(found) else int(found[0])

    def numbers(self, tag: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]] | None:
        """All numbers of a value; None when there is none, or it does not lie in the data."""
        value = self.values.get(tag)
        if value is None or value.kind not in _UNSIGNED:
            return None
        size = _UNSIGNED[value.kind]
        if value.at + size * value.count > len(self.data):
            return None
        kind = np.dtype(f"{'<' if self.order == 'little' else '>'}u{size}")
        read = np.frombuffer(self.data, kind, count=value.count, offset=value.at)
        return read.astype(np.uint64)

    def ends_within(self, file_bytes: int) -> bool:
        """Whether all strips or tiles of the photo, and all values, end within the file."""
        for value in self.values.values():
            if value.at + _SIZES.get(value.kind, 0) * value.count > file_bytes:
                return False
        for offsets_tag, lengths_tag in self.PLACES:
            offsets, lengths = self.numbers(offsets_tag), self.numbers(lengths_tag)
            if offsets is None or not len(offsets):
                continue
            if int(offsets.max()) >= file_bytes:
                return False
            if lengths is not None and len(lengths) == len(offsets):
                ends = offsets.astype(np.float64) + lengths.astype(np.float64)
                if float(ends.max()) > file_bytes:
                    return False
        return True


def read_tags(data: bytes | mmap.mmap) -> TiffTags | None:
    """Read the first directory.

    Args:
        data: a TIFF file or EXIF block, from its byte order on; BigTIFF too.

    Returns:
        Its entries; None when the data end before or within the directory, or hold none.
    """
    orders: dict[bytes, _Order] = {b"II": "little", b"MM": "big"}
    order = orders.get(bytes(data[:2]))
    if order is None or len(data) < 8:
        return None
    big = 43 in data[2:4]
    wide, head = (8, 8) if big else (4, 2)
    at = int.from_bytes(data[8:16] if big else data[4:8], order)
    count = int.from_bytes(data[at : at + head], order)
    entry_bytes = 4 + 2 * wide
    first = at + head
    if at + head > len(data) or first + entry_bytes * count > len(data):
        return None
    values, value_bytes = {}, 0
    for entry in range(first, first + entry_bytes * count, entry_bytes):
        tag = int.from_bytes(data[entry : entry + 2], order)
        kind = int.from_bytes(data[entry + 2 : entry + 4], order)
        number = int.from_bytes(data[entry + 4 : entry + 4 + wide], order)
        size = _SIZES.get(kind, 0) * number
        place = entry + 4 + wide
        if size > wide:
            place = int.from_bytes(data[place : place + wide], order)
            value_bytes += size
        values[tag] = _Value(kind, number, place)
    return TiffTags(data, order, values, value_bytes)


def read_orientation(block: bytes) -> int:
    """EXIF orientation, 1..8; 1 (upright) when there is none or the block is broken.

    Args:
        block: an EXIF block, from its byte order on; of any size.
    """
    tags = read_tags(block)
    value = None if tags is None else tags.number(TiffTags.ORIENTATION)
    return value if value is not None and 1 <= value <= 8 else 1
