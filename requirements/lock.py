"""The packages that a requirement file pins."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
SETS = ("base", "train", "dev")
"""Requirement files: what runs a model, what trains one, what develops LeafScout."""

_PINNED = re.compile(r"^([a-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\]+?))?\s*\\?$", re.MULTILINE)


@dataclass(frozen=True)
class Pinned:
    """One package of a lock.

    Attributes:
        name: in lower case.
        version: exactly this one.
        marker: on which systems; empty for all.
    """

    name: str
    version: str
    marker: str


def read_lock(which: str) -> list[Pinned]:
    """All packages of ``requirements/WHICH.txt``; a package may stand there for several Pythons."""
    text = (FOLDER / f"{which}.txt").read_text(encoding="utf-8")
    return [Pinned(*(part or "" for part in found.groups())) for found in _PINNED.finditer(text)]


def find_uvx() -> str:
    """The command that runs a tool from the package index without installing it here."""
    local = FOLDER.parent / ".cache" / "uv" / "bin" / "uvx"
    found = shutil.which("uvx") or (str(local) if local.is_file() else None)
    if found is None:
        raise SystemExit("This needs uvx, which comes with uv. Install uv, or run `make setup`.")
    return found
