"""A folder of 200 photos, nine of ten healthy: photos a minute and peak memory on all cores.

    python benchmarks/folder_throughput.py            about 8 minutes
    python benchmarks/folder_throughput.py --quick    proves that it works

The folder holds 20 rendered photos under ten names each. Which are healthy is told to the models
(their weights are random): five tiles are read on the others. Baselines run as one process a core
with one thread each; LeafScout so too, and as one process with threads. The dear baselines answer a
few photos, scaled up. Memory is summed over processes. Writes results/folder_throughput.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from file_to_diagnosis import MAKERS, ONE_THREAD, Clock, Variant, memory_mb
from leafscout.inference.many import Pace, diagnose_photos
from leafscout.inference.runtimes import open_graphs
from leafscout.model import GlanceAndFocus, GlanceEvidence, Networks, TileEvidence
from leafscout.types import Pixels
from rendered_photos import render_jpegs
from speed_models import QUICK, RUNTIMES, SpeedSetting, graph_folder, write_models
from timing import write_result

HERE = Path(__file__).parent
COPIES, HEALTHY_FRAC = 10, 0.9
CLEAR_LOGIT = 20.0


@dataclass(frozen=True)
class Way:
    """How a folder is worked through.

    Attributes:
        variant: the baseline or LeafScout.
        together: one process with a thread a core, instead of a process a core.
        photos_a_process: so many photos only, scaled up; None for all.
    """

    variant: Variant
    together: bool = False
    photos_a_process: int | None = None


WAYS: dict[str, Way] = {
    **{
        f"LeafScout, {runtime} int8, {how}": Way(
            Variant("d", "leafscout", runtime, "int8"), together=together
        )
        for runtime in RUNTIMES
        for how, together in (("a process a core", False), ("one process", True))
    },
    "b resized, eager": Way(Variant("b", "resized", "torch"), photos_a_process=30),
    **{
        f"b tuned, {runtime} int8": Way(
            Variant("b", "resized", runtime, "int8"), photos_a_process=30
        )
        for runtime in RUNTIMES
    },
    "a all tiles, eager": Way(Variant("a", "all_tiles", "torch"), photos_a_process=1),
    **{
        f"a tuned, {runtime} int8": Way(
            Variant("a", "all_tiles", runtime, "int8"), photos_a_process=2
        )
        for runtime in RUNTIMES
    },
}


@dataclass
class ToldNetworks:
    """Networks whose scout runs, and is then told what to say: photos come in order."""

    networks: Networks
    healthy: list[bool]
    asked: int = 0

    def run_scout(self, glance: Pixels) -> GlanceEvidence:
        """The time of a scout, the answer of an oracle."""
        found = self.networks.run_scout(glance)
        logit = -CLEAR_LOGIT if self.healthy[self.asked] else CLEAR_LOGIT
        self.asked += 1
        return GlanceEvidence(
            np.full_like(found.score_map, logit),
            found.label_maps,
            np.full_like(found.glance_logits, -CLEAR_LOGIT),
        )

    def run_expert(self, tiles: Pixels) -> TileEvidence:
        """As the networks inside."""
        return self.networks.run_expert(tiles)


def work_through(way: Way, setting: SpeedSetting, work: Path, paths: list[Path]) -> None:
    """In a process of its own: get ready, wait for a line, work, say what it took."""
    talk = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    variant, threads = way.variant, (os.cpu_count() or 1) if way.together else 1
    if variant.way == "leafscout":
        folder = graph_folder(work, setting.expert, variant.runtime, variant.precision)
        told = ToldNetworks(
            open_graphs(folder, variant.runtime, threads),
            [path.stem.endswith("healthy") for path in paths],
        )
        core = GlanceAndFocus(told, setting.rules(middle=True))
        pace = Pace(workers=threads, ahead=2 * threads + 2)

        def run() -> int:
            return sum(one.diagnosis.cost.tiles_read for one in diagnose_photos(core, paths, pace))
    else:
        answer = MAKERS[variant.way](variant, setting, work)

        def run() -> int:
            for path in paths:
                answer(str(path), Clock())
            return 0

    print("ready", file=talk, flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    tiles_read = run()
    took = {
        "wall_s": time.perf_counter() - started,
        "photos": len(paths),
        "tiles_read": tiles_read,
        "peak_mb": memory_mb("VmHWM"),
    }
    print(json.dumps(took), file=talk, flush=True)


def link_folder(work: Path, setting: SpeedSetting, photos: int) -> list[Path]:
    """The folder: few photos under many names, healthy and diseased mixed."""
    different = max(2, photos // COPIES)
    diseased = max(1, round(different * (1 - HEALTHY_FRAC)))
    healthy, ill = render_jpegs(
        work / "photos", different - diseased, diseased, setting.photo_px_hw
    )
    folder = work / f"folder_{photos}"
    folder.mkdir(parents=True, exist_ok=True)
    sources = healthy + ill
    order = np.random.default_rng(0).permutation(photos)
    paths = []
    for place, number in enumerate(order):
        source = sources[number % len(sources)]
        path = folder / f"{place:03d}_{source.stem.rpartition('_')[2]}.jpg"
        if not path.exists():
            path.symlink_to(source.resolve())
        paths.append(path)
    return paths


def measure_way(name: str, paths: list[Path], work: Path, *, quick: bool) -> dict[str, Any]:
    """Start the processes of one way, let them begin together, and wait for the last."""
    way = WAYS[name]
    processes = 1 if way.together else (os.cpu_count() or 1)
    command = [sys.executable, __file__, "--child", name, "--work", str(work)]
    command += ["--quick"] if quick else []
    environment = dict(os.environ)
    if not way.together:
        environment |= dict.fromkeys(ONE_THREAD, "1")
    children = []
    for index in range(processes):
        share = paths[index::processes]
        if way.photos_a_process is not None:
            share = share[: 1 if quick else way.photos_a_process]
        child = subprocess.Popen(
            [*command, "--paths", *map(str, share)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        children.append(child)
    for child in children:
        if child.stdout is None or child.stdout.readline().strip() != "ready":
            raise SystemExit(f"{name} stopped before it was ready.")
    started = time.perf_counter()
    rows = [json.loads(child.communicate("go\n")[0]) for child in _start_all(children)]
    wall_s = max(row["wall_s"] for row in rows)
    photos = sum(row["photos"] for row in rows)
    return {
        "photos": photos,
        "processes": processes,
        "wall_s": wall_s,
        "wall_with_talk_s": time.perf_counter() - started,
        "photos_a_minute": 60 * photos / wall_s,
        "minutes_for_200": 200 * wall_s / photos / 60,
        "scaled_up": photos < len(paths),
        "tiles_read": sum(row["tiles_read"] for row in rows),
        "peak_mb": sum(row["peak_mb"] for row in rows),
    }


def _start_all(children: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    for child in children[1:]:
        if child.stdin is not None:
            child.stdin.write("go\n")
            child.stdin.flush()
    return children


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", type=Path, default=Path("runs/speed"))
    parser.add_argument("--repeats", type=int, default=3, help="of LeafScout and of b")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--paths", nargs="*", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    setting = QUICK if given.quick else SpeedSetting()
    if given.child:
        work_through(WAYS[given.child], setting, given.work, given.paths)
        return
    work = given.work / "quick" if given.quick else given.work
    write_models(setting, work)
    paths = link_folder(work, setting, 20 if given.quick else 200)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in WAYS}
    for turn in range(1 if given.quick else given.repeats):
        for name, way in WAYS.items():
            if turn and way.variant.way == "all_tiles":
                continue
            runs[name].append(measure_way(name, paths, work, quick=given.quick))
            print(f"{name}: {runs[name][-1]['photos_a_minute']:.1f} photos a minute", flush=True)
    write_result(
        (work if given.quick else HERE / "results") / "folder_throughput.json",
        {
            "what": "photos a minute and memory on all cores; 90% healthy; random weights",
            "photos": len(paths),
            "different_photos": len({path.resolve() for path in paths}),
            "ways": {
                name: {
                    "photos_a_minute": sorted(row["photos_a_minute"] for row in rows),
                    "peak_mb": max(row["peak_mb"] for row in rows),
                    "runs": rows,
                }
                for name, rows in runs.items()
            },
        },
    )


if __name__ == "__main__":
    main()
