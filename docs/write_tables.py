"""Write the tables of measured figures into README and docs from ``benchmarks/results/*.json``.

    python docs/write_tables.py            write them
    python docs/write_tables.py --check    fail when a document differs from its results

A table stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->``; no number in it is
typed by hand. Every module of ``docs/tables`` adds its own. Between ``<!-- rows -->`` and
``<!-- end of rows -->`` stand the lines under *Rows* of all pages of experiments, joined.
"""

from __future__ import annotations

import json
import pkgutil
import re
import sys
from importlib import import_module
from pathlib import Path

import tables
from tables.wording import Tables

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
ROWS = re.compile(r"<!-- rows -->\n.*?<!-- end of rows -->", re.DOTALL)
ROW = re.compile(r"^\| ([A-Z]+\d[^|]*) \| ([^|]*) \| ([^|]*) \|$", re.MULTILINE)
BLOCK = re.compile(r"<!-- table: (\w+) -->\n.*?<!-- end of table -->", re.DOTALL)


def collect_tables() -> Tables:
    """Name of a table → its file in ``benchmarks/results`` and what turns that into lines."""
    found: Tables = {}
    for module in pkgutil.iter_modules(tables.__path__):
        found |= getattr(import_module(f"tables.{module.name}"), "TABLES", {})
    return found


def fill(text: str) -> str:
    """A document with all its tables written anew."""
    known = collect_tables()

    def write(found: re.Match[str]) -> str:
        name = found.group(1)
        file, table = known[name]
        lines = table(json.loads((RESULTS / f"{file}.json").read_text(encoding="utf-8")))
        return "\n".join([f"<!-- table: {name} -->", *lines, "<!-- end of table -->"])

    return BLOCK.sub(write, text)


def join_rows() -> str:
    """One line for each claim that a page of experiments answers, in the order of their names."""
    found: list[tuple[str, str]] = []
    for page in sorted((ROOT / "docs" / "experiments").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        title = text.splitlines()[0].removeprefix("# ")
        link = f"[{title}](experiments/{page.name})"
        for name, check, measured in ROW.findall(text.partition("\n## Rows\n")[2]):
            moved = re.sub(r"\]\((?=\w+\.md)", "](experiments/", f"{check} | {measured}")
            found.append((name, f"| {name} | {moved} | {link} |"))
    lines = [line for _, line in sorted(found, key=lambda one: _order(one[0]))]
    head = ["<!-- rows -->", "| claim | check | measured, or why not | page |", "|---|---|---|---|"]
    return "\n".join([*head, *lines, "<!-- end of rows -->"])


def _order(name: str) -> tuple[str, int]:
    letters, number = re.match(r"([A-Z]+)(\d+)", name).groups()  # type: ignore[union-attr]
    return letters, int(number)


def main() -> None:
    """Write the tables, or check them."""
    stale = []
    for document in DOCUMENTS:
        before = document.read_text(encoding="utf-8")
        after = ROWS.sub(lambda _: join_rows(), fill(before))
        if before != after:
            stale.append(document.name)
            if "--check" not in sys.argv:
                document.write_text(after, encoding="utf-8")
    if "--check" in sys.argv and stale:
        raise SystemExit(f"{', '.join(stale)} differ from benchmarks/results: run `make docs`.")


if __name__ == "__main__":
    main()
