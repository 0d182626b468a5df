"""The one error that a user of LeafScout is meant to read."""

from __future__ import annotations

from leafscout.plain_text import printable


class InputError(ValueError):
    """A mistake in what the user gave: a photo, a label file, an option.

    The message is one or more whole sentences that name the file, row or option, say what was
    expected, what came, and what to do. The command line prints it without a traceback and exits
    with code 2; nothing that was on disk before is lost. Names in it come from outside: what does
    not print is written as an escape.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class PhotoError(InputError):
    """A photo that cannot be used.

    Attributes:
        code: a short machine-readable reason: ``missing``, ``unreadable``, ``truncated``,
            ``too_large``, ``too_small``, ``unsupported``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
