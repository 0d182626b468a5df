"""Whole-photo recognisers on coffee leaves, out of fold, beside glance and focus.

    python benchmarks/coffee.py run --fold 0 --work runs/coffee3      first; fold 1 as well
    python benchmarks/coffee_recognisers.py run [--cell NAME ...] [--fold N ...] [--seed N ...]
    python benchmarks/coffee_recognisers.py report

MobileNetV2 from local ImageNet weights sees each leaf of 2048×1024 px squeezed to a square, and
differs in its loss and head alone. Folds, training and validation photos are those of
``coffee.py``, whose answers (``COFFEE_RUNS``, by default ``runs/coffee3``) stand beside these.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from coffee import write_fold_tables
from leafscout.evaluation.bootstrap import paired_difference
from leafscout.evaluation.by_count import measure_by_count
from leafscout.evaluation.comparison import macro_average_precision, macro_f1
from leafscout.evaluation.json_values import json_safe
from leafscout.evaluation.metrics import evaluate_labels
from leafscout.evaluation.scores import plain_weights
from leafscout.inference.load import Model, load
from leafscout.nn.polarised_attention import PlaceAttention
from leafscout.photos.labels import read_labels
from leafscout.recogniser_model import RecogniserModel
from leafscout.recogniser_networks import TorchPhotoNetwork
from leafscout.training.run import TrainOptions, train
from origin import find_data, read_commit
from result_file import write_json

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "coffee_recognisers"
RUNS = Path(os.environ.get("COFFEE_RUNS", HERE.parent / "runs" / "coffee3"))
FOLDS = (0, 1)
SEEDS = (0, 1)
"""Differences from glance and focus, which has one seed, are those of the first."""
REFERENCE = "glance_and_focus"
SETTINGS = {
    "encoder": "mobilenetv2_100", "photo_px": 192, "epochs": 8, "batch": 8, "patience": 8,
}  # fmt: skip
CELLS: dict[str, dict[str, Any]] = {
    "bce": {},
    "focal": {"loss": "focal"},
    "arcface": {"head": "arcface", "margin": 0.2},
    "polarised": {"polarised": True},
}
LESION_CELL, LEAF_CELL = 0.02, 0.5
"""Share of a cell of the attention that is lesion, or else leaf, for it to count as such."""


def cell_file(name: str, fold: int, seed: int) -> Path:
    """Where the answers of one recogniser are kept."""
    return RESULTS / (f"{name}_{fold}.json" if seed == 0 else f"{name}_{fold}_{seed}.json")


def run_cell(name: str, fold: int, seed: int, work: Path) -> None:
    """Train one recogniser on the other folds and keep what it says of this one."""
    target = cell_file(name, fold, seed)
    if target.exists():
        return
    train_csv, test_csv = write_fold_tables(fold, work)
    data = find_data("coffee")
    started_s = time.process_time()
    run = train(
        train_csv,
        work / f"{name}_{fold}_{seed}",
        recipe="small_efficientnet",
        overrides={**SETTINGS, **CELLS[name]},
        options=TrainOptions(
            weights=data.parent / "weights" / "mobilenetv2_100.safetensors", seed=seed,
            photos_root=data / "images", threads=1, workers=1,
        ),
    )  # fmt: skip
    trained_s = time.process_time() - started_s
    model = load(run, threads=1)
    table = read_labels(test_csv, photos_root=data / "images")
    answers = [model.diagnose(path) for path in table.paths]
    diagnoses = [answer.diagnosis for answer in answers]
    write_json(
        target,
        {
            "cell": name,
            "fold": fold,
            "seed": seed,
            "settings": {**SETTINGS, **CELLS[name]},
            "labels": list(model.labels),
            "images": [Path(one).name for one in table.names],
            "probs": [np.round(one.label_probs, 5).tolist() for one in diagnoses],
            "found": [
                (one.label_probs >= one.thresholds).astype(int).tolist() for one in diagnoses
            ],
            "macs": diagnoses[0].cost.macs,
            "attention": measure_attention(model, table.paths, data / "masks"),
            "train_cpu_s": round(trained_s, 1),
            "command": f"python benchmarks/coffee_recognisers.py run --cell {name} --fold {fold} "
            f"--seed {seed}",
            "commit": read_commit(),
            "date": datetime.now(UTC).date().isoformat(),
            "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
        },
    )


def measure_attention(model: Model, paths: Sequence[Path], masks: Path) -> list[dict[str, float]]:
    """Weights of polarised attention on lesions, on the rest of the leaf and beside it.

    One entry for each photo with lesions, none of a network without such attention; ``auc`` is the
    chance that a cell with lesion weighs more than one of healthy leaf.
    """
    core = model.recogniser
    if not isinstance(core, RecogniserModel) or not isinstance(core.network, TorchPhotoNetwork):
        raise SystemExit("Expected a recogniser with its weights.")
    places = [one for one in core.network.network.modules() if isinstance(one, PlaceAttention)]
    if not places:
        return []
    heard: list[torch.Tensor] = []
    handle = places[0].register_forward_hook(
        lambda module, inputs, _output: heard.append(module.weights(inputs[0]))
    )
    rows = []
    for path in paths:
        model.diagnose(path)
        weights = heard.pop()[0, 0].numpy()
        with Image.open(masks / f"{path.stem}.png") as picture:
            mask = np.array(picture.convert("RGB"))
        lesion = _shares((mask[..., 0] > 128) & (mask[..., 1] < 128), weights.shape)
        leaf = _shares((mask > 128).any(axis=2), weights.shape)
        on_lesion = lesion >= LESION_CELL
        on_leaf = (leaf >= LEAF_CELL) & (lesion == 0)
        if not on_lesion.any() or not on_leaf.any():
            continue
        above = weights[on_lesion][:, None] > weights[on_leaf][None]
        beside = weights[leaf == 0]
        rows.append(
            {
                "lesion": float(weights[on_lesion].mean()),
                "leaf": float(weights[on_leaf].mean()),
                "background": float(beside.mean()) if beside.size else float("nan"),
                "auc": float(above.mean()),
            }
        )
    handle.remove()
    return rows


def _shares(mask: NDArray[np.bool_], cells: tuple[int, int]) -> NDArray[np.float64]:
    """(rows, columns) the share of each cell of a grid over a mask that is inside it."""
    rows, columns = (
        np.arange(side) * count // side for side, count in zip(mask.shape, cells, strict=True)
    )
    summed = np.zeros(cells)
    np.add.at(summed, (rows[:, None], columns[None]), mask)
    return summed / np.outer(np.bincount(rows), np.bincount(columns))


class Answers:
    """What one model says of the photos of all folds, in the order of their names.

    Args:
        images: names.
        labels: of the columns.
        probs: (photos, labels).
        found: (photos, labels) 0 or 1.
        macs: multiply-adds a photo, on average.
    """

    def __init__(
        self, images: list[str], labels: list[str], probs: Any, found: Any, macs: float
    ) -> None:
        order = np.argsort(images)
        columns = np.argsort(labels)
        self.images = sorted(images)
        self.labels = sorted(labels)
        self.probs: NDArray[np.float64] = np.array(probs, dtype=np.float64)[order][:, columns]
        self.found: NDArray[np.bool_] = np.array(found, dtype=np.bool_)[order][:, columns]
        self.macs = macs


def read_reference() -> tuple[Answers, NDArray[np.bool_], list[str]]:
    """Glance and focus with the truth, and the commits of its runs."""
    rows: list[dict[str, str]] = []
    macs = []
    for fold in FOLDS:
        run = RUNS / f"fold{fold}_seed0"
        with (run / "per_photo_0.csv").open(newline="") as file:
            rows += list(csv.DictReader(file))
        manifest = json.loads((run / "model" / "manifest.json").read_text())
        macs.append(float(manifest["expert_macs"]))
    labels = sorted(key.removeprefix("truth_") for key in rows[0] if key.startswith("truth_"))

    def read(prefix: str) -> list[list[float]]:
        return [[float(row[f"{prefix}_{label}"]) for label in labels] for row in rows]

    shares = [float(row["macs_share"]) * int(row["tiles_total"]) for row in rows]
    answers = Answers(
        [row["image"] for row in rows], labels, read("prob"), read("found"),
        float(np.mean(shares) * np.mean(macs)),
    )  # fmt: skip
    order = np.argsort([row["image"] for row in rows])
    return answers, np.array(read("truth"), dtype=np.bool_)[order], labels


def _mean_attention(records: Sequence[dict[str, Any]]) -> dict[str, float] | None:
    """Means over photos with lesions, and how many there are."""
    rows = [row for record in records for row in record.get("attention", ())]
    if not rows:
        return None
    means = {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}
    return {**means, "photos": len(rows)}


def join_folds(some: Sequence[dict[str, Any]]) -> Answers:
    """What the models of all folds say, each of its own fold."""
    return Answers(
        [image for one in some for image in one["images"]],
        some[0]["labels"],
        [row for one in some for row in one["probs"]],
        [row for one in some for row in one["found"]],
        float(some[0]["macs"]),
    )


def report() -> None:
    """Join the cells of all folds."""
    reference, truth, labels = read_reference()
    models = {REFERENCE: reference}
    records: list[dict[str, Any]] = []
    again: dict[str, list[Answers]] = {}
    for name in CELLS:
        for seed in SEEDS:
            parts = [cell_file(name, fold, seed) for fold in FOLDS]
            if not all(path.exists() for path in parts):
                continue
            some = [json.loads(path.read_text()) for path in parts]
            records += some
            answers = join_folds(some)
            if seed == SEEDS[0]:
                models[name] = answers
            else:
                again.setdefault(name, []).append(answers)
    rows, weights = [], plain_weights(len(truth))
    for name, one in models.items():
        if one.images != reference.images or one.labels != labels:
            raise SystemExit(f"{name} answers for other photos or labels than {REFERENCE}.")
        # Thresholds differ between folds: what was found is 0 or 1, and half a unit decides.
        half = np.full(len(labels), 0.5)
        ranked = evaluate_labels(truth, one.probs, half, labels)
        decided = evaluate_labels(truth, one.found.astype(float), half, labels)
        f1 = {row.label: row.f1.value for row in decided.rows}
        rows.append(
            {
                "model": name,
                "macro_ap": ranked.macro.ap,
                "micro_ap": ranked.micro.ap,
                "macro_f1": decided.macro.f1,
                "micro_f1": decided.micro.f1,
                "f1_by_label": f1,
                "weakest_label": min(f1, key=lambda label: f1[label]),
                "by_count": measure_by_count(truth, one.found, resamples=0),
                "macs": one.macs,
                "other_seeds": [
                    {
                        "macro_ap": float(macro_average_precision(truth, two.probs, weights)[0]),
                        "macro_f1": float(macro_f1(truth, two.found, weights)[0]),
                    }
                    for two in again.get(name, ())
                ],
                "attention": _mean_attention([one for one in records if one["cell"] == name]),
                "minus_reference": {
                    "macro_ap": paired_difference(
                        macro_average_precision, truth, one.probs, reference.probs
                    ),
                    "macro_f1": paired_difference(macro_f1, truth, one.found, reference.found),
                },
            }
        )
    write_json(
        RESULTS.parent / "coffee_recognisers.json",
        json_safe(
            {
                "rows": rows,
                "photos": len(truth),
                "folds": list(FOLDS),
                "settings": SETTINGS,
                "command": "python benchmarks/coffee_recognisers.py run; "
                "python benchmarks/coffee_recognisers.py report",
                "commit": ", ".join(sorted({one["commit"][:10] for one in records})),
                "date": max(one["date"] for one in records),
                "machine": records[0]["machine"],
            }
        ),
    )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("--cell", nargs="*", choices=tuple(CELLS), default=tuple(CELLS))
    parser.add_argument("--fold", nargs="*", type=int, default=FOLDS)
    parser.add_argument("--seed", nargs="*", type=int, default=SEEDS)
    options = parser.parse_args()
    if options.what == "report":
        report()
        return
    with tempfile.TemporaryDirectory(prefix="leafscout-coffee-") as work:
        for seed, name, fold in product(options.seed, options.cell, options.fold):
            run_cell(name, fold, seed, Path(work))


if __name__ == "__main__":
    main()
