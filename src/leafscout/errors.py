"""The one error that a user of LeafScout is meant to read."""

from __future__ import annotations

from collections.abc import Iterable

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


def describe_unknown(kind: str, name: str, known: Iterable[str], *, nearest: int = 0) -> str:
    """Two or three sentences for a name that is none of those known.

    Args:
        kind: of thing, such as ``recipe``.
        name: what was given.
        known: all names that would do.
        nearest: so many of them that look alike are offered at most.
    """
    hint, known = "", list(known)
    if nearest:
        import difflib

        near = difflib.get_close_matches(str(name), known, n=nearest, cutoff=0.4)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"There is no {kind} called {name!r}.{hint} Expected one of: {', '.join(known)}."
