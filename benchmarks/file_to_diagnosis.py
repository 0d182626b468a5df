"""From a file on disk to a diagnosis: 12-megapixel JPEGs, one photo at a time, one thread.

    python benchmarks/file_to_diagnosis.py            the measured pass, about 25 minutes
    python benchmarks/file_to_diagnosis.py --quick    proves that it works, about a minute

Every variant runs in a process of its own that does nothing but wait between its turns; a round
gives each variant one photo. Weights are random: this measures speed and memory, nothing else.
Writes results/file_to_diagnosis.json and docs/pictures/speed_stages.png.

a   all tiles, EfficientNetV2-S        Pillow, eager PyTorch        | tuned: simplejpeg, int8 graphs
b   photo resized to 512, the same     Pillow, eager PyTorch        | tuned: simplejpeg, int8 graphs
c   glance and five tiles, eager PyTorch
d   glance and five tiles, exported; with smaller experts, the stand-ins for distilled ones
e   glance alone: a healthy photo
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leafscout.focus.tile_reader import TileReader
from leafscout.glance.view import take_glance
from leafscout.inference.answer import build_diagnosis
from leafscout.model import GlanceAndFocus, GlanceEvidence, Networks, TileEvidence
from leafscout.photos.decode import decode_photo, open_photo
from leafscout.photos.tiles import cut_tiles, lay_tiles
from leafscout.types import Pixels
from rendered_photos import render_jpegs
from speed_models import (
    QUICK,
    RUNTIMES,
    SpeedSetting,
    build_networks,
    build_resized,
    open_graph_networks,
    open_resized_graph,
)
from timing import summarise, write_result

HERE = Path(__file__).parent
PICTURE = HERE.parent / "docs" / "pictures" / "speed_stages.png"
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
BATCHES = (1, 4, 16)


@dataclass(frozen=True)
class Variant:
    """One way from a file to an answer.

    Attributes:
        group: a letter of this file's docstring.
        way: ``all_tiles``, ``resized`` or ``leafscout``.
        runtime: ``torch``, ``onnxruntime`` or ``openvino``.
        precision: ``fp32`` or ``int8``.
        small: take the small expert.
        least: take the smallest one.
        exit_early: choose no tile.
        slow: asked once a round only.
    """

    group: str
    way: str
    runtime: str
    precision: str = "fp32"
    small: bool = False
    least: bool = False
    exit_early: bool = False
    slow: bool = False


VARIANTS: dict[str, Variant] = {
    "a all tiles, eager": Variant("a", "all_tiles", "torch", slow=True),
    **{
        f"a tuned, {runtime} int8": Variant("a tuned", "all_tiles", runtime, "int8", slow=True)
        for runtime in RUNTIMES
    },
    "b resized, eager": Variant("b", "resized", "torch"),
    **{
        f"b tuned, {runtime} int8": Variant("b tuned", "resized", runtime, "int8")
        for runtime in RUNTIMES
    },
    "c five tiles, eager": Variant("c", "leafscout", "torch"),
    **{
        f"d five tiles, {runtime} {precision}": Variant("d", "leafscout", runtime, precision)
        for runtime in RUNTIMES
        for precision in ("fp32", "int8")
    },
    **{
        f"d small expert, {runtime} int8": Variant(
            "d small", "leafscout", runtime, "int8", small=True
        )
        for runtime in RUNTIMES
    },
    **{
        f"d smallest expert, {runtime} int8": Variant(
            "d small", "leafscout", runtime, "int8", least=True
        )
        for runtime in RUNTIMES
    },
    **{
        f"e healthy, {runtime} {precision}": Variant(
            "e", "leafscout", runtime, precision, exit_early=True
        )
        for runtime in RUNTIMES
        for precision in ("fp32", "int8")
    },
}

QUICK_ONES = (
    "a all tiles, eager", "a tuned, onnxruntime int8", "b resized, eager",
    "b tuned, openvino int8", "c five tiles, eager", "d five tiles, onnxruntime int8",
    "d small expert, openvino int8", "e healthy, onnxruntime int8",
)  # fmt: skip
"""Enough to prove that every kind of variant works."""

# --- in the process of one variant


class Clock:
    """CPU seconds of named stages, one after another."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._last = time.process_time()

    def stop(self, stage: str) -> None:
        """Book what passed since the last stop."""
        now = time.process_time()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self._last
        self._last = now


@dataclass
class TimedNetworks:
    """Networks that book their own time."""

    networks: Networks
    clock: Clock

    def run_scout(self, glance: Pixels) -> GlanceEvidence:
        """As the networks inside."""
        found = self.networks.run_scout(glance)
        self.clock.stop("scout")
        return found

    def run_expert(self, tiles: Pixels) -> TileEvidence:
        """As the networks inside."""
        found = self.networks.run_expert(tiles)
        self.clock.stop("expert")
        return found


Answer = Callable[[str, Clock], object]


def make_leafscout(variant: Variant, setting: SpeedSetting, work: Path) -> Answer:
    """What ``Model.diagnose`` does, with a stop after every stage."""
    expert = setting.small_expert if variant.small else setting.expert
    expert = setting.least_expert if variant.least else expert
    networks = (
        build_networks(setting, expert)
        if variant.runtime == "torch"
        else open_graph_networks(work, expert, variant.runtime, variant.precision)
    )
    rules, reader = setting.rules(exit_early=variant.exit_early), TileReader()

    def answer(path: str, clock: Clock) -> object:
        started_s = time.perf_counter()
        core = GlanceAndFocus(TimedNetworks(networks, clock), rules)
        photo = open_photo(path)
        clock.stop("open")
        glance = take_glance(photo, rules.glance_px)
        clock.stop("decode small")
        scouted = core.scout(glance)
        clock.stop("choose")
        found = None
        if scouted.read.any():
            tiles = reader.read(photo, scouted.tiles, np.flatnonzero(scouted.read))
            clock.stop("read tiles")
            found = core.networks.run_expert(tiles)
        evidence = core.conclude(scouted, found)
        diagnosis = build_diagnosis(core, photo, evidence, scouted.tiles, started_s)
        clock.stop("decide")
        return diagnosis

    return answer


def make_all_tiles(variant: Variant, setting: SpeedSetting, work: Path) -> Answer:
    """Every tile through the expert, and the largest evidence."""
    if variant.runtime == "torch":
        run = _best_batch(setting)
    else:
        networks = open_graph_networks(work, setting.expert, variant.runtime, variant.precision)

        def run(tiles: Pixels) -> np.ndarray:
            return networks.run_expert(tiles).tile_logits

    def answer(path: str, clock: Clock) -> object:
        pixels = _decode_with_pillow(path) if variant.runtime == "torch" else _decode(path)
        clock.stop("decode in full")
        tiles = cut_tiles(pixels, lay_tiles(pixels.shape[:2], setting.tile_px))
        clock.stop("cut tiles")
        logits = run(tiles).max(axis=0)
        clock.stop("expert")
        return logits

    return answer


def _best_batch(setting: SpeedSetting) -> Callable[[Pixels], np.ndarray]:
    """The eager expert at the batch size that serves it best here."""
    import torch

    from leafscout.networks import to_batch

    expert = build_networks(setting, setting.expert).expert
    device = torch.device("cpu")

    def run(tiles: Pixels, batch: int) -> np.ndarray:
        with torch.inference_mode():
            parts = [
                expert(to_batch(tiles[at : at + batch], device)).tile_logits
                for at in range(0, len(tiles), batch)
            ]
        return torch.cat(parts).numpy()

    trial = np.random.default_rng(0).integers(
        0, 255, (max(BATCHES), setting.tile_px, setting.tile_px, 3), dtype=np.uint8
    )
    seconds = {}
    for batch in (*BATCHES[:1], *BATCHES):  # the first one warms up
        started = time.process_time()
        run(trial, batch)
        seconds[batch] = time.process_time() - started
    best = min(seconds, key=lambda batch: seconds[batch])
    return lambda tiles: run(tiles, best)


def make_resized(variant: Variant, setting: SpeedSetting, work: Path) -> Answer:
    """One network on the photo made small."""
    height, width = setting.resized_px_hw
    if variant.runtime == "torch":
        import torch

        from leafscout.networks import to_batch

        network = build_resized(setting)

        def run(pixels: Pixels) -> object:
            with torch.inference_mode():
                return network(to_batch(pixels, torch.device("cpu"))).numpy()
    else:
        run = open_resized_graph(setting, work, variant.runtime, variant.precision)

    def answer(path: str, clock: Clock) -> object:
        if variant.runtime == "torch":
            from PIL import Image

            image = Image.fromarray(_decode_with_pillow(path))
            clock.stop("decode in full")
            small = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        else:
            small = take_glance(open_photo(path), setting.resized_px).pixels
        clock.stop("decode small")
        logits = run(np.ascontiguousarray(small[None]))
        clock.stop("network")
        return logits

    return answer


def _decode_with_pillow(path: str) -> Pixels:
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def _decode(path: str) -> Pixels:
    return decode_photo(path).pixels


MAKERS = {"all_tiles": make_all_tiles, "resized": make_resized, "leafscout": make_leafscout}


def memory_mb(field: str) -> float:
    """Resident memory of this process: ``VmRSS`` now, ``VmHWM`` at its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return float("nan")


def serve_variant(name: str, setting: SpeedSetting, work: Path) -> None:
    """Answer for every line on standard input; at its end say what memory it took."""
    talk = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    variant = VARIANTS[name]
    started = time.process_time()
    answer = MAKERS[variant.way](variant, setting, work)
    ready = {"setup_s": time.process_time() - started, "ready_mb": memory_mb("VmRSS")}
    print(json.dumps(ready), file=talk, flush=True)
    for line in sys.stdin:
        cpu, wall, clock = time.process_time(), time.perf_counter(), Clock()
        kept = answer(line.strip(), clock)
        took = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
        del kept
        print(json.dumps({**took, "stages": clock.stages}), file=talk, flush=True)
    end = {"peak_mb": memory_mb("VmHWM"), "torch_imported": "torch" in sys.modules}
    print(json.dumps(end), file=talk, flush=True)


# --- in the process that asks them


class Server:
    """One variant in its process."""

    def __init__(self, name: str, work: Path, quick: bool) -> None:
        self.rows: list[dict[str, Any]] = []
        environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1")}
        command = [sys.executable, __file__, "--serve", name, "--work", str(work)]
        self.process = subprocess.Popen(
            command + (["--quick"] if quick else []),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.ready = self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None  # noqa: S101 - opened above
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"A variant stopped: {self.process.args}")
        heard: dict[str, Any] = json.loads(line)
        return heard

    def ask(self, path: Path, *, keep: bool) -> None:
        """One photo."""
        assert self.process.stdin is not None  # noqa: S101
        print(path, file=self.process.stdin, flush=True)
        row = self._hear()
        if keep:
            self.rows.append({"photo": path.name, **row})

    def end(self) -> dict[str, Any]:
        """Stop it; its memory."""
        assert self.process.stdin is not None  # noqa: S101
        self.process.stdin.close()
        last = self._hear()
        self.process.wait()
        return last


def measure(
    names: list[str], photos: dict[bool, list[Path]], rounds: int, work: Path, *, quick: bool
) -> dict[str, Any]:
    """Ask all variants in turns."""
    servers = {name: Server(name, work, quick) for name in names}
    for turn in range(rounds + 1):
        order = names[turn % len(names) :] + names[: turn % len(names)]
        for name in order:
            variant = VARIANTS[name]
            paths = photos[variant.exit_early]
            if variant.way != "leafscout":
                paths = photos[True] + photos[False]
            if variant.slow or turn == 0:  # round 0 warms up
                paths = [paths[turn % len(paths)]]
            for path in paths:
                servers[name].ask(path, keep=turn > 0)
        print(f"round {turn} of {rounds}", flush=True)
    return {name: _summarise(server, server.end()) for name, server in servers.items()}


def _summarise(server: Server, end: dict[str, Any]) -> dict[str, Any]:
    stages = {stage: [] for row in server.rows for stage in row["stages"]}
    for row in server.rows:
        for stage, values in stages.items():
            values.append(1000 * row["stages"].get(stage, 0.0))
    return {
        "cpu_ms": summarise([1000 * row["cpu_s"] for row in server.rows]),
        "wall_ms": summarise([1000 * row["wall_s"] for row in server.rows]),
        "stages_cpu_ms": {stage: summarise(values)["median"] for stage, values in stages.items()},
        **server.ready,
        **end,
    }


def find_best(figures: dict[str, Any], group: str) -> str | None:
    """The fastest variant of a group."""
    names = [name for name in figures if VARIANTS[name].group == group]
    return min(names, key=lambda name: figures[name]["cpu_ms"]["median"], default=None)


def compare(figures: dict[str, Any]) -> dict[str, Any]:
    """How many times faster, and how much less memory, than each baseline at its best."""
    baselines = {group: find_best(figures, group) for group in ("a", "a tuned", "b", "b tuned")}
    out: dict[str, Any] = {}
    for name, own in figures.items():
        if VARIANTS[name].group[0] not in "cde":
            continue
        out[name] = {
            f"against {base}": {
                "times_faster": figures[base]["cpu_ms"]["median"] / own["cpu_ms"]["median"],
                "between": [
                    figures[base]["cpu_ms"]["low_quartile"] / own["cpu_ms"]["high_quartile"],
                    figures[base]["cpu_ms"]["high_quartile"] / own["cpu_ms"]["low_quartile"],
                ],
                "peak_memory": own["peak_mb"] / figures[base]["peak_mb"],
            }
            for base in baselines.values()
            if base is not None
        }
    return out


def draw(figures: dict[str, Any], path: Path) -> None:
    """Everything on one logarithmic scale, and where the time of the exported models goes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = list(figures)[::-1]
    dear = [name for name in names if VARIANTS[name].group == "d"]
    cheap = [name for name in names if VARIANTS[name].group in ("d small", "e")]
    figure = plt.figure(figsize=(14, 8), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(len(dear) + 1, len(cheap) + 1))
    left = figure.add_subplot(grid[:, 0])
    medians = [figures[name]["cpu_ms"]["median"] for name in names]
    low = [figures[name]["cpu_ms"]["low_quartile"] for name in names]
    high = [figures[name]["cpu_ms"]["high_quartile"] for name in names]
    left.hlines(range(len(names)), low, high, color="0.6", lw=3)
    left.plot(medians, range(len(names)), "o", color="tab:green")
    left.set(xscale="log", title="File to diagnosis, one thread", xlabel="processor ms")
    left.set_yticks(range(len(names)), names)
    left.grid(axis="x", which="both", alpha=0.3)
    shown = dear + cheap
    stages = list(dict.fromkeys(s for name in shown for s in figures[name]["stages_cpu_ms"]))
    for place, rows in ((grid[0, 1], dear), (grid[1, 1], cheap)):
        if rows:
            _draw_stages(figure.add_subplot(place), figures, rows, stages)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    path.write_bytes(buffer.getvalue())
    plt.close(figure)


def _draw_stages(axis: Any, figures: dict[str, Any], rows: list[str], stages: list[str]) -> None:
    """Stacked bars, and the least that any way must spend: the file read once, decoded small."""
    start = np.zeros(len(rows))
    for index, stage in enumerate(stages):
        wide = np.array([figures[name]["stages_cpu_ms"].get(stage, 0.0) for name in rows])
        axis.barh(rows, wide, left=start, label=stage, color=f"C{index}")
        start += wide
    for place, name in enumerate(rows):
        times = figures[name]["stages_cpu_ms"]
        floor = times.get("open", 0.0) + times.get("decode small", 0.0)
        label = None if place else "floor: the file, read once"
        axis.vlines(floor, place - 0.48, place + 0.48, color="black", ls="--", lw=1.5, label=label)
    axis.set(title="Stages of the exported models", xlabel="processor ms, medians")
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", type=Path, default=Path("runs/speed"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", help="beginnings of variants' names")
    parser.add_argument("--serve", choices=VARIANTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    setting = QUICK if given.quick else SpeedSetting()
    work = given.work / "quick" if given.quick and not given.serve else given.work
    if given.serve:
        serve_variant(given.serve, setting, work)
        return
    each = 1 if given.quick else 3
    healthy, diseased = render_jpegs(work / "photos", each, each, setting.photo_px_hw)
    subprocess.run(
        [sys.executable, str(HERE / "speed_models.py"), str(work)]
        + (["--quick"] if given.quick else []),
        check=True,
    )
    starts = given.only or (QUICK_ONES if given.quick else [""])
    names = [name for name in VARIANTS if name.startswith(tuple(starts))]
    rounds = 2 if given.quick else given.rounds
    figures = measure(names, {True: healthy, False: diseased}, rounds, work, quick=given.quick)
    write_result(
        (work if given.quick else HERE / "results") / "file_to_diagnosis.json",
        {
            "what": "file on disk to diagnosis, one photo at a time, one thread; random weights",
            "setting": {key: getattr(setting, key) for key in setting.__dataclass_fields__},
            "photos": {path.name: path.stat().st_size for path in healthy + diseased},
            "rounds": rounds,
            "variants": figures,
            "comparisons": compare(figures),
        },
    )
    draw(figures, work / "speed_stages.png" if given.quick else PICTURE)


if __name__ == "__main__":
    main()
