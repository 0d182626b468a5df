"""Decode a photo in a process of its own, so that nothing in the file can end this one.

For the formats whose libraries choose among many decoders by what the file says (TIFF, WebP, and
JPEG with four channels). Ordinary JPEG and PNG files are decoded in this process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

import numpy as np

from leafscout.errors import PhotoError
from leafscout.photos.decode_child import DAMAGED, TOO_LARGE, TRUNCATED, UNSUPPORTED
from leafscout.photos.pillow_bands import FORMS
from leafscout.photos.rgb import take_array
from leafscout.types import Pixels

_START = (
    "import sys; sys.path[:] = sys.argv[4:]; "
    "from leafscout.photos.decode_child import main; sys.exit(main(sys.argv[1:4]))"
)


def decode_isolated(
    data: bytes, kind: str, name: str, *, memory_bytes: int, seconds: float
) -> Pixels:
    """Decode a photo with Pillow in another process.

    Args:
        data: the whole file; its header has been checked.
        kind: ``TIFF``, ``WebP`` or ``JPEG``.
        name: what to call the photo in an error.
        memory_bytes: most memory that decoding may take; not bounded on Windows.
        seconds: most time that it may take.

    Returns:
        (height, width, 3) RGB, 0..255, as stored; of a TIFF, upright.

    Raises:
        PhotoError: when the photo is damaged or cut short, takes too much memory or time, or its
            decoder crashes.
    """
    numbers = [kind, str(memory_bytes), str(seconds)]
    command = [sys.executable, "-I", "-c", _START, *numbers, *filter(None, sys.path)]
    # Files and not pipes: the pixels are then held once, where they are read.
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as found:
        given.write(data)
        given.seek(0)
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter and module
                command,
                stdin=given,
                stdout=found,
                stderr=subprocess.DEVNULL,
                timeout=max(5.0, 2 * seconds),  # a busy machine may run it at half speed
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _too_dear(name, memory_bytes, seconds) from None
        if done.returncode != 0:
            raise _explain(done.returncode, kind, name, memory_bytes, seconds)
        found.seek(0)
        about = json.loads(found.readline())
        form, height, width = about["form"], about["height"], about["width"]
        rows = np.fromfile(found, dtype=np.uint8, count=FORMS[form] * height * width)
    if form == "I;16":
        return take_array(rows.view("<u2").reshape(height, width))
    return take_array(rows.reshape(height, width, FORMS[form]))


def _explain(code: int, kind: str, name: str, memory_bytes: int, seconds: float) -> PhotoError:
    if code == TRUNCATED:
        return PhotoError(
            "truncated",
            f"{name} is cut short: its {kind} data end before the photo does. Copy it again.",
        )
    if code == UNSUPPORTED:
        return PhotoError(
            "unsupported",
            f"{name} holds 32-bit values: expected 8 or 16 bits a channel. Save it as 8-bit.",
        )
    if code == TOO_LARGE or code in _STOPPED:
        return _too_dear(name, memory_bytes, seconds)
    how = "are damaged or of a rare kind" if code in (DAMAGED, 1) else "make its decoder crash"
    return PhotoError(
        "unreadable",
        f"{name} starts like a {kind} photo, but its data {how}. "
        "Copy it again, or save it as an ordinary JPEG or PNG.",
    )


# SIGKILL and SIGXCPU: what the system sends when memory or time run out.
_STOPPED = (-9, -24)


def _too_dear(name: str, memory_bytes: int, seconds: float) -> PhotoError:
    return PhotoError(
        "too_large",
        f"{name} is too large: decoding it takes more than {memory_bytes / 2**20:.0f} MiB of "
        f"memory or {seconds:g} s. Make it smaller or raise the limit.",
    )
