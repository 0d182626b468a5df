"""Which way of rounding a trained model to int8 changes its answers least?

    leafscout export RUN
    python benchmarks/int8_ways.py RUN --test TEST.csv --photos-root FOLDER
    python benchmarks/int8_ways.py RUN --test TEST.csv --photos-root FOLDER --only nncf

Ranges are measured on training photos; answers are compared with those of the fp32 graphs on
validation photos and on test photos that decided nothing. The second command needs the package
nncf, which no extra of LeafScout installs: it reports its use to a server unless told not to.
Writes results/int8_ways.json; ways that are in it are not run again.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from leafscout.export.calibration_set import CalibrationSet, gather_calibration_set
from leafscout.export.openvino_graphs import convert_graph
from leafscout.export.parity import PhotoAnswer, answer_photo, compare_with_answers
from leafscout.export.quantise import RoundableGraph, measure_ranges
from leafscout.export.sensitivity import rank_layers
from leafscout.inference.round_graphs import OUTPUTS, RANKING_INPUTS
from leafscout.inference.runtimes import StoredModel, open_graphs
from leafscout.manifest import read_manifest
from leafscout.model import GlanceAndFocus
from leafscout.photos.decode import open_photo
from leafscout.types import Pixels
from result_file import write_json
from timing import describe_run

HERE = Path(__file__).parent
NAMES = ("scout", "expert")
PHOTOS = 64
FEW_TILES = 32
FP32 = "fp32"
WAYS: dict[str, tuple[str, str]] = {
    "whole ranges": ("whole", "whole"),
    "whole ranges, 32 tiles": ("few", "few"),
    "99.99% of the values": ("percentile", "percentile"),
    "entropy": ("entropy", "entropy"),
    "scout alone": ("whole", FP32),
    "expert alone": (FP32, "whole"),
    "5% of the layers in fp32": ("keep 0.05", "keep 0.05"),
    "10% of the layers in fp32": ("keep 0.1", "keep 0.1"),
    "20% of the layers in fp32": ("keep 0.2", "keep 0.2"),
    "half of the layers in fp32": ("keep 0.5", "keep 0.5"),
    "scout in fp32, 20% of the expert": (FP32, "keep 0.2"),
    "scout in fp32, half of the expert": (FP32, "keep 0.5"),
    "nncf": ("nncf", "nncf"),
    "nncf, expert alone": (FP32, "nncf"),
}
"""Name → how the scout and how the expert is rounded."""


class Workshop:
    """A model's fp32 graphs, what they are rounded on, and how its rounded twins are judged.

    Args:
        run: with an export in ``exports/onnx``.
        photos: split → paths.
        work: where graphs go.
    """

    def __init__(self, run: Path, photos: dict[str, list[Path]], work: Path) -> None:
        self.folder = run / "exports" / "onnx"
        self.rules = read_manifest(self.folder).rules()
        self.photos, self.work = photos, work
        work.mkdir(parents=True, exist_ok=True)
        model = StoredModel(self.folder, read_manifest(self.folder))
        self.reference = GlanceAndFocus(model.open_networks(1), self.rules)
        self.answers: dict[str, list[PhotoAnswer]] = {
            split: [answer_photo(self.reference, open_photo(path)) for path in photos[split]]
            for split in ("val", "test")
        }
        train = photos["train"]
        train = train[:: max(1, len(train) // PHOTOS)][:PHOTOS]
        self.seen: CalibrationSet = gather_calibration_set(self.reference, train)
        self._graphs: dict[tuple[str, str], RoundableGraph] = {}
        self._ranked: dict[str, tuple[str, ...]] = {}

    def inputs(self, name: str) -> list[Pixels]:
        """Arrays to calibrate on."""
        if name == "scout":
            return [np.ascontiguousarray(one) for one in self.seen.glances]
        return [tile[None] for tile in self.seen.tiles]

    def round(self, name: str, way: str, target: Path) -> None:
        """Write one network's graph, rounded in one way."""
        source = self.folder / f"{name}.onnx"
        if way == FP32:
            shutil.copyfile(source, target)
        elif way.startswith("keep"):
            graph = self._graph(name, "whole")
            if name not in self._ranked:
                some = self.inputs(name)
                some = some[:: max(1, len(some) // RANKING_INPUTS)][:RANKING_INPUTS]
                found = rank_layers(graph, some, outputs=OUTPUTS[name], threads=1)
                self._ranked[name] = tuple(one.layer for one in found)
            count = math.ceil(float(way.split()[1]) * len(graph.layers))
            graph.write(target, keep=self._ranked[name][:count])
        else:
            self._graph(name, way).write(target)

    def _graph(self, name: str, way: str) -> RoundableGraph:
        if (name, way) not in self._graphs:
            some = self.inputs(name)
            if way != "whole":  # histograms take time, and little changes after some tens
                some = some[:: max(1, len(some) // FEW_TILES)][:FEW_TILES]
            method = "whole" if way == "few" else way
            self._graphs[name, way] = measure_ranges(
                self.folder / f"{name}.onnx", some, method=method
            )
        return self._graphs[name, way]

    def judge(self, folder: Path, runtime: str, split: str) -> dict[str, Any]:
        """How the graphs of a folder answer beside the fp32 graphs."""
        model = GlanceAndFocus(open_graphs(folder, runtime, 1), self.rules)
        parity = compare_with_answers(self.answers[split], model, self.photos[split])
        changes = [one.prob_change for one in parity.photos]
        return {
            "photos": len(parity.photos),
            "decisions_changed": len(parity.decisions_changed),
            "choices_changed": len(parity.choices_changed),
            "prob_change_max": max(changes),
            "prob_change_mean": float(np.mean(changes)),
            "logit_cosine": parity.logit_cosine,
        }


def write_nncf(shop: Workshop, name: str, way: str, target: Path) -> None:
    """A network in OpenVINO's format, rounded by NNCF with its bias correction."""
    source = shop.folder / f"{name}.onnx"
    if way == FP32:
        convert_graph(source, target)
        return
    nncf: Any = importlib.import_module("nncf")
    openvino: Any = importlib.import_module("openvino")
    inputs = shop.inputs(name)
    rounded = nncf.quantize(
        openvino.Core().read_model(str(source)), nncf.Dataset(inputs),
        subset_size=min(len(inputs), PHOTOS), preset=nncf.QuantizationPreset.MIXED,
    )  # fmt: skip
    openvino.save_model(rounded, str(target), compress_to_fp16=False)


def measure_way(shop: Workshop, way: str) -> dict[str, Any]:
    """Round in one way and compare."""
    runtime = "openvino" if way.startswith("nncf") else "onnxruntime"
    folder = shop.work / "".join(one if one.isalnum() else "_" for one in way)
    folder.mkdir(exist_ok=True)
    started_s = time.perf_counter()
    for name, how in zip(NAMES, WAYS[way], strict=True):
        if runtime == "openvino":
            write_nncf(shop, name, how, folder / f"{name}.xml")
        else:
            shop.round(name, how, folder / f"{name}.onnx")
    took_s = time.perf_counter() - started_s
    whole = sum((shop.folder / f"{name}.onnx").stat().st_size for name in NAMES)
    own = sum(path.stat().st_size for path in folder.iterdir())
    return {
        "runtime": runtime,
        "scout": WAYS[way][0],
        "expert": WAYS[way][1],
        "bytes_frac": own / whole,
        "took_s": took_s,
        **{split: shop.judge(folder, runtime, split) for split in ("val", "test")},
    }


def list_photos(run: Path, test: Path, root: Path) -> dict[str, list[Path]]:
    """The photos of the run's splits and of the test table."""
    with (run / "splits.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["split"], root / row["image"]) for row in csv.DictReader(file)]
    found = {split: [path for own, path in rows if own == split] for split in ("train", "val")}
    with test.open(encoding="utf-8", newline="") as file:
        found["test"] = [root / row["image"] for row in csv.DictReader(file)]
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--photos-root", type=Path, required=True)
    parser.add_argument("--only", help="beginning of the ways' names")
    parser.add_argument("--work", type=Path, default=Path("runs/int8_ways"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "int8_ways.json")
    given = parser.parse_args(arguments)
    wanted: Callable[[str], bool] = lambda way: (  # noqa: E731
        way.startswith(given.only) if given.only else not way.startswith("nncf")
    )
    shop: Workshop | None = None
    for way in filter(wanted, WAYS):
        result = json.loads(given.out.read_text()) if given.out.exists() else {"ways": {}}
        if way in result["ways"]:
            continue
        shop = shop or Workshop(
            given.run, list_photos(given.run, given.test, given.photos_root), given.work
        )
        row = measure_way(shop, way)
        print(way, json.dumps(row), flush=True)
        origin = describe_run()
        origin["command"] = f"python benchmarks/int8_ways.py {given.run} --test {given.test} …"
        ways = {**result["ways"], way: row}
        result = {
            **origin, "date": time.strftime("%Y-%m-%d"), "run": str(given.run),
            "calibration_photos": len(shop.seen.glances),
            "calibration_tiles": len(shop.seen.tiles),
            "ways": {name: ways[name] for name in WAYS if name in ways},
        }  # fmt: skip
        write_json(given.out, result)


if __name__ == "__main__":
    main()
