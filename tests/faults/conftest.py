"""What the fault tests share: where the long part writes down what it measured."""

import json
import os
import platform
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

RESULTS = "LEAFSCOUT_FAULT_RESULTS"
ROOT = Path(__file__).parents[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    """A folder of one's own hostile photos."""
    parser.addoption("--corpus", type=Path, help="a folder of more photos to damage and decode")


@pytest.fixture(scope="session")
def corpus(request: pytest.FixtureRequest) -> Path | None:
    """The folder of ``--corpus``, where one was given."""
    folder: Path | None = request.config.getoption("--corpus", default=None)
    return folder.resolve() if folder else None


def write_down(name: str, values: dict[str, object]) -> None:
    """Add what was measured to the file that LEAFSCOUT_FAULT_RESULTS names, if it names one."""
    target = os.environ.get(RESULTS)
    if not target:
        return
    path = Path(target)
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    commit = ask_git("rev-parse", "HEAD")[:10]
    if ask_git("status", "--porcelain", "--", "src", "tests"):
        commit += "-dirty"
    known |= {
        "command": "make test-faults",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
    }
    dated = {**values, "date": datetime.now(UTC).date().isoformat(), "commit": commit}
    known.setdefault("tests", {})[name] = dated
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)


def ask_git(*arguments: str) -> str:
    """What git says; empty outside a repository."""
    command = ["git", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return done.stdout.strip()


@pytest.fixture
def record() -> Callable[..., None]:
    """Write down a test's figures: ``record("name", photos=3)``."""
    return lambda name, **values: write_down(name, values)
