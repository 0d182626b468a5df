"""One photo in: from a path, bytes or an array to upright RGB pixels, or a sentence why not.

Nothing is decoded before the header has been read by hand and checked, the format is told by
content and never by suffix, and which decoder runs depends on the file alone, so a photo gives one
answer everywhere. What is neither an ordinary JPEG nor a PNG is decoded in a process of its own.
"""

from __future__ import annotations

import io
import mmap
import os
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile

from leafscout.errors import InputError, PhotoError
from leafscout.photos.formats import sniff_format
from leafscout.photos.headers import DamagedHeaderError, Header, read_header
from leafscout.photos.isolated import decode_isolated
from leafscout.photos.jpeg_photo import JpegPhoto, decode_jpeg, read_jpeg_size
from leafscout.photos.limits import DecodeLimits, read_limits
from leafscout.photos.png_chunks import UnfoldsTooMuchError, keep_pixels
from leafscout.photos.rgb import flatten, take_array, turn_upright
from leafscout.types import Photo, Pixels

PhotoSource: TypeAlias = str | Path | bytes | NDArray[np.uint8] | NDArray[np.uint16]

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".tif", ".tiff", ".webp")
"""Files that count as photos in a folder, in lower case; their content decides the format."""

_SNIFF_BYTES = 32

# Passes over a progressive JPEG, times its pixels: a file of kilobytes could ask for hours.
_MOST_SCANNED_PX = 2_000_000_000
_MOST_SCANS = 200


def decode_photo(
    source: PhotoSource, *, limits: DecodeLimits | None = None, name: str | None = None
) -> Photo:
    """Decode a photo to upright RGB.

    JPEG files with one or three channels are decoded by libjpeg-turbo through simplejpeg, all
    others by Pillow. EXIF orientation is applied (a broken one means upright), transparency is
    laid over white, 16-bit values keep their upper 8 bits, and of several frames the first counts.

    Args:
        source: a path, the bytes of a file, or an array of (height, width), (height, width, 1),
            (height, width, 3) or (height, width, 4: RGB and alpha) of uint8 or uint16, which is
            taken to be upright.
        limits: sizes that are accepted; None takes those of ``read_limits``.
        name: what to call the photo; None takes its path, or a word in angle brackets.

    Raises:
        PhotoError: when there is no such file, or it is not a photo, damaged, cut short, too
            large or too small.
        InputError: when an array is not an image.
    """
    photo = open_photo(source, limits=limits, name=name)
    _ = photo.pixels
    return photo


def open_photo(
    source: PhotoSource, *, limits: DecodeLimits | None = None, name: str | None = None
) -> Photo:
    """Open a photo whose pixels are decoded when they are first asked for.

    Size, format and completeness are checked at once. Ordinary JPEG files (baseline, one or three
    channels) are left undecoded, so that a glance can be had for less than a full decode; all
    others are decoded, because nothing can be saved on them.

    Args:
        source: as for ``decode_photo``.
        limits: as for ``decode_photo``.
        name: what to call the photo.

    Raises:
        PhotoError: as ``decode_photo``; damage inside a JPEG file shows when it is decoded.
        InputError: when an array is not an image.
    """
    limits = limits or read_limits()
    if isinstance(source, np.ndarray):
        photo = Photo(pixels=take_array(source), source=name or "<array>")
        _check_size(photo.size_px_hw, limits.other_px, limits, photo.source)
        return photo
    if isinstance(source, bytes):
        data, name = source, name or "<bytes>"
        _check_bytes(len(data), limits, name)
    else:
        data, name = read_photo_file(Path(source), limits=limits), name or str(source)
    return _open_bytes(data, name, limits)


def read_photo_size(source: PhotoSource) -> tuple[int, int]:
    """Height and width of the upright photo in pixels, from its header alone.

    Args:
        source: as for ``decode_photo``.

    Raises:
        PhotoError: when there is no such file or its header is not that of a photo.
        InputError: when an array is not an image.
    """
    if isinstance(source, np.ndarray):
        height, width = take_array(source).shape[:2]
        return height, width
    if isinstance(source, bytes):
        return _understand(
            source, sniff_format(source[:_SNIFF_BYTES], "<bytes>"), "<bytes>"
        ).size_px_hw
    path = Path(source)
    try:
        with path.open("rb") as file:
            kind = sniff_format(file.read(_SNIFF_BYTES), str(path))
            # Only the pages that hold the header are read.
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _understand(data, kind, str(path)).size_px_hw
    except OSError as error:
        raise _explain_os_error(path, error) from error


def read_photo_file(path: Path, *, limits: DecodeLimits | None = None) -> bytes:
    """The bytes of a photo's file, undecoded.

    Raises:
        PhotoError: when there is no such file, it starts like none of the formats, or it is larger
            than ``limits`` allow.
    """
    limits = limits or read_limits()
    try:
        # Unbuffered, and from the start again: the bytes are not copied on their way.
        with path.open("rb", buffering=0) as file:
            head = file.read(_SNIFF_BYTES)
            sniff_format(head, str(path))  # before the rest is read: it may be a film
            _check_bytes(os.fstat(file.fileno()).st_size, limits, str(path))
            if not file.seekable():
                return head + file.readall()
            file.seek(0)
            return file.readall()
    except OSError as error:
        raise _explain_os_error(path, error) from error


def list_photos(folder: Path) -> list[Path]:
    """All photos below a folder, sorted by path; hidden files and folders are skipped.

    Raises:
        InputError: when the folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"Expected a folder of photos, but {folder} is not a folder.")
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PHOTO_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def _explain_os_error(path: Path, error: OSError) -> PhotoError:
    if isinstance(error, FileNotFoundError):
        return PhotoError("missing", f"There is no photo {path}. Check the path.")
    if isinstance(error, IsADirectoryError):
        return PhotoError("unreadable", f"Expected a photo, but {path} is a folder.")
    if isinstance(error, PermissionError) and not path.is_dir():
        return PhotoError(
            "unreadable", f"{path} may not be read: permission denied. Change its permissions."
        )
    return PhotoError("unreadable", f"{path} cannot be read: {error.strerror or error}.")


def _open_bytes(data: bytes, name: str, limits: DecodeLimits) -> Photo:
    kind = sniff_format(data[:_SNIFF_BYTES], name)
    header = _understand(data, kind, name)
    most_px = limits.jpeg_px if kind == "JPEG" else limits.other_px
    _check_size(header.size_px_hw, most_px, limits, name)
    if not header.whole:
        raise _cut_short(kind, name)
    _check_work(header, limits, name)
    if kind == "JPEG" and header.channels in (1, 3):
        stored_px_hw = (header.height_px, header.width_px)
        if read_jpeg_size(data) not in (stored_px_hw, None):  # None: decoding will say why
            raise _damaged(kind, name)
        if not header.progressive:
            return JpegPhoto(data, name, stored_px_hw, header.orientation)
        # Every scan must be read, whatever the size: making it small later costs less.
        return Photo(turn_upright(decode_jpeg(data, name), header.orientation), name)
    if kind == "PNG":
        return Photo(turn_upright(_decode_png(data, name), header.orientation), name)
    pixels = decode_isolated(
        data, kind, name, memory_bytes=limits.memory_bytes, seconds=limits.seconds
    )
    # Pillow turns a TIFF by itself.
    return Photo(pixels if kind == "TIFF" else turn_upright(pixels, header.orientation), name)


def _understand(data: bytes | mmap.mmap, kind: str, name: str) -> Header:
    try:
        header = read_header(data, kind)
    except DamagedHeaderError as error:
        raise _damaged(kind, name) from error
    if header is None:
        raise _cut_short(kind, name)
    return header


def _cut_short(kind: str, name: str) -> PhotoError:
    return PhotoError(
        "truncated",
        f"{name} is cut short: its {kind} data end before the photo does. Copy it again.",
    )


def _damaged(kind: str, name: str) -> PhotoError:
    return PhotoError(
        "unreadable",
        f"{name} starts like a {kind} photo, but its data are damaged or of a rare kind. "
        "Copy it again, or save it as an ordinary JPEG or PNG.",
    )


def _check_bytes(file_bytes: int, limits: DecodeLimits, name: str) -> None:
    if file_bytes > limits.file_bytes:
        raise PhotoError(
            "too_large",
            f"{name} is too large: expected a file of at most {limits.file_bytes / 2**20:.0f} MiB, "
            f"but it has {file_bytes / 2**20:.0f}. Make it smaller or raise the limit.",
        )


def _check_work(header: Header, limits: DecodeLimits, name: str) -> None:
    px = header.height_px * header.width_px
    needed = header.working_bytes + 3 * px
    if needed > limits.memory_bytes:
        raise PhotoError(
            "too_large",
            f"{name} is too large: decoding it would take {needed / 2**20:.0f} MiB of memory, and "
            f"{limits.memory_bytes / 2**20:.0f} are allowed. Save it as an ordinary JPEG, or raise "
            "the limit.",
        )
    if header.scans > _MOST_SCANS or header.scans * px > max(_MOST_SCANNED_PX, px):
        raise PhotoError(
            "too_large",
            f"{name} is too large: it stores {px / 1e6:.0f} megapixels in {header.scans} passes. "
            "Save it as an ordinary JPEG.",
        )


def _check_size(size_px_hw: tuple[int, int], most_px: int, limits: DecodeLimits, name: str) -> None:
    height, width = size_px_hw
    has = f"it has {width}×{height} px"
    if height * width > most_px:
        raise PhotoError(
            "too_large",
            f"{name} is too large: expected at most {most_px / 1e6:g} megapixels, but {has} "
            f"= {height * width / 1e6:.0f}. Make it smaller or raise the limit (--max-megapixels).",
        )
    if min(height, width) < limits.min_side_px:
        raise PhotoError(
            "too_small",
            f"{name} is too small: expected sides of at least {limits.min_side_px} px, but {has}. "
            "Use the original photo, not a thumbnail.",
        )


def _decode_png(data: bytes, name: str) -> Pixels:
    """Decode as stored; (height, width, 3)."""
    try:
        # The plugin is called directly: Image.open would warn, or refuse, by a limit of its own.
        image = PngImageFile(io.BytesIO(keep_pixels(data)))
        image.load()
        return flatten(image, name)  # a broken palette shows here
    except PhotoError:
        raise
    except UnfoldsTooMuchError as error:
        raise PhotoError(
            "too_large",
            f"{name} is too large: its texts or colour profile unfold to more than any photo "
            "needs. Save it again without them.",
        ) from error
    except Exception as error:  # Pillow raises anything on damaged files
        if "truncated" in str(error):
            raise _cut_short("PNG", name) from error
        raise _damaged("PNG", name) from error
