"""Ask for known vulnerabilities of everything that is pinned, and fail when nobody really answered.

    python requirements/audit_dependencies.py            all three requirement files
    python requirements/audit_dependencies.py base

An auditor that cannot reach its database, or does not know a package, may still say "no known
vulnerabilities". So two packages that are known to be vulnerable are asked for first: unless both
are reported, and unless every pinned package gets an answer, this fails with code 2. Code 1 means
that vulnerabilities were found.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lock import SETS, Pinned, find_uvx, read_lock

AUDITOR = "pip-audit==2.10.1"
KNOWN_BAD = (Pinned("jinja2", "2.10", ""), Pinned("pyyaml", "5.3", ""))
FOUND, NOT_CHECKED = 1, 2

Ask = Callable[[Sequence[Pinned]], list[dict[str, Any]]]


class NotCheckedError(Exception):
    """The auditor gave no answer that could be relied on."""


def ask_auditor(packages: Sequence[Pinned]) -> list[dict[str, Any]]:
    """What pip-audit says of packages, one entry each.

    Raises:
        NotCheckedError: when it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "requirements.txt"
        listed.write_text("".join(f"{one.name}=={one.version}\n" for one in packages))
        done = subprocess.run(  # noqa: S603 - our own command
            [
                find_uvx(), AUDITOR, "--requirement", str(listed), "--no-deps", "--disable-pip",
                "--format", "json", "--progress-spinner", "off",
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    try:
        answers: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError) as error:
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise NotCheckedError(f"the auditor failed: {last[:300]}") from error
    return answers


def audit(packages: Sequence[Pinned], ask: Ask = ask_auditor) -> list[str]:
    """Known vulnerabilities of packages, in words.

    Args:
        packages: what is pinned.
        ask: the auditor.

    Raises:
        NotCheckedError: when the auditor overlooks what is known to be bad, or leaves one out.
    """
    known = {answer["name"] for answer in ask(KNOWN_BAD) if answer.get("vulns")}
    overlooked = [one.name for one in KNOWN_BAD if one.name not in known]
    if overlooked:
        raise NotCheckedError(
            f"the auditor reports nothing for old versions of {' and '.join(overlooked)}, whose "
            "vulnerabilities are known: its database is out of reach, or empty"
        )
    found, answered = [], set()
    # A package may be pinned twice, for different Pythons, and an auditor takes one of each.
    for version in range(2):
        asked = [one for one in packages if _turn(packages, one) == version]
        for answer in ask(asked) if asked else []:
            if "skip_reason" in answer or "vulns" not in answer:
                continue
            answered.add((answer["name"], answer["version"]))
            found += [
                f"{answer['name']} {answer['version']}: {one['id']}, mended in "
                f"{', '.join(one.get('fix_versions', [])) or 'no version yet'}"
                for one in answer["vulns"]
            ]
    left_out = [one.name for one in packages if (one.name, one.version) not in answered]
    if left_out:
        raise NotCheckedError(
            f"{len(left_out)} of {len(packages)} packages got no answer: {', '.join(left_out[:5])}"
        )
    return found


def _turn(packages: Sequence[Pinned], one: Pinned) -> int:
    same = [other.version for other in packages if other.name == one.name]
    return same.index(one.version)


def main() -> None:
    """Audit the requirement files."""
    failed = 0
    for which in sys.argv[1:] or SETS:
        packages = read_lock(which)
        try:
            found = audit(packages)
        except NotCheckedError as error:
            print(f"{which}: NOT CHECKED: {error}.", file=sys.stderr)
            raise SystemExit(NOT_CHECKED) from error
        for words in found:
            print(f"{which}: {words}")
        failed |= bool(found)
        if not found:
            print(f"{which}: no known vulnerabilities in {len(packages)} packages, all answered.")
    raise SystemExit(FOUND if failed else 0)


if __name__ == "__main__":
    main()
