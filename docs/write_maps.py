"""Write the maps of the source tree into README.md and docs/architecture.md.

A module's line is the first sentence of its docstring, so there is one place to change it. Run by
`make docs`; a test fails where a map does not fit the disk.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "leafscout"
START, END = "<!-- map -->", "<!-- end of map -->"
COLUMN = 28


def draw_map(*, deep: bool) -> str:
    """The files and folders of the package with a line each; files inside folders if ``deep``."""
    lines = ["src/leafscout/"]
    for path in _entries(SOURCE):
        lines.append(_line(path, 1))
        if path.is_dir() and deep:
            lines += _below(path, 2)
    return "\n".join(["```text", *lines, "```"])


def _below(folder: Path, depth: int) -> Iterator[str]:
    for path in _entries(folder):
        yield _line(path, depth)
        if path.is_dir():
            yield from _below(path, depth + 1)


def _entries(folder: Path) -> list[Path]:
    """Modules and packages, folders first; ``__init__.py`` speaks for its folder."""
    found = [
        path
        for path in folder.iterdir()
        if (path.is_dir() and (path / "__init__.py").is_file())
        or (path.suffix == ".py" and path.name != "__init__.py")
    ]
    return sorted(found, key=lambda path: (path.is_file(), path.name))


def _line(path: Path, depth: int) -> str:
    name = "  " * depth + path.name + ("/" if path.is_dir() else "")
    return f"{name:<{COLUMN}} {_describe(path)}".rstrip()


def _describe(path: Path) -> str:
    module = path / "__init__.py" if path.is_dir() else path
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.split("\n\n", maxsplit=1)[0].split())
    return re.split(r"(?<=\.)\s", paragraph, maxsplit=1)[0].replace("``", "")


def insert_map(page: str, drawn: str) -> str:
    """A page with the map between its two marks replaced.

    Raises:
        ValueError: when the page has no marks.
    """
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError(f"Expected the marks {START} and {END} in the page.")
    return f"{before}{START}\n{drawn}\n{END}{after}"


PAGES = {ROOT / "README.md": False, ROOT / "docs" / "architecture.md": True}
"""Page → whether its map goes down to the files inside folders."""


def main() -> int:
    """Write both maps."""
    for page, deep in PAGES.items():
        text = page.read_text(encoding="utf-8")
        page.write_text(insert_map(text, draw_map(deep=deep)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
