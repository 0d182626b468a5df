"""Timing in turns, summaries with their spread, and what a result must say about its making."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from result_file import write_json

PACKAGES = (
    "leafscout",
    "numpy",
    "pillow",
    "simplejpeg",
    "onnxruntime",
    "openvino",
    "torch",
    "timm",
)


def summarise(values: Sequence[float]) -> dict[str, float]:
    """Median and spread of repeated measurements."""
    ordered = sorted(values)
    return {
        "median": statistics.median(ordered),
        "low_quartile": ordered[len(ordered) // 4],
        "high_quartile": ordered[(3 * len(ordered)) // 4],
        "least": ordered[0],
        "most": ordered[-1],
        "n": len(ordered),
    }


def time_in_turns(
    works: dict[str, Callable[[], object]], rounds: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Each work once a round, so that a busy minute hits all of them; the first round is warm-up.

    Returns:
        Work → ``cpu_ms`` and ``wall_ms``, summarised.
    """
    cpu: dict[str, list[float]] = {name: [] for name in works}
    wall: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            cpu_started, started = time.process_time(), time.perf_counter()
            kept = work()
            seconds = (time.process_time() - cpu_started, time.perf_counter() - started)
            del kept
            if turn:
                cpu[name].append(1000 * seconds[0])
                wall[name].append(1000 * seconds[1])
    return {
        name: {"cpu_ms": summarise(cpu[name]), "wall_ms": summarise(wall[name])} for name in works
    }


def describe_run() -> dict[str, Any]:
    """Command, commit, machine and versions: what makes a figure repeatable."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "command": _command(),
        "commit": commit,
        "machine": f"{os.cpu_count()} cores, {_processor()}, {platform.system()}",
        "load_average": [round(one, 2) for one in os.getloadavg()],
        "versions": installed,
    }


def _command() -> str:
    """The command line; where the photos lie on this machine is nobody's business."""
    words = " ".join(["python", *sys.argv])
    data = os.environ.get("LEAFSCOUT_DATA")
    return words.replace(str(Path(data)), "$LEAFSCOUT_DATA") if data else words


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def write_result(path: Path, figures: dict[str, Any]) -> None:
    """Write figures with what they depend on, and print where."""
    write_json(path, {**describe_run(), **figures}, ensure_ascii=False)
    print(f"wrote {path}")
