"""File formats of photos, told by their first bytes."""

from __future__ import annotations

from leafscout.errors import PhotoError

_STARTS = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+", b"RIFF",
)  # fmt: skip

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
        PhotoError: ``unreadable`` when it is no photo, ``unsupported`` when it is another kind,
            ``truncated`` when it ends within the bytes that would tell.
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
    if any(start.startswith(head) for start in _STARTS) or (len(head) < 12 and head[:4] == b"RIFF"):
        raise PhotoError(
            "truncated", f"{name} is cut short: it ends after {len(head)} bytes. Copy it again."
        )
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
