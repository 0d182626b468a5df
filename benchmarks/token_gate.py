"""The integrated variant: one network whose early layers drop tokens, against its dense self.

    python benchmarks/token_gate.py render           draw the photos (once)
    python benchmarks/token_gate.py run [--seed S]... [--row R]...   train what is missing
    python benchmarks/token_gate.py time [--seed S]...   wall time, on a quiet core

Photos are 384×512 px, their views 288×384 px, 432 tokens of 16 px, learnt from scratch on one
core. For each seed the network learns first without any price on tokens; every row goes on from
these weights for as many epochs, the dense one as well. Rows and seeds have a file each in
``results/token_gate/``; those that are there are not run again. Boxes of lesions are used for
scoring alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from learning_runs import quiet, write_label_lists
from origin import read_commit
from result_file import write_json

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "token_gate"
WORK = Path(os.environ.get("LEAFSCOUT_RUNS", HERE.parent / "runs")) / "token_gate"
FIELD_SEED = 20260301
PHOTOS = {"train": 120, "val": 60, "test": 120}
SEEDS = (0, 1, 2)
FIRST_EPOCHS, FURTHER_EPOCHS = 8, 4
FIRST_RATE, FURTHER_RATE = 2e-3, 1e-3
FIRST_MEASURED = (1, 2, 4, 8)
VIEW_PX = 384
GRADIENT_BAGS = 100
FIRST = "start"
LEARNT = "learnt"
ROWS: dict[str, dict[str, Any]] = {
    LEARNT: {"gate_weight": 0.2},
    "dense": {"gate_kind": "open", "gate_weight": 0.0},
    "magnitude": {"gate_kind": "straight_through", "gate_weight": 0.0},
    "random": {"gate_kind": "straight_through", "gate_weight": 0.0},
    "no_cost": {"gate_weight": 0.0},
    "cost_0.05": {"gate_weight": 0.05},
    "cost_1": {"gate_weight": 1.0},
    "straight_through": {"gate_kind": "straight_through", "gate_weight": 0.2},
    "hinge": {"gate_budget": "hinge", "gate_weight": 20.0},
}
"""Name of a row → settings of the recipe ``gated`` that it goes on with."""

FIXED = ("magnitude", "random")
"""Gates that are not learnt: they keep the same share of validation tokens as ``LEARNT``."""


def field_folder() -> Path:
    return WORK / "field"


def render() -> None:
    from leafscout.photos.synthetic import FieldSettings, render_field

    settings = FieldSettings(
        size_px_hw=(384, 512),
        diseases=("powdery_mildew",),
        lesion_sizes_px=(24, 32, 48),
        contrast_range=(0.8, 1.0),
        lesions_per_disease=(2, 8),
        stand_in_frac=0.0,
        distractors_per_photo=(1, 4),
    )
    folder, total = field_folder(), sum(PHOTOS.values())
    if folder.exists():
        raise SystemExit(f"{folder} exists already.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    render_field(folder, photos=total, settings=settings, seed=FIELD_SEED, workers=1)
    write_label_lists(folder, PHOTOS, {"splits": tuple(PHOTOS)})


def read_tables() -> dict[str, Any]:
    """Split → its photos."""
    from leafscout.photos.labels import read_labels

    table = read_labels(field_folder() / "splits.csv")
    return {
        name: table.subset([i for i, split in enumerate(table.splits) if split == name])
        for name in PHOTOS
    }


def read_boxes() -> dict[str, np.ndarray]:
    """Photo → (lesions, 4) boxes."""
    boxes: dict[str, list[list[int]]] = {}
    with (field_folder() / "truth" / "boxes.csv").open(newline="") as source:
        for row in csv.DictReader(source):
            x, y, width, height = (
                int(row[key]) for key in ("x_px", "y_px", "width_px", "height_px")
            )
            boxes.setdefault(Path(row["image"]).name, []).append([x, y, x + width, y + height])
    return {name: np.array(found) for name, found in boxes.items()}


def recipe_of(row: str) -> Any:
    from leafscout.training.gated_recipe import choose_gated_recipe

    if row == FIRST:
        recipe = choose_gated_recipe("gated", {"glance_px": VIEW_PX, "gate_weight": 0.0})
        epochs, rate = FIRST_EPOCHS, FIRST_RATE
    else:
        given = {"glance_px": VIEW_PX, "gate_warmup_epochs": 0, **ROWS[row]}
        recipe = choose_gated_recipe("gated", given)
        epochs, rate = FURTHER_EPOCHS, FURTHER_RATE
    return replace(recipe, stage=replace(recipe.stage, epochs=epochs, learning_rate=rate))


def make_stage(row: str, seed: int) -> Any:
    import torch

    from leafscout.training.gate_stage import GateStage
    from leafscout.training.gated_run import build_network

    tables, recipe = read_tables(), recipe_of(row)
    network = build_network(recipe, len(tables["train"].labels), seed)
    return GateStage(
        network, recipe, tables["train"], tables["val"], seed, torch.device("cpu"),
        mixed_precision=False,
    )  # fmt: skip


def weights_file(row: str, seed: int) -> Path:
    return WORK / f"{row}_{seed}.safetensors"


def learn(stage: Any, row: str, seed: int) -> list[dict[str, Any]]:
    """Train a stage to its end; what the gates mean for the loss, epoch by epoch."""
    import shutil

    from leafscout.training.checkpoint import save_tensors
    from leafscout.training.loop import LoopOptions, train_stage

    slopes: list[dict[str, Any]] = []

    def measure(rows: list[dict[str, Any]]) -> None:
        if row == LEARNT or (row == FIRST and rows[-1]["epoch"] in FIRST_MEASURED):
            found = measure_gradients(stage)
            slopes.append({"epoch": rows[-1]["epoch"], "val_macro_ap": rows[-1]["val_macro_ap"]})
            slopes[-1] |= found
            print(json.dumps(slopes[-1]), flush=True)

    folder = WORK / f"{row}_{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    options = LoopOptions(
        folder=folder, seed=seed, time_s=None, device=stage.device, mixed_precision=False,
        on_epoch=measure,
    )  # fmt: skip
    train_stage(stage, options, quiet())
    shutil.rmtree(folder, ignore_errors=True)
    save_tensors(weights_file(row, seed), stage.network.state_dict(), {"row": row})
    return slopes


def measure_gradients(stage: Any) -> dict[str, Any]:
    """Slopes d L_cls / d gate on lesion tokens and on all others, meaned over diseased photos."""
    import torch

    from leafscout.glance.view import take_glance
    from leafscout.networks import to_batch
    from leafscout.photos.decode import open_photo

    table, boxes = read_tables()["train"], read_boxes()
    diseased = np.flatnonzero(table.truth.any(axis=1))[:GRADIENT_BAGS]
    means, kept_lesion = [], []
    for index in diseased:
        photo = open_photo(table.paths[index])
        pixels = take_glance(photo, VIEW_PX).pixels
        lesion = lesion_tokens(photo.size_px_hw, boxes[Path(table.names[index]).name])
        slopes, kept = stage.gate_gradients(
            to_batch(pixels[None], stage.device), torch.from_numpy(table.truth[[index]]).float()
        )
        values = slopes.numpy()
        means.append(
            (values[lesion].mean(), values[~lesion].mean(), np.abs(values[~lesion]).mean())
        )
        kept_lesion.append(float(kept.numpy()[lesion].mean()))
    lesion_mean, other_mean, other_size = np.mean(means, axis=0)
    return {
        "bags": len(diseased),
        "lesion": float(lesion_mean),
        "other": float(other_mean),
        "ratio": float(-lesion_mean / other_size) if other_size else None,
        "lesion_tokens_kept": float(np.mean(kept_lesion)),
    }


def lesion_tokens(size_px_hw: tuple[int, int], boxes: np.ndarray) -> np.ndarray:
    """(tokens,) whether a token shows a lesion."""
    from leafscout.evaluation.localisation import find_lesion_tiles
    from leafscout.gated_model import lay_tokens
    from leafscout.glance.view import glance_size_px_hw

    view = glance_size_px_hw(size_px_hw, VIEW_PX)
    tokens = lay_tokens(size_px_hw, view, (view[0] // 16, view[1] // 16), 16)
    return find_lesion_tiles(tokens.boxes_px_xyxy, boxes)


def run_cell(row: str, seed: int) -> dict[str, Any]:
    """Train and score one row with one seed."""
    import torch

    from leafscout.training.checkpoint import load_tensors

    torch.set_num_threads(1)
    started_cpu, started = time.process_time(), time.perf_counter()
    stage = make_stage(row, seed)
    if row != FIRST:
        state = load_tensors(weights_file(FIRST, seed))[0]
        stage.network.load_state_dict(state)
    if row in FIXED:
        learnt = json.loads(result_file(LEARNT, seed).read_text())
        stage.network.gate = fixed_gate(row, stage, learnt["val_kept_share"])
    slopes = learn(stage, row, seed)
    if row in FIXED:
        learnt = json.loads(result_file(LEARNT, seed).read_text())
        stage.network.gate = fixed_gate(row, stage, learnt["val_kept_share"])
    figures = score(stage)
    return {
        "row": row,
        "seed": seed,
        "settings": ROWS.get(row, {"gate_weight": 0.0}),
        **figures,
        "slopes": slopes,
        "cpu_s": round(time.process_time() - started_cpu, 1),
        "wall_s": round(time.perf_counter() - started, 1),
        "command": f"python benchmarks/token_gate.py run --row {row} --seed {seed}",
        "commit": read_commit(),
        "date": datetime.now(tz=UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
    }


def fixed_gate(row: str, stage: Any, share: float) -> Any:
    """A gate that is not learnt, set to keep a share of the validation photos' tokens."""
    import torch
    from torch import nn

    from leafscout.networks import to_batch
    from leafscout.recognisers.token_gate import token_magnitudes

    class MagnitudeGate(nn.Module):
        def __init__(self, threshold: float) -> None:
            super().__init__()
            self.threshold = threshold

        def forward(self, tokens: Any) -> Any:
            return token_magnitudes(tokens).detach() - self.threshold

    class RandomGate(nn.Module):
        def forward(self, tokens: Any) -> Any:
            return torch.where(torch.rand(tokens.shape[:2]) < share, 1.0, -1.0)

    if row == "random":
        torch.manual_seed(stage.seed)
        return RandomGate()
    with torch.no_grad():
        sizes = [
            token_magnitudes(stage.network.embed(to_batch(view[None], stage.device)).values)
            for view in stage._validation_views()
        ]
    return MagnitudeGate(float(torch.quantile(torch.cat(sizes).flatten(), 1.0 - share)))


def deployed(stage: Any) -> tuple[Any, Any]:
    """The model with its rules fitted on the validation photos, and those rules."""
    from leafscout.gated_model import GatedModel
    from leafscout.gated_networks import TorchTokenNetwork
    from leafscout.training.gated_run import first_rules, fit_gated_rules

    stage.network.eval()
    rules = first_rules(stage.recipe, stage.train.labels)
    if stage.recipe.gate_kind == "open":
        rules = replace(rules, choice=replace(rules.choice, threshold_prob=0.0))
    model = GatedModel(TorchTokenNetwork(stage.network, stage.device), rules)
    fitted = fit_gated_rules(model, stage.validation, quiet())
    return GatedModel(model.network, fitted.rules), fitted


def score(stage: Any) -> dict[str, Any]:
    """Test photos, as deployed: dropped tokens are not there."""
    from sklearn.metrics import f1_score, roc_auc_score

    from leafscout.photos.decode import open_photo

    model, _ = deployed(stage)
    test, boxes = read_tables()["test"], read_boxes()
    probs, kept, macs, lesion_kept, lesions = [], [], [], [], []
    for path, name in zip(test.paths, test.names, strict=True):
        photo = open_photo(path)
        evidence, _ = model.forward(photo)
        probs.append(model.label_probs(evidence))
        kept.append(float(evidence.read.mean()))
        size = photo.size_px_hw
        macs.append(
            model.count_macs(size, int(evidence.read.sum())) / model.count_macs_all_tiles(size)
        )
        if Path(name).name in boxes:
            lesion = lesion_tokens(size, boxes[Path(name).name])
            lesion_kept.append(float(evidence.read[lesion].mean()))
            lesions.append(bool(evidence.read[lesion].any()))
    truth, scores = test.truth, np.stack(probs)
    diseased = truth.any(axis=1)
    found = scores >= np.asarray(model.rules.thresholds)
    shares, costs = np.array(kept), np.array(macs)
    val_kept = [
        float(model.network.run(view, model.rules.choice.threshold_prob).read.mean())
        for view in stage._validation_views()
    ]
    return {
        "macro_auc": float(roc_auc_score(truth, scores, average="macro")),
        "auc": [float(roc_auc_score(truth[:, c], scores[:, c])) for c in range(truth.shape[1])],
        "macro_f1": float(f1_score(truth, found, average="macro", zero_division=0)),
        "recall": float(found[truth].mean()),
        "kept_healthy": float(shares[~diseased].mean()),
        "kept_diseased": float(shares[diseased].mean()),
        "kept": float(shares.mean()),
        "val_kept_share": float(np.mean(val_kept)),
        "lesion_tokens_kept": float(np.mean(lesion_kept)),
        "photos_with_a_lesion_token": float(np.mean(lesions)),
        "macs_share": float(costs.mean()),
        "macs_share_healthy": float(costs[~diseased].mean()),
        "macs_share_diseased": float(costs[diseased].mean()),
    }


def measure_time(seed: int) -> dict[str, Any]:
    """Milliseconds a photo, the dense network and the one that drops in turns."""
    import torch

    from leafscout.glance.view import take_glance
    from leafscout.photos.decode import open_photo
    from leafscout.training.checkpoint import load_tensors

    torch.set_num_threads(1)
    test = read_tables()["test"]
    stages = {row: make_stage(row, seed) for row in ("dense", LEARNT)}
    networks = {}
    for row, stage in stages.items():
        stage.network.load_state_dict(load_tensors(weights_file(row, seed))[0])
        networks[row] = deployed(stage)[0]
    views = [take_glance(open_photo(path), VIEW_PX).pixels for path in test.paths]
    diseased = test.truth.any(axis=1)
    ms: dict[str, list[float]] = {row: [] for row in networks}
    for turn, view in enumerate([views[0], *views]):
        for row, model in networks.items():
            started = time.perf_counter()
            model.network.run(view, model.rules.choice.threshold_prob)
            if turn:
                ms[row].append(1000 * (time.perf_counter() - started))
    ratio = np.array(ms[LEARNT]) / np.array(ms["dense"])
    return {
        "seed": seed,
        "dense_ms": statistics.median(ms["dense"]),
        "gated_ms": statistics.median(ms[LEARNT]),
        "ratio": float(np.median(ratio)),
        "ratio_healthy": float(np.median(ratio[~diseased])),
        "ratio_diseased": float(np.median(ratio[diseased])),
        "photos": len(views),
        "command": f"python benchmarks/token_gate.py time --seed {seed}",
        "commit": read_commit(),
        "date": datetime.now(tz=UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
    }


def result_file(row: str, seed: int) -> Path:
    return RESULTS / f"{row}_{seed}.json"


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("render", "run", "time"))
    parser.add_argument("--row", action="append", choices=[FIRST, *ROWS])
    parser.add_argument("--seed", action="append", type=int)
    options = parser.parse_args()
    if options.command == "render":
        render()
        return
    for seed in options.seed or SEEDS:
        if options.command == "time":
            write_json(result_file("time", seed), measure_time(seed))
            continue
        for row in options.row or [FIRST, *ROWS]:
            path = result_file(row, seed)
            if path.exists() and weights_file(row, seed).exists():
                continue
            cell = run_cell(row, seed)
            write_json(path, cell)
            shown = ("row", "seed", "macro_auc", "macro_f1", "kept_healthy", "kept_diseased")
            print(json.dumps({key: cell[key] for key in shown}), flush=True)


if __name__ == "__main__":
    main()
