"""What is wrong with photos and labels, as values that can be collected, shown and counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from leafscout.plain_text import printable


@dataclass(frozen=True)
class Finding:
    """One problem of the data.

    Attributes:
        code: a short machine-readable reason, for example ``missing`` or ``leak``.
        severity: an error keeps training from starting, a warning does not.
        message: whole sentences for people; what does not print is written as an escape.
        file: the photo, label file or folder that it is about.
        row: line of the label file, from 1.
    """

    code: str
    severity: Literal["error", "warning"]
    message: str
    file: str | None = None
    row: int | None = None


def error(code: str, message: str, file: object = None, row: int | None = None) -> Finding:
    """A finding that keeps training from starting."""
    return Finding(code, "error", printable(message), None if file is None else str(file), row)


def warning(code: str, message: str, file: object = None, row: int | None = None) -> Finding:
    """A finding worth a look."""
    return Finding(code, "warning", printable(message), None if file is None else str(file), row)
