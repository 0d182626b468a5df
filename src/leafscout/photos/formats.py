"""File formats of photos: told by their first bytes, and walked to see whether they are whole."""

from __future__ import annotations

import re
import struct

from leafscout.errors import PhotoError

# Inside entropy-coded data FF is followed by 00, by a restart marker, or by another FF as filling.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_END_OF_IMAGE = 0xD9
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}

_OTHERS = {
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x00\x00\x00\x0cJXL": "a JPEG XL",
    b"\x00\x00\x00\x0cjP": "a JPEG 2000",
    b"8BPS": "a Photoshop file",
}


def sniff_format(head: bytes, name: str) -> str:
    """Tell the format of a photo from its first bytes.

    Args:
        head: the first 16 bytes or more.
        name: what to call the photo in an error.

    Returns:
        ``JPEG``, ``PNG``, ``TIFF`` or ``WebP``.

    Raises:
        PhotoError: ``unreadable`` when it is no photo, ``unsupported`` when it is another kind.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return "TIFF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if not head:
        raise PhotoError("unreadable", f"{name} is empty. Copy it again.")
    other = _name_other(head)
    if other is None:
        raise PhotoError(
            "unreadable",
            f"{name} is not a photo: its first bytes are not those of a JPEG, PNG, TIFF or WebP "
            "file, whatever its suffix says.",
        )
    raise PhotoError(
        "unsupported",
        f"{name} is {other}: expected a JPEG, PNG, TIFF or WebP photo. Save it as JPEG.",
    )


def _name_other(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        if head[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"heim", b"heis"):
            return "a HEIC photo"
        return "an AVIF photo" if head[8:11] == b"avi" else "a film"
    return next((words for magic, words in _OTHERS.items() if head.startswith(magic)), None)


def ends_early(data: bytes, kind: str) -> bool:
    """Whether a file ends before its format says that it may.

    Args:
        data: the whole file.
        kind: what ``sniff_format`` said.

    Returns:
        True when it is cut short; False when it is whole or the format does not tell (TIFF).
        Bytes after the end of the photo do no harm.
    """
    if kind == "JPEG":
        return _jpeg_ends_early(data)
    if kind == "PNG":
        return _png_ends_early(data)
    if kind == "WebP":
        return len(data) < 12 or len(data) < 8 + int.from_bytes(data[4:8], "little")
    return False


def _jpeg_ends_early(data: bytes) -> bool:
    """Walk segment by segment: the end marker of an embedded thumbnail lies inside a segment."""
    at = 2
    while True:
        found = _MARKER.search(data, at)
        if found is None:
            return True
        marker, at = data[found.end() - 1], found.end()
        if marker == _END_OF_IMAGE:
            return False
        if marker in _WITHOUT_LENGTH:
            continue
        if at + 2 > len(data):
            return True
        at += int.from_bytes(data[at : at + 2], "big")


def _png_ends_early(data: bytes) -> bool:
    at = 8
    while at + 12 <= len(data):
        length, chunk = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        if chunk == b"IEND":
            return bool(at > len(data))
    return True
