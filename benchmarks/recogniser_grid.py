"""Whole-photo recognisers, part by part, on small apple photos: what does each part bring?

    python benchmarks/recogniser_grid.py run [--cell NAME ...] [--seed N ...]
    python benchmarks/recogniser_grid.py report

``LEAFSCOUT_DATA`` names the folder that holds ``apple/`` and ``weights/``. A cell is one network
trained with one seed; each goes to its own file in ``results/recogniser_grid/``, and one that is
there is not run again. The networks are small relatives that begin at chance, and MobileNetV2 with
its pretrained weights; they learn from 800 photos of 96 px. What they reach says nothing about the
large, pretrained ones that are published.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import platform
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from leafscout.evaluation.bootstrap import paired_difference
from leafscout.evaluation.by_count import measure_by_count
from leafscout.evaluation.comparison import macro_average_precision, macro_f1
from leafscout.evaluation.json_values import json_safe
from leafscout.evaluation.metrics import evaluate_labels
from leafscout.inference.load import Model, load
from leafscout.photos.decode import open_photo
from leafscout.photos.fingerprint import fingerprint_many, near_duplicate_groups
from leafscout.photos.labels import read_labels
from leafscout.training.run import TrainOptions, train
from origin import find_data, read_commit
from result_file import write_json

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "recogniser_grid"

SPLITS = {"train": 800, "val": 240, "test": 600}
"""Photos of each; near-duplicates stay together."""

SEEDS = (0, 1, 2)
PHOTO_PX = 96
EPOCHS, MOBILE_EPOCHS = 12, 5
BATCH = 8
PROB_STEPS = 10_000


@dataclass(frozen=True)
class Cell:
    """One kind of model.

    Attributes:
        recipe: its recipe.
        settings: of the recipe, replaced.
        weights: whether it begins with the local MobileNetV2 weights.
        teacher: cell whose features it learns beside the labels; that one is trained first.
    """

    recipe: str
    settings: dict[str, Any] = field(default_factory=dict)
    weights: bool = False
    teacher: str = ""


def _swin(*, psa: bool, head: str = "linear", loss: str = "bce", **more: Any) -> Cell:
    settings = {"polarised": psa, "head": head, "loss": loss, **more}
    return Cell("small_arc_psa_swin", settings)


def _mobile(**more: Any) -> Cell:
    """The one network whose pretrained weights are at hand, with one part or another."""
    settings = {"encoder": "mobilenetv2_100", "epochs": MOBILE_EPOCHS, **more}
    return Cell("small_efficientnet", settings, weights=True)


CELLS: dict[str, Cell] = {
    "swin_bce": _swin(psa=False),
    "swin_focal": _swin(psa=False, loss="focal"),
    "swin_arcface": _swin(psa=False, head="arcface"),
    "swin_psa_bce": _swin(psa=True),
    "swin_psa_focal": _swin(psa=True, loss="focal"),
    "swin_psa_arcface": _swin(psa=True, head="arcface"),
    "eva": Cell("small_eva_stn", {"spatial_transformer": False}),
    "eva_stn": Cell("small_eva_stn", {"transformer_rate": 1.0}),
    "eva_taught": Cell("small_eva_stn", {"spatial_transformer": False}, teacher="mobile"),
    "eva_taught_hidden": Cell(
        "small_eva_stn",
        {"spatial_transformer": False, "hidden_share": 0.4},
        teacher="mobile",
    ),
    "efficientnet": Cell("small_efficientnet"),
    "efficientnet_g16": Cell("small_efficientnet_g16"),
    "mobile": _mobile(),
    "mobile_focal": _mobile(loss="focal"),
    "mobile_arcface": _mobile(head="arcface"),
    "mobile_psa": _mobile(polarised=True),
    "mobile_psa_arcface": _mobile(polarised=True, head="arcface"),
    "mobile_stn": _mobile(spatial_transformer=True, transformer_rate=1.0),
    "mobile_stn_slow": _mobile(spatial_transformer=True, transformer_rate=0.1),
    "mobile_arcface_margin_0": _mobile(head="arcface", margin=0.0),
    "mobile_arcface_margin_02": _mobile(head="arcface", margin=0.2),
    "mobile_arcface_scale_10": _mobile(head="arcface", margin=0.2, scale=10.0),
    "mobile_arcface_scale_64": _mobile(head="arcface", margin=0.2, scale=64.0),
    "mobile_hue_0": _mobile(hue_jitter=0.0),
    "mobile_hue_02": _mobile(hue_jitter=0.2),
    "glance_and_focus": Cell("tiny", {"tile_px": 64, "glance_px": 128, "epochs": 3}),
    "glance_and_focus_mobile": Cell(
        "mobile",
        {"tile_px": 96, "glance_px": 128, "epochs": 4, "scout_epochs": 4},
        weights=True,
    ),
}

PARTS = {
    "focal loss instead of BCE, from chance": [
        ("swin_focal", "swin_bce"),
        ("swin_psa_focal", "swin_psa_bce"),
    ],
    "focal loss instead of BCE, pretrained": [("mobile_focal", "mobile")],
    "ArcFace instead of BCE, from chance": [
        ("swin_arcface", "swin_bce"),
        ("swin_psa_arcface", "swin_psa_bce"),
    ],
    "ArcFace instead of BCE, pretrained": [
        ("mobile_arcface", "mobile"),
        ("mobile_psa_arcface", "mobile_psa"),
    ],
    "polarised attention, from chance": [
        ("swin_psa_bce", "swin_bce"),
        ("swin_psa_focal", "swin_focal"),
        ("swin_psa_arcface", "swin_arcface"),
    ],
    "polarised attention, pretrained": [
        ("mobile_psa", "mobile"),
        ("mobile_psa_arcface", "mobile_arcface"),
    ],
    "spatial transformer, from chance": [("eva_stn", "eva")],
    "spatial transformer, pretrained": [("mobile_stn", "mobile")],
    "spatial transformer at a tenth of the rate, pretrained": [("mobile_stn_slow", "mobile")],
    "features of MobileNetV2 as a lesson, from chance": [("eva_taught", "eva")],
    "features at hidden places as a lesson, from chance": [("eva_taught_hidden", "eva")],
    "groups of 16, expansion 4, from chance": [("efficientnet_g16", "efficientnet")],
    "ArcFace's margin of 0.5 instead of 0, pretrained": [
        ("mobile_arcface", "mobile_arcface_margin_0")
    ],
    "ArcFace's margin of 0.2 instead of 0, pretrained": [
        ("mobile_arcface_margin_02", "mobile_arcface_margin_0")
    ],
    "ArcFace's scale begins at 10 instead of 30, margin 0.2, pretrained": [
        ("mobile_arcface_scale_10", "mobile_arcface_margin_02")
    ],
    "ArcFace's scale begins at 64 instead of 30, margin 0.2, pretrained": [
        ("mobile_arcface_scale_64", "mobile_arcface_margin_02")
    ],
    "hue jitter 0.02 instead of 0, pretrained": [("mobile", "mobile_hue_0")],
    "hue jitter 0.2 instead of 0, pretrained": [("mobile_hue_02", "mobile_hue_0")],
}
"""What is asked → pairs of cells that differ in that alone: with it, without it."""


def write_split(folder: Path) -> Path:
    """The label file of the photos used, with their splits; always the same ones."""
    out = folder / "labels.csv"
    if out.is_file():
        return out
    source = find_data("apple")
    with (source / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: _digest(row["image"]))
    rows = rows[: sum(SPLITS.values())]
    prints = fingerprint_many([source / "images" / row["image"] for row in rows], workers=1)
    names = [name for name, count in SPLITS.items() for _ in range(count)]
    for group in near_duplicate_groups(prints):
        for index in group:
            names[index] = names[group[0]]
    lines = ["image,labels,split"]
    for row, name in zip(rows, names, strict=True):
        lines.append(f"{row['image']},{row['labels']},{name}")
    folder.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return out


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def run_cell(name: str, seed: int, cache: Path) -> None:
    """Train one cell and keep what it says of the test photos."""
    target = RESULTS / f"{name}-{seed}.json"
    if target.exists():
        return
    cell, data = CELLS[name], write_split(cache)
    source, settings = find_data("apple") / "images", settings_of(cell)
    folder = Path(tempfile.mkdtemp(prefix="leafscout-grid-"))
    try:
        teacher = None
        if cell.teacher:
            teacher = train_cell(CELLS[cell.teacher], seed, data, folder / "teacher")
        started_s = time.process_time()
        run = train_cell(cell, seed, data, folder / "run", teacher)
        trained_s = time.process_time() - started_s
        with (run / "history.csv").open(newline="", encoding="utf-8") as file:
            history = list(csv.DictReader(file))
        record = {"cell": name, "recipe": cell.recipe, "settings": settings, "seed": seed}
        record |= answer_test(load(run, threads=1), data, source)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    record |= {
        "train_cpu_s": round(trained_s, 1),
        "epochs": len(history),
        "val_map": [float(row["val_macro_ap"]) for row in history],
        "train_loss": [float(row["train_loss"]) for row in history],
        "command": f"python benchmarks/recogniser_grid.py run --cell {name} --seed {seed}",
        "commit": read_commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
        "leafscout_settings": {"splits": SPLITS, "photo_px": PHOTO_PX},
    }
    write_json(target, record)


def settings_of(cell: Cell) -> dict[str, Any]:
    """Those of its recipe that are replaced."""
    settings = {"epochs": EPOCHS, **cell.settings}
    if cell.recipe not in ("tiny", "mobile"):
        settings = {"photo_px": PHOTO_PX, "patience": EPOCHS, "batch": BATCH, **settings}
    return settings


def train_cell(cell: Cell, seed: int, data: Path, out: Path, teacher: Path | None = None) -> Path:
    """A run of one cell."""
    weights = find_data("weights") / "mobilenetv2_100.safetensors" if cell.weights else None
    options = TrainOptions(
        weights=weights, seed=seed, photos_root=find_data("apple") / "images", workers=1,
        threads=1, teacher=teacher,
    )  # fmt: skip
    return train(
        data, out, recipe=cell.recipe, overrides=settings_of(cell), options=options,
    )  # fmt: skip


def answer_test(model: Model, data: Path, source: Path) -> dict[str, Any]:
    """Probabilities of the test photos, and what an answer costs."""
    table = read_labels(data, photos_root=source)
    test = table.subset([row for row, split in enumerate(table.splits) if split == "test"])
    core = model.recogniser
    probs, seconds, macs = [], [], []
    for path in test.paths:
        photo = open_photo(path)
        started_s = time.process_time()
        evidence = core.forward(photo)[0]
        probs.append(core.label_probs(evidence))
        seconds.append(time.process_time() - started_s)
        macs.append(core.count_macs(photo.size_px_hw, int(evidence.read.sum())))
    return {
        "labels": list(model.labels),
        "thresholds": [round(float(one), 6) for one in core.rules.thresholds],
        "test_photos": len(test.paths),
        "test_sha256": hashlib.sha256(" ".join(test.names).encode()).hexdigest(),
        "truth": [int("".join(map(str, row.astype(int))), 2) for row in test.truth],
        "probs": np.rint(PROB_STEPS * np.stack(probs)).astype(int).tolist(),
        "parameters": count_parameters(core),
        "macs": float(np.mean(macs)),
        "cpu_ms": 1e3 * float(np.median(seconds)),
    }


def count_parameters(core: Any) -> int:
    """Of all networks of a model."""
    inner = getattr(core, "network", None)
    networks = [inner.network] if inner else [core.networks.scout, core.networks.expert]
    return sum(one.numel() for network in networks for one in network.parameters())


def read_truth(record: dict[str, Any]) -> NDArray[np.bool_]:
    """(photos, labels)."""
    width = len(record["labels"])
    bits = [[int(bit) for bit in format(value, f"0{width}b")] for value in record["truth"]]
    return np.array(bits, dtype=np.bool_)


def read_probs(record: dict[str, Any]) -> NDArray[np.float64]:
    """(photos, labels)."""
    return np.array(record["probs"], dtype=np.float64) / PROB_STEPS


def describe_cell(record: dict[str, Any]) -> dict[str, Any]:
    """The figures of one cell and seed."""
    truth, probs = read_truth(record), read_probs(record)
    thresholds = np.array(record["thresholds"])
    found = evaluate_labels(truth, probs, thresholds, record["labels"], resamples=300)
    rows = [row for row in found.rows if row.positives]
    f1 = {row.label: row.f1.value for row in rows}
    auc = [row.auc.value for row in rows]
    counts = measure_by_count(truth, probs >= thresholds, resamples=0)
    return {
        "seed": record["seed"],
        "macro_f1": found.macro.f1,
        "macro_ap": found.macro.ap,
        "micro_f1": found.micro.f1,
        "micro_ap": found.micro.ap,
        "f1_by_label": f1,
        "weakest_label": min(f1, key=lambda name: f1[name]),
        "weakest_f1": min(f1.values()),
        "f1_spread": float(np.std(list(f1.values()))),
        "auc_spread": float(np.std(auc)),
        "by_count": [
            {"count": row.count, "photos": row.photos, "exact_match": row.exact_match.value,
             "f1": row.f1.value}
            for row in counts
        ],
        "parameters": record["parameters"],
        "macs": record["macs"],
        "cpu_ms": record["cpu_ms"],
        "train_cpu_s": record["train_cpu_s"],
        "epochs": record["epochs"],
        "train_loss_last": record["train_loss"][-1],
    }  # fmt: skip


def compare(pairs: Iterable[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any] | None:
    """Differences of cells that differ in one part, photo by photo and seed by seed.

    The photos of all pairs are joined to one long list, drawn together by photo: the interval
    holds for other photos, and the seeds' own values stand beside it.
    """
    pairs = list(pairs)
    if not pairs:
        return None
    rows: dict[str, Any] = {"pairs": len(pairs)}
    for figure, metric in (("macro_f1", macro_f1), ("macro_ap", macro_average_precision)):
        answers = [_answers(one, figure) + _answers(other, figure)[1:] for one, other in pairs]
        each = [
            paired_difference(metric, truth, a, b, resamples=300).value for truth, a, b in answers
        ]
        joint = [_mean_difference(metric, answers)]
        rows[figure] = {"each": each, "mean": float(np.mean(each)), "interval": joint[0]}
    return rows


def _answers(record: dict[str, Any], figure: str) -> tuple[NDArray[Any], NDArray[Any]]:
    probs = read_probs(record)
    decided = probs >= np.array(record["thresholds"])
    return read_truth(record), decided if figure == "macro_f1" else probs


def _mean_difference(metric: Any, answers: list[Any], resamples: int = 300) -> list[float]:
    """95% interval of the mean difference over pairs, photos drawn with replacement."""
    photos = len(answers[0][0])
    rng = np.random.default_rng(0)
    weights = rng.multinomial(photos, np.full(photos, 1 / photos), size=resamples).astype(float)
    drawn = np.mean(
        [metric(truth, a, weights) - metric(truth, b, weights) for truth, a, b in answers], axis=0
    )
    return [float(one) for one in np.nanquantile(drawn, [0.025, 0.975])]


def report() -> None:
    """Join what was run so far."""
    records = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(RESULTS.glob("*.json"))
    }
    cells: dict[str, list[dict[str, Any]]] = {}
    for name in CELLS:
        found = [describe_cell(records[f"{name}-{s}"]) for s in SEEDS if f"{name}-{s}" in records]
        if found:
            cells[name] = found
    parts = {
        words: compare(
            (records[f"{one}-{seed}"], records[f"{other}-{seed}"])
            for one, other in pairs
            for seed in SEEDS
            if f"{one}-{seed}" in records and f"{other}-{seed}" in records
        )
        for words, pairs in PARTS.items()
    }
    first = next(iter(records.values()))
    truth = read_truth(first)
    write_json(
        RESULTS.parent / "recogniser_grid.json",
        json_safe(
            {
                "cells": cells,
                "parts": {words: found for words, found in parts.items() if found},
                "labels": first["labels"],
                "test_photos": first["test_photos"],
                "test_positives": dict(
                    zip(first["labels"], truth.sum(axis=0).tolist(), strict=True)
                ),
                "splits": SPLITS,
                "photo_px": PHOTO_PX,
                "epochs": EPOCHS,
                "batch": BATCH,
                "seeds": sorted({record["seed"] for record in records.values()}),
                "commits": sorted({record["commit"] for record in records.values()}),
                "command": "python benchmarks/recogniser_grid.py run; "
                "python benchmarks/recogniser_grid.py report",
                "date": max(record["date"] for record in records.values()),
                "machine": first["machine"],
            }
        ),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("--cell", nargs="*", choices=tuple(CELLS), default=tuple(CELLS))
    parser.add_argument("--seed", nargs="*", type=int, default=SEEDS)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "apple_grid")
    options = parser.parse_args()
    if options.what == "report":
        report()
        return
    torch.set_num_threads(1)
    for seed in options.seed:
        for name in options.cell:
            run_cell(name, seed, options.cache)


if __name__ == "__main__":
    main()
