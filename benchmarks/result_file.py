"""Results of benchmarks on disk: a file is whole, or it is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_json(path: Path, values: Any, *, ensure_ascii: bool = True) -> None:
    """Write a result under a temporary name, then move it to its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    text = json.dumps(values, indent=1, ensure_ascii=ensure_ascii) + "\n"
    part.write_text(text, encoding="utf-8")
    part.replace(path)
