"""Where a figure comes from: the commit of the code, and the folder of the photos."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def read_commit() -> str:
    """Hash of the commit that is checked out; empty outside a repository."""
    answer = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    return answer.stdout.strip()


def find_data(name: str) -> Path:
    """A folder of photos below the one that LEAFSCOUT_DATA names."""
    root = os.environ.get("LEAFSCOUT_DATA")
    if not root:
        raise SystemExit(f"Set LEAFSCOUT_DATA to the folder that holds {name}/ and weights/.")
    return Path(root) / name
