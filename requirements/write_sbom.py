"""Write a bill of materials (CycloneDX JSON) of each requirement file, and check that it is whole.

python requirements/write_sbom.py [FOLDER]    into build/sbom by default
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from lock import FOLDER, SETS, find_uvx, read_lock

WRITER = ("--from", "cyclonedx-bom==7.5.0", "cyclonedx-py", "requirements")
VERSION = "1.6"


def write_sbom(which: str, folder: Path) -> Path:
    """Write the bill of materials of ``requirements/WHICH.txt``.

    Raises:
        SystemExit: when the writer fails, or leaves out a package or its hashes.
    """
    path = folder / f"leafscout-{which}.cdx.json"
    command = [
        find_uvx(), *WRITER, str(FOLDER / f"{which}.txt"), "--pyproject",
        str(FOLDER.parent / "pyproject.toml"), "--mc-type", "library", "--sv", VERSION,
        "--output-reproducible", "--of", "JSON", "--output-file", str(path),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise SystemExit(
            f"The bill of materials could not be written: {done.stderr.strip()[-500:]}"
        )
    check_sbom(which, json.loads(path.read_text(encoding="utf-8")))
    return path


def check_sbom(which: str, bill: dict) -> None:
    """Refuse a bill of materials that lacks a pinned package.

    Raises:
        SystemExit: with the names of those that it lacks.
    """
    listed = {(one["name"].lower(), one.get("version")) for one in bill.get("components", [])}
    lacking = [one.name for one in read_lock(which) if (one.name, one.version) not in listed]
    if lacking or bill.get("bomFormat") != "CycloneDX":
        raise SystemExit(
            f"The bill of materials of {which} lacks {', '.join(lacking) or 'a format'}."
        )


def main() -> None:
    """Write all of them."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER.parent / "build" / "sbom"
    folder.mkdir(parents=True, exist_ok=True)
    for which in SETS:
        path = write_sbom(which, folder)
        print(f"{path}: {len(read_lock(which))} packages")


if __name__ == "__main__":
    main()
