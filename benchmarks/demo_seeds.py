"""Is the demo steady? Run it whole for several seeds: another field and another training each.

    python benchmarks/demo_seeds.py [--seeds 5] [--work DIR] [--set NAME=VALUE]

Every seed renders its own field, trains on it from photo-level labels and answers for photos of a
further field. The demo's settings were tuned on seed 0, and seeds 1 and 2 were looked at on the
way; seeds from 3 on were not. With ``--work`` a seed that is done is not run again. ``--set``
changes a setting of the recipe, and the result gets a file of its own.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from leafscout.cli.demo_command import TEST_PHOTOS, TRAIN_PHOTOS, pointing_chance
from result_file import write_json

HERE = Path(__file__).parent
RESULT = HERE / "results" / "demo_seeds.json"


def run_demo(out: Path, seed: int, setting: str | None) -> dict[str, float]:
    """Run the demo's command into a new folder; wall and CPU seconds, workers included."""
    started_s, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [
            *(sys.executable, "-m", "leafscout", "demo", "--out", str(out), "--seed", str(seed)),
            *(() if setting is None else ("--set", setting)),
        ],
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": round(time.monotonic() - started_s, 1), "cpu_s": round(cpu_s, 1)}


def read_figures(demo: Path, seed: int) -> dict[str, Any]:
    """What one demo reached, from its run folder."""
    figures = json.loads((demo / "run" / "evaluation.json").read_text(encoding="utf-8"))
    with (demo / "run" / "history.csv").open(newline="", encoding="utf-8") as file:
        stages = {row["stage"]: float(row["seconds"]) for row in csv.DictReader(file)}
    macro, found, cost = figures["labels"]["macro"], figures["localisation"], figures["cost"]
    test = demo / "test"
    return {
        "seed": seed,
        "macro_ap": macro["ap"],
        "macro_f1": macro["f1"],
        "pointing_hits": found["pointing"]["hits"],
        "pointing_photos": found["pointing"]["photos"],
        "pointing_chance": pointing_chance(test, test / "truth" / "boxes.csv", seed),
        "dropped_healthy": cost["healthy"]["drop_rate"],
        "dropped_diseased": cost["diseased"]["drop_rate"],
        "early_exit_healthy": cost["healthy"]["early_exit"],
        "early_exit_diseased": cost["diseased"]["early_exit"],
        "stage_s": stages,
    }


def measure_seed(work: Path, seed: int, setting: str | None) -> dict[str, Any]:
    """The row of one seed, run now or earlier."""
    done = work / f"seed{seed}.json"
    if done.exists():
        row: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        return row
    load = os.getloadavg()[0]
    seconds = run_demo(work / f"seed{seed}", seed, setting)
    row = {**read_figures(work / f"seed{seed}", seed), **seconds, "load_before": round(load, 1)}
    done.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    return row


def find_commit() -> str:
    """The commit, with ``-dirty`` where files differ from it."""
    asked = ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    return subprocess.run(
        asked, capture_output=True, text=True, cwd=HERE, check=False
    ).stdout.strip()


def main() -> None:
    """Measure all seeds, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 up")
    parser.add_argument("--work", type=Path, help="keep fields and runs here")
    parser.add_argument("--set", metavar="NAME=VALUE", help="a setting of the recipe to change")
    given = parser.parse_args()
    commit = find_commit()  # of what runs now, whatever is committed meanwhile
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        rows = [measure_seed(work, seed, given.set) for seed in range(given.seeds)]
    changed = "" if given.set is None else f" --set {given.set}"
    result = {
        "command": f"python benchmarks/demo_seeds.py --seeds {given.seeds}{changed}",
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "train_photos": TRAIN_PHOTOS,
        "test_photos": TEST_PHOTOS,
        "rows": rows,
    }
    name = RESULT if given.set is None else RESULT.with_stem(f"{RESULT.stem}_{_name_of(given.set)}")
    write_json(name, result)


def _name_of(setting: str) -> str:
    return setting.partition("=")[0]


if __name__ == "__main__":
    main()
