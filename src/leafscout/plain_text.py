"""Names from outside, shown so that they are only names: to a terminal, a page or a spreadsheet.

Photos and labels can be called anything. Control characters could command a terminal, signs that
turn the direction of writing could make a name look like another one, and text that starts like a
formula would be run by a spreadsheet.
"""

from __future__ import annotations

import unicodedata

_SPREADSHEET_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_JOINERS = "\u200c\u200d"  # part of ordinary words in several scripts, and of emoji
_KEPT = "\n\t" + _JOINERS


def printable(text: str) -> str:
    r"""The text with everything that does not print written as an escape such as ``\x1b``.

    Line breaks and tabs stay, and so do the joiners that Persian, Hindi and emoji are spelt with.
    What is escaped: other control characters, signs that turn the direction of writing, invisible
    ones, and halves of characters (file names that are not valid text have them).
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_show, text))


def _show(sign: str) -> str:
    if sign in _KEPT or unicodedata.category(sign) not in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}:
        return sign
    return sign.encode("unicode_escape", "backslashreplace").decode("ascii")


def hidden_signs(text: str) -> bool:
    """Whether a name holds something that cannot be seen: what ``printable`` would escape."""
    return "\n" in text or "\t" in text or printable(text) != text


def looks_like(name: str) -> str:
    """A key that is the same for names that people can hardly tell apart.

    Case, width, accents' encoding, invisible signs and kinds of spaces and hyphens do not count.
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    seen = "".join(sign for sign in folded if unicodedata.category(sign) not in {"Cf", "Cc"})
    dashed = "".join("-" if unicodedata.category(sign) == "Pd" else sign for sign in seen)
    return unicodedata.normalize("NFC", " ".join(dashed.split()))


def show_plainly(value: object) -> object:
    """``printable`` for what a page template shows; markup and numbers stay as they are."""
    return printable(value) if type(value) is str else value


def defuse(cell: object) -> object:
    """A cell of a CSV file that no spreadsheet runs: text like a formula gets an apostrophe."""
    if isinstance(cell, str) and cell.startswith(_SPREADSHEET_STARTS):
        return f"'{cell}"
    return cell


def undo_defuse(cell: str) -> str:
    """The text that ``defuse`` was given."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_SPREADSHEET_STARTS) else cell
