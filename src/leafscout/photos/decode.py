"""One photo in: from a path, bytes or an array to upright RGB pixels, or a sentence why not.

Nothing is decoded before the header has been checked, the format is told by content and never by
suffix, and which decoder runs depends on the file alone, so a photo gives one answer everywhere.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from leafscout.errors import InputError, PhotoError
from leafscout.photos.formats import ends_early, sniff_format
from leafscout.photos.jpeg_photo import JpegPhoto, decode_jpeg
from leafscout.photos.rgb import flatten, take_array, turn_upright
from leafscout.types import Photo, Pixels

PhotoSource: TypeAlias = str | Path | bytes | NDArray[np.uint8] | NDArray[np.uint16]

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".tif", ".tiff", ".webp")
"""Files that count as photos in a folder, in lower case; their content decides the format."""

_SNIFF_BYTES = 32

# The plugins are called directly: Image.open would warn, or refuse, by a global limit of its own.
_OPEN: dict[str, Callable[[IO[bytes]], ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "TIFF": TiffImageFile,
    "WebP": WebPImageFile,
}


@dataclass(frozen=True)
class DecodeLimits:
    """What a photo may be, checked in its header before any pixel is decoded.

    Attributes:
        jpeg_px: most pixels of a JPEG file.
        other_px: most pixels of any other file; PNG and its kin can hide gigabytes in kilobytes.
        min_side_px: shortest side.
    """

    jpeg_px: int = 200_000_000
    other_px: int = 100_000_000
    min_side_px: int = 64


DEFAULT_LIMITS = DecodeLimits()


def decode_photo(
    source: PhotoSource, *, limits: DecodeLimits = DEFAULT_LIMITS, name: str | None = None
) -> Photo:
    """Decode a photo to upright RGB.

    JPEG files with one or three channels are decoded by libjpeg-turbo through simplejpeg, all
    others by Pillow. EXIF orientation is applied (a broken one means upright), transparency is
    laid over white, 16-bit values keep their upper 8 bits, and of several frames the first counts.

    Args:
        source: a path, the bytes of a file, or an array of (height, width), (height, width, 1),
            (height, width, 3) or (height, width, 4: RGB and alpha) of uint8 or uint16, which is
            taken to be upright.
        limits: sizes that are accepted.
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
    source: PhotoSource, *, limits: DecodeLimits = DEFAULT_LIMITS, name: str | None = None
) -> Photo:
    """Open a photo whose pixels are decoded when they are first asked for.

    Size, format and completeness are checked at once. Ordinary JPEG files (baseline, one or three
    channels) are left undecoded, so that a glance can be had for less than a full decode; all
    others are decoded, because nothing can be saved on them.

    Args:
        source: as for ``decode_photo``.
        limits: sizes that are accepted.
        name: what to call the photo.

    Raises:
        PhotoError: as ``decode_photo``; damage inside a JPEG file shows when it is decoded.
        InputError: when an array is not an image.
    """
    if isinstance(source, np.ndarray):
        photo = Photo(pixels=take_array(source), source=name or "<array>")
        _check_size(photo.size_px_hw, limits.other_px, limits, photo.source)
        return photo
    if isinstance(source, bytes):
        data, name = source, name or "<bytes>"
    else:
        data, name = read_photo_file(Path(source)), name or str(source)
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
        kind = sniff_format(source[:_SNIFF_BYTES], "<bytes>")
        return _upright_size(_open_header(io.BytesIO(source), kind, "<bytes>"))
    path = Path(source)
    try:
        with path.open("rb") as file:
            kind = sniff_format(file.read(_SNIFF_BYTES), str(path))
            file.seek(0)
            return _upright_size(_open_header(file, kind, str(path)))
    except OSError as error:
        raise _explain_os_error(path, error) from error


def read_photo_file(path: Path) -> bytes:
    """The bytes of a photo's file, undecoded.

    Raises:
        PhotoError: when there is no such file or it starts like none of the formats.
    """
    try:
        # Unbuffered, and from the start again: the bytes are not copied on their way.
        with path.open("rb", buffering=0) as file:
            head = file.read(_SNIFF_BYTES)
            sniff_format(head, str(path))  # before the rest is read: it may be a film
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
    image = _open_header(io.BytesIO(data), kind, name)
    most_px = limits.jpeg_px if kind == "JPEG" else limits.other_px
    _check_size(_upright_size(image), most_px, limits, name)
    if ends_early(data, kind):
        raise _cut_short(kind, name)
    # Pillow's mode follows from the header alone: L has one channel, RGB has three.
    if kind == "JPEG" and image.mode in ("L", "RGB"):
        orientation = _read_orientation(image)
        if not image.info.get("progressive"):
            return JpegPhoto(data, name, (image.height, image.width), orientation)
        # Every scan must be read, whatever the size: making it small later costs less.
        return Photo(turn_upright(decode_jpeg(data, name), orientation), name)
    pixels = _load(image, kind, name)  # first: loading a TIFF turns it and clears the tag
    return Photo(turn_upright(pixels, _read_orientation(image)), name)


def _open_header(file: IO[bytes], kind: str, name: str) -> ImageFile:
    try:
        return _OPEN[kind](file)
    except Image.DecompressionBombError as error:
        raise PhotoError("too_large", f"{name} is too large: {error}") from error
    except Exception as error:  # Pillow raises anything on damaged files
        file.seek(0)
        raise _explain_damage(file.read(), kind, name) from error


def _cut_short(kind: str, name: str) -> PhotoError:
    return PhotoError(
        "truncated",
        f"{name} is cut short: its {kind} data end before the photo does. Copy it again.",
    )


def _explain_damage(data: bytes, kind: str, name: str) -> PhotoError:
    if ends_early(data, kind):
        return _cut_short(kind, name)
    return PhotoError(
        "unreadable",
        f"{name} starts like a {kind} photo, but its data are damaged or of a rare kind. "
        "Copy it again, or save it as an ordinary JPEG or PNG.",
    )


def _upright_size(image: ImageFile) -> tuple[int, int]:
    width, height = image.size
    if isinstance(image, TiffImageFile):  # newer versions of Pillow have turned the size already
        width, height = int(image.tag_v2[IMAGEWIDTH]), int(image.tag_v2[IMAGELENGTH])
    return (width, height) if _read_orientation(image) >= 5 else (height, width)


def _check_size(size_px_hw: tuple[int, int], most_px: int, limits: DecodeLimits, name: str) -> None:
    height, width = size_px_hw
    has = f"it has {width}×{height} px"
    if height * width > most_px:
        raise PhotoError(
            "too_large",
            f"{name} is too large: expected at most {most_px / 1e6:g} megapixels, but {has} "
            f"= {height * width / 1e6:.0f}. Make it smaller or raise the limit.",
        )
    if min(height, width) < limits.min_side_px:
        raise PhotoError(
            "too_small",
            f"{name} is too small: expected sides of at least {limits.min_side_px} px, but {has}. "
            "Use the original photo, not a thumbnail.",
        )


def _load(image: ImageFile, kind: str, name: str) -> Pixels:
    """Decode with Pillow; (height, width, 3)."""
    try:
        if isinstance(image, TiffImageFile):
            # Only this plugin checks Pillow's global limit while loading; ours is checked already.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                image.load()
        else:
            image.load()
    except Image.DecompressionBombError as error:
        raise PhotoError("too_large", f"{name} is too large: {error}") from error
    except Exception as error:  # Pillow raises anything on damaged files
        if "truncated" in str(error):
            raise _cut_short(kind, name) from error
        raise _explain_damage(b"", kind, name) from error
    return flatten(image, name)


def _read_orientation(image: ImageFile) -> int:
    """EXIF orientation, 1..8; 1 (upright) when there is none or it is broken."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - a broken EXIF block raises anything, the pixels are fine
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
