"""The process that decodes what might crash a decoder: one photo in on standard input, pixels out.

It limits its own memory and time, so whatever a file does to the decoder ends here. It is started
by ``leafscout.photos.isolated`` for each photo, and knows nothing but that photo's bytes.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import IO

from PIL import Image
from PIL.ImageFile import ImageFile

from leafscout.photos.pillow_bands import UnknownRangeError, choose_form, cut_bands

DAMAGED, TRUNCATED, TOO_LARGE, UNSUPPORTED = 3, 4, 5, 6
"""Exit codes."""

_STARTED_BYTES = 400 << 20  # address space of Python, Pillow and its libraries by themselves


def main(arguments: list[str]) -> int:
    """Decode standard input to standard output.

    Args:
        arguments: format, most bytes of memory, most seconds of processor time.

    Returns:
        0, or one of the exit codes above. The output is a line of JSON (``form``, ``height``,
        ``width``) and then the rows.
    """
    kind, memory_bytes, seconds = arguments[0], int(arguments[1]), float(arguments[2])
    open_image = find_plugin(kind)
    limit_resources(memory_bytes + _STARTED_BYTES, seconds)
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None  # our own limits were checked in the header
    try:
        image = open_image(sys.stdin.buffer)
        image.load()
        form = choose_form(image)
        out = sys.stdout.buffer
        about = {"form": form, "height": image.height, "width": image.width}
        out.write(json.dumps(about).encode() + b"\n")
        for _, rows in cut_bands(image, form):
            out.write(rows)
        out.flush()
    except MemoryError:
        return TOO_LARGE
    except UnknownRangeError:
        return UNSUPPORTED
    except Exception as error:  # noqa: BLE001 - Pillow raises anything on damaged files
        return TRUNCATED if "truncated" in str(error) else DAMAGED
    return 0


def find_plugin(kind: str) -> Callable[[IO[bytes]], ImageFile]:
    """Pillow's plugin for a format; ``Image.open`` would try the others too."""
    if kind == "TIFF":
        from PIL.TiffImagePlugin import TiffImageFile

        return TiffImageFile
    if kind == "WebP":
        from PIL.WebPImagePlugin import WebPImageFile

        return WebPImageFile
    from PIL.JpegImagePlugin import JpegImageFile

    return JpegImageFile


def limit_resources(memory_bytes: int, seconds: float) -> None:
    """Bound this process; does nothing where the system has no such bounds (Windows)."""
    try:
        import resource
    except ImportError:
        return
    wanted = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: max(1, round(seconds)),
        resource.RLIMIT_CORE: 0,
    }
    for which, most in wanted.items():
        with suppress(ValueError, OSError):  # a lower bound is set already, or none can be
            resource.setrlimit(which, (most, most))
