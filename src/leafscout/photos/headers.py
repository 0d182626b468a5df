"""What a photo's file says about itself, read by hand before any decoder sees it.

Decoders believe what a header says: they fetch memory for the size it names, and follow every
offset in it. So size, orientation and completeness are read here, with plain arithmetic on bytes
that are there, and a header that wants too much is refused before a decoder starts.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from leafscout.photos.tiff_tags import TiffTags, read_orientation, read_tags

# Inside entropy-coded data FF is followed by 00, by a restart marker, or by another FF as filling.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_END_OF_IMAGE, _START_OF_SCAN, _APP_1 = 0xD9, 0xDA, 0xE1
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_EXIF = b"Exif\x00\x00"

Buffer: TypeAlias = bytes | mmap.mmap


class DamagedHeaderError(Exception):
    """The header is not one that its format allows."""


@dataclass(frozen=True)
class Header:
    """What a photo's file says about itself.

    Attributes:
        height_px: as stored.
        width_px: as stored.
        orientation: 1..8 as EXIF counts them; 1 (upright) when there is none or it is broken.
        whole: False when the file ends before the photo does.
        channels: of a JPEG file, 1 to 4; 0 where the format does not say at once.
        progressive: whether a JPEG file stores the photo in several passes.
        scans: passes of a JPEG file.
        working_bytes: memory that decoding needs beside the pixels.
    """

    height_px: int
    width_px: int
    orientation: int
    whole: bool
    channels: int = 0
    progressive: bool = False
    scans: int = 1
    working_bytes: int = 0

    @property
    def size_px_hw(self) -> tuple[int, int]:
        """Height and width of the upright photo."""
        stored = (self.height_px, self.width_px)
        return stored[::-1] if self.orientation >= 5 else stored


def read_header(data: Buffer, kind: str) -> Header | None:
    """Read the header of a photo.

    Args:
        data: the whole file.
        kind: what ``sniff_format`` said.

    Returns:
        The header; None when the file ends within it.

    Raises:
        DamagedHeaderError: when the header makes no sense.
    """
    read = {"JPEG": _read_jpeg, "PNG": _read_png, "WebP": _read_webp, "TIFF": _read_tiff}
    return read[kind](data)


# JPEG --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Frame:
    height_px: int
    width_px: int
    channels: int
    progressive: bool
    coefficient_bytes: int


def walk_jpeg(data: Buffer) -> Iterator[tuple[int, int, int]]:
    """The segments of a JPEG file: marker, and first and last byte of the content (exclusive).

    The walk goes segment by segment, so the end marker of a thumbnail inside a segment is not
    taken for the photo's. A file that is cut short has no end marker.
    """
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        marker, at = data[found.end() - 1], found.end()
        if marker == _END_OF_IMAGE:
            yield marker, at, at
            return
        if marker in _WITHOUT_LENGTH:
            continue
        if at + 2 > len(data):
            return
        length = int.from_bytes(data[at : at + 2], "big")
        yield marker, at + 2, at + max(2, length)
        at += length


def _read_jpeg(data: Buffer) -> Header | None:
    frame, orientation, scans, whole, several = None, None, 0, False, False
    for marker, first, last in walk_jpeg(data):
        if marker in _FRAMES and frame is None:
            frame = _read_frame(data[first:last], progressive=marker in _PROGRESSIVE)
        elif marker == _APP_1 and orientation is None and data[first : first + 6] == _EXIF:
            orientation = read_orientation(data[first + 6 : last])
        elif marker == _START_OF_SCAN:
            scans += 1
            several |= frame is not None and data[first : first + 1] != bytes([frame.channels])
        whole |= marker == _END_OF_IMAGE
    if frame is None:
        if whole:
            raise DamagedHeaderError("it has no frame")
        return None
    return Header(
        frame.height_px,
        frame.width_px,
        orientation or 1,
        whole,
        channels=frame.channels,
        progressive=frame.progressive,
        scans=scans,
        # One pass is decoded as it comes; of several, all frequencies are kept until the last.
        working_bytes=frame.coefficient_bytes if frame.progressive or several else 0,
    )


def _read_frame(content: bytes, *, progressive: bool) -> _Frame | None:
    if len(content) < 6:
        return None
    _, height, width, channels = struct.unpack_from(">BHHB", content)
    parts = content[6 : 6 + 3 * channels]
    if len(parts) < 3 * channels:
        return None
    samplings = [(value >> 4, value & 15) for value in parts[1::3]]
    if height < 1 or width < 1 or not 1 <= channels <= 4 or (0 in sum(samplings, ())):
        raise DamagedHeaderError("its frame has no size")
    most_wide, most_tall = (max(each) for each in zip(*samplings, strict=True))
    blocks = sum(
        -(-width * wide // (8 * most_wide)) * -(-height * tall // (8 * most_tall))
        for wide, tall in samplings
    )
    return _Frame(height, width, channels, progressive, 128 * blocks)


# PNG ---------------------------------------------------------------------------------------------


def walk_png(data: Buffer) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a PNG file: name, and first and last byte of the whole chunk (exclusive).

    A chunk that the file does not hold to its end is left out.
    """
    at = 8
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            return
        yield name, at, end
        if name == b"IEND":
            return
        at = end


def _read_png(data: Buffer) -> Header | None:
    if len(data) < 33:
        return None
    length, name, width, height = struct.unpack_from(">I4sII", data, 8)
    if name != b"IHDR" or length != 13 or not (0 < width < 2**31 and 0 < height < 2**31):
        raise DamagedHeaderError("its first chunk is no header")
    orientation, whole = 1, False
    for chunk, first, last in walk_png(data):
        if chunk == b"eXIf":
            orientation = read_orientation(data[first + 8 : last - 4].removeprefix(_EXIF))
        whole |= chunk == b"IEND"
    return Header(height, width, orientation, whole)


# WebP --------------------------------------------------------------------------------------------


def _read_webp(data: Buffer) -> Header | None:
    whole = len(data) >= 12 and len(data) >= 8 + int.from_bytes(data[4:8], "little")
    if len(data) < 30:
        return None
    size = _read_webp_size(data)
    orientation, at = 1, 12
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        if name == b"EXIF":
            orientation = read_orientation(data[at + 8 : at + 8 + length].removeprefix(_EXIF))
            break
        at += 8 + length + length % 2
    # The decoder keeps a canvas, the one before it, and what it gives out: 4 bytes a pixel each.
    return Header(*size, orientation, whole, working_bytes=12 * size[0] * size[1])


def _read_webp_size(data: Buffer) -> tuple[int, int]:
    """Height and width, from whichever of the three kinds of first chunk there is."""
    kind = data[12:16]
    if kind == b"VP8X":
        width = 1 + int.from_bytes(data[24:27], "little")
        height = 1 + int.from_bytes(data[27:30], "little")
    elif kind == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, 26))
    else:
        raise DamagedHeaderError("its first chunk is no picture")
    if not width or not height:
        raise DamagedHeaderError("its picture has no size")
    return height, width


# TIFF --------------------------------------------------------------------------------------------


def _read_tiff(data: Buffer) -> Header | None:
    tags = read_tags(data)
    if tags is None:
        return None
    _check_tiff_values(tags, len(data))
    width, height = tags.number(TiffTags.WIDTH), tags.number(TiffTags.HEIGHT)
    if not width or not height:
        raise DamagedHeaderError("its directory names no size")
    orientation = tags.number(TiffTags.ORIENTATION) or 1
    tile_px = (tags.number(TiffTags.TILE_WIDTH) or 0) * (tags.number(TiffTags.TILE_HEIGHT) or 0)
    return Header(
        height,
        width,
        orientation if orientation <= 8 else 1,
        tags.ends_within(len(data)),
        # A tile is decoded as a whole, however little of it lies inside the photo.
        working_bytes=8 * tile_px,
    )


def _check_tiff_values(tags: TiffTags, file_bytes: int) -> None:
    # Values that overlap can make a decoder fetch the same megabytes thousands of times.
    if tags.value_bytes > file_bytes + 4096:
        raise DamagedHeaderError("its values are larger than the file")
