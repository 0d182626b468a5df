"""List the licences of everything that is pinned, and refuse those that are not allowed.

    python requirements/check_licences.py            write docs/dependencies.md, and check
    python requirements/check_licences.py --check    fail when that page is not up to date

Licences are read from the installed packages; those that are not installed here, or that name
theirs unclearly, are looked up by hand in ``NAMED_BY_HAND``.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib import metadata

from lock import FOLDER, SETS, Pinned, read_lock

PAGE = FOLDER.parent / "docs" / "dependencies.md"

ALLOWED = {
    "0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT",
    "MIT-CMU", "PSF-2.0", "Zlib",
}  # fmt: skip
"""Licences that ask for no more than to be named."""

ALLOWED_BESIDE = {
    "train": {"MPL-2.0", "LicenseRef-NVIDIA-Proprietary"},
    "dev": {"MPL-2.0", "LicenseRef-NVIDIA-Proprietary"},
}
"""Beside those, outside the base install: the MPL covers its own files alone, and NVIDIA's
libraries come with PyTorch on systems that may have its cards."""

NAMED_BY_HAND = {
    "colorama": "BSD-3-Clause",
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",
    "httpx2-jsfetch": "BSD-3-Clause",
    "nvidia-cusparselt-cu13": "LicenseRef-NVIDIA-Proprietary",
    "tqdm": "MPL-2.0 AND MIT",
}

_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
_WORDS = {
    "3-clause bsd license": "BSD-3-Clause", "apache 2.0": "Apache-2.0", "apache-2.0": "Apache-2.0",
    "bsd": "BSD", "bsd 2-clause license": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause",
    "isc license": "ISC", "mit": "MIT", "mit license": "MIT",
}  # fmt: skip


@dataclass(frozen=True)
class Licensed:
    """A package and its licence.

    Attributes:
        name: of the package.
        version: that is pinned.
        licence: an SPDX expression, or ``unknown``.
        found: where it was found: ``package`` or ``by hand``.
        sets: the requirement files that pin it.
    """

    name: str
    version: str
    licence: str
    found: str
    sets: tuple[str, ...]


def find_licence(name: str) -> tuple[str, str]:
    """The licence of a package, and where that was found."""
    if name in NAMED_BY_HAND:
        return NAMED_BY_HAND[name], "by hand"
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return "unknown", "not installed here"
    if expression := about.get("License-Expression"):
        return expression, "package"
    for line in about.get_all("Classifier", []):
        known = _CLASSIFIERS.get(line.rpartition(" :: ")[2])
        if line.startswith("License ::") and known:
            return known, "package"
    words = (about.get("License") or "").strip()
    return _WORDS.get(words.lower(), "unknown"), "package"


def gather() -> list[Licensed]:
    """Every pinned package with its licence."""
    sets: dict[str, list[str]] = {}
    pinned: dict[str, Pinned] = {}
    for which in SETS:
        for one in read_lock(which):
            pinned[one.name] = one
            if which not in sets.setdefault(one.name, []):
                sets[one.name].append(which)
    found = []
    for name, one in sorted(pinned.items()):
        licence, where = find_licence(name)
        found.append(Licensed(name, one.version, licence, where, tuple(sets[name])))
    return found


def judge(one: Licensed) -> str | None:
    """Why a package must not be used; None when it may."""
    beside = ALLOWED_BESIDE.get(one.sets[0], set())
    parts = re.split(r"\s+(?:AND|WITH)\s+|[()]", one.licence)
    for part in filter(None, (part.strip() for part in parts)):
        choices = {choice.strip() for choice in part.split(" OR ")}
        if part.endswith("-exception") or choices & (ALLOWED | beside):
            continue
        return f"{one.name} {one.version} ({'/'.join(one.sets)}): {one.licence} is not allowed"
    return None


def write_page(found: list[Licensed]) -> str:
    """The page that lists them."""
    groups = {
        "base": "What runs a model",
        "train": "What training adds",
        "dev": "What development adds",
    }
    lines = [
        "# Dependencies and their licences",
        "",
        "Written by `make licences`, which fails when a licence is unknown or not allowed. All are",
        "pinned with hashes in `requirements/`. No package of the base install, nor any other, is",
        "under the GPL or AGPL.",
    ]
    for which, heading in groups.items():
        some = [one for one in found if one.sets[0] == which]
        lines += [
            "",
            f"## {heading}: {len(some)}",
            "",
            "| package | version | licence | read from |",
        ]
        lines += ["|---|---|---|---|"]
        lines += [f"| {one.name} | {one.version} | {one.licence} | {one.found} |" for one in some]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page, or check it."""
    found = gather()
    refused = [words for one in found if (words := judge(one))]
    if refused:
        raise SystemExit("\n".join(refused))
    page = write_page(found)
    if "--check" in sys.argv:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page:
            raise SystemExit(f"{PAGE.name} is not up to date: run `make licences`.")
    else:
        PAGE.write_text(page, encoding="utf-8")
    print(f"{len(found)} packages, all under licences that are allowed.")


if __name__ == "__main__":
    main()
