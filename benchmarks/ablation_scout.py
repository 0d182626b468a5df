"""What targets, losses, and the choice of tiles do to the scout, on a small synthetic field.

    python benchmarks/ablation_scout.py render             draw the test sets (once)
    python benchmarks/ablation_scout.py expert [--seed S]...       one expert a seed, reused by all
    python benchmarks/ablation_scout.py run [--row R]... [--seed S]...   train what is missing
    python benchmarks/ablation_scout.py write              join the cells into results/scout.json

The photos are those of ``ablation_field.py`` (render them first), and test sets beside them. All
scouts of a seed learn from the evidence of the same expert. Each cell (a row and a seed) writes its
own file into ``results/ablation_scout/``; cells that are there are not run again. Photos and
networks go to ``runs/ablation_scout``. Boxes of lesions are used for scoring alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import ablation_field as field
from learning_runs import quiet
from origin import read_commit
from result_file import write_json

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "ablation_scout"
WORK = Path(os.environ.get("ABLATION_SCOUT_WORK", HERE.parent / "runs" / "ablation_scout"))
PHOTOS = field.PHOTOS
SIZES_PX = (8, 12, 16, 24, 40, 64)
PHOTOS_A_SIZE = 30
FAINT_PHOTOS = 80
SEEDS = (0, 1, 2)

BASE: dict[str, Any] = {
    **field.BASE,
    **field.EXACT,
    "scout_epochs": 8,
    "border_exponent": 8.0,
}
FOLDS: dict[str, dict[str, Any]] = {
    "out_of_fold_heads": {"scout_folds": 4},
    "out_of_fold": {"scout_folds": 2},
}
"""Whole experts are dear: two folds, each learnt from half of the photos."""

MEAN_TILES = 4
ROWS: dict[str, dict[str, Any]] = {
    "base": {},
    "in_proportion": {"border_exponent": 1.0},
    "activation": {"scout_target": "activation"},
    "rank": {"scout_target": "rank"},
    "pairwise": {"scout_ranking": "pairwise"},
    "listwise": {"scout_ranking": "listwise"},
    "out_of_fold_heads": {"scout_evidence": "out_of_fold_heads", **FOLDS["out_of_fold_heads"]},
    "out_of_fold": {"scout_evidence": "out_of_fold", **FOLDS["out_of_fold"]},
    "quarter_of_tiles": {"scout_tile_share": 0.25},
    "weighted_softmax": {"scout_tuning": "weighted_softmax"},
    "weighted_sigmoid": {"scout_tuning": "weighted_sigmoid"},
    "reinforce": {"scout_tuning": "reinforce"},
    "reinforce_alone": {
        "scout_tuning": "reinforce",
        "scout_tuning_evidence": 0.0,
        "alone": True,
    },
    "reinforce_no_baseline": {
        "scout_tuning": "reinforce",
        "scout_tuning_evidence": 0.0,
        "alone": True,
        "baselines": False,
    },
    "glance_112": {"glance_px": 112},
    "glance_320": {"glance_px": 320},
    "longer": {"scout_epochs": 12},
    "many_scales": {"scout_smallest_glance": 0.4},
}
"""Name of a row → settings of the recipe ``tiny`` that differ from ``BASE``."""


def folder_of(name: str) -> Path:
    """Where the photos of a set are; the main one is that of the expert's ablation."""
    return field.field_folder() if name == "field" else WORK / name


def render() -> None:
    """Draw test photos of one lesion size each, faint ones to choose rules on, and to test on."""
    from leafscout.photos.synthetic import render_field

    WORK.mkdir(parents=True, exist_ok=True)
    settings = field.field_settings()
    clear = replace(
        settings,
        healthy_frac=0.0,
        two_disease_frac=0.0,
        lesions_per_disease=(1, 3),
        contrast_range=(0.8, 1.0),
    )
    faint = replace(settings, contrast_range=(0.1, 0.2), lesion_sizes_px=(24, 32))
    sets = {
        f"size_{size}": (PHOTOS_A_SIZE, replace(clear, lesion_sizes_px=(size,)), size)
        for size in SIZES_PX
    }
    sets |= {"faint_val": (FAINT_PHOTOS, faint, 1000), "faint_test": (FAINT_PHOTOS, faint, 1001)}
    for name, (photos, one, seed) in sets.items():
        if not (WORK / name).exists():
            render_field(
                WORK / name, photos=photos, settings=one, seed=field.FIELD_SEED + seed, workers=1
            )


def read_split(name: str) -> Any:
    """Labels of one split of the field."""
    from leafscout.photos.labels import read_labels

    if name == "test":
        return read_labels(field.field_folder() / "test.csv")
    table = read_labels(field.field_folder() / "learn.csv")
    return table.subset([i for i, split in enumerate(table.splits) if split == name])


def make_recipe(**overrides: Any) -> Any:
    from leafscout.training.recipes import choose_recipe

    return choose_recipe("tiny", {**BASE, **overrides})


def build_fresh(recipe: Any, labels: int, seed: int) -> Any:
    import torch

    from leafscout.networks import build_expert

    torch.manual_seed(seed)
    return build_expert(
        recipe.expert, labels, sharpness=recipe.place_sharpness, place_stride=recipe.place_stride
    )


def loop_options(folder: Path, seed: int) -> Any:
    import torch

    from leafscout.training.loop import LoopOptions

    return LoopOptions(
        folder=folder, seed=seed, time_s=None, device=torch.device("cpu"), mixed_precision=False,
        on_epoch=lambda _: None,
    )  # fmt: skip


def train_expert(seed: int) -> None:
    """Train the expert of a seed and keep its evidence of all photos of the field."""
    import torch

    from leafscout.training.evidence_pass import gather_evidence
    from leafscout.training.expert_stage import ExpertStage
    from leafscout.training.loop import train_stage

    torch.set_num_threads(1)
    folder, recipe = WORK / f"expert_{seed}", make_recipe()
    train, validation, test = (read_split(name) for name in PHOTOS)
    device = torch.device("cpu")
    started = time.process_time()
    expert = build_fresh(recipe, len(train.labels), seed)
    stage = ExpertStage(expert, recipe, train, validation, seed, device, mixed_precision=False)
    train_stage(stage, loop_options(folder / "expert", seed), quiet())
    stage.finish()
    spent = time.process_time() - started
    for name, table in (("train", train), ("val", validation), ("test", test)):
        gather_evidence(
            expert, table.paths, field.TILE_PX, folder / f"{name}.safetensors", device,
            mixed_precision=False, progress=quiet(),
        )  # fmt: skip
    write_json(
        folder / "expert.json", {"seed": seed, "cpu_s": round(spent, 1), **judge_expert(seed)}
    )
    print((folder / "expert.json").read_text(), flush=True)


def fold_evidence(seed: int, kind: str) -> list[np.ndarray]:
    """Evidence out of fold on the training photos; made once and kept."""
    import torch

    from leafscout.training.checkpoint import load_checkpoint
    from leafscout.training.out_of_fold import FoldTraining, gather_out_of_fold

    recipe = make_recipe(**FOLDS[kind], scout_evidence=kind)
    train, validation = read_split("train"), read_split("val")
    expert = build_fresh(recipe, len(train.labels), seed)
    load_checkpoint(WORK / f"expert_{seed}" / "expert" / "best.safetensors", expert, None)
    folder = WORK / f"expert_{seed}" / kind
    work = FoldTraining(
        recipe=recipe, train=train, validation=validation, groups=None, seed=seed,
        device=torch.device("cpu"), mixed_precision=False, folder=folder,
        build=lambda: build_fresh(recipe, len(train.labels), seed),
        loop_options=lambda name: loop_options(folder / name, seed),
    )  # fmt: skip
    return gather_out_of_fold(expert, work, quiet())


def read_evidence(seed: int, split: str) -> list[np.ndarray]:
    from leafscout.training.checkpoint import load_tensors

    found = load_tensors(WORK / f"expert_{seed}" / f"{split}.safetensors")[0]
    return [found[str(index)].numpy().astype(np.float32) for index in range(PHOTOS[split])]


def judge_expert(seed: int) -> dict[str, float]:
    """How well the expert does on the test photos when it reads every tile."""
    from sklearn.metrics import roc_auc_score

    test, evidence = read_split("test"), read_evidence(seed, "test")
    lesion = lesion_tiles("field", test.names)
    bags = np.stack([np.sort(one, axis=0)[-4:].mean(axis=0) for one in evidence])
    loudest = np.concatenate([one.max(axis=1) for one in evidence])
    return {
        "macro_auc": round(float(roc_auc_score(test.truth, bags, average="macro")), 4),
        "tile_auc": round(float(roc_auc_score(np.concatenate(lesion), loudest)), 4),
    }


def read_boxes(name: str) -> dict[str, np.ndarray]:
    """Photo → (lesions, 4) boxes; for scoring alone."""
    boxes: dict[str, list[list[int]]] = {}
    with (folder_of(name) / "truth" / "boxes.csv").open(newline="") as source:
        for row in csv.DictReader(source):
            x, y, w, h = (int(row[key]) for key in ("x_px", "y_px", "width_px", "height_px"))
            boxes.setdefault(Path(row["image"]).name, []).append([x, y, x + w, y + h])
    return {name: np.array(rows) for name, rows in boxes.items()}


def lesion_tiles(name: str, photos: Sequence[str]) -> list[np.ndarray]:
    """Per photo, (tiles,) True where a tile shows a lesion."""
    from leafscout.evaluation.localisation import find_lesion_tiles
    from leafscout.photos.tiles import lay_tiles

    size_px_hw = field.field_settings().size_px_hw
    boxes, tiles = read_boxes(name), lay_tiles(size_px_hw, field.TILE_PX).boxes_px_xyxy
    empty = np.zeros((0, 4), dtype=np.int64)
    return [find_lesion_tiles(tiles, boxes.get(Path(one).name, empty)) for one in photos]


def run_cell(row: str, seed: int) -> dict[str, Any]:
    """Train and score one scout."""
    import torch

    from leafscout.networks import build_scout
    from leafscout.training.checkpoint import load_tensors, save_tensors
    from leafscout.training.loop import train_stage
    from leafscout.training.scout_stage import ScoutStage
    from leafscout.training.scout_tuning import ScoutTuning

    torch.set_num_threads(1)
    settings = dict(ROWS[row])
    alone, baselines = settings.pop("alone", False), settings.pop("baselines", True)
    recipe = make_recipe(**settings)
    train, validation = read_split("train"), read_split("val")
    evidence = read_evidence(seed, "train")
    if recipe.scout_evidence != "same_photos":
        evidence = fold_evidence(seed, recipe.scout_evidence)
    evidence = [
        hide_tiles(one, recipe.scout_tile_share, seed, index) for index, one in enumerate(evidence)
    ]
    started = time.process_time()
    torch.manual_seed(seed)
    scout = build_scout("tiny", len(train.labels))
    stage = ScoutStage(
        scout, recipe, train, validation, evidence, read_evidence(seed, "val"), seed,
        torch.device("cpu"), mixed_precision=False,
    )  # fmt: skip
    folder = WORK / "scouts" / f"{row}_{seed}"
    if recipe.scout_tuning == "none":
        train_stage(stage, loop_options(folder / "scout", seed), quiet())
    else:
        if not alone:
            scout.load_state_dict(load_tensors(WORK / "scouts" / f"base_{seed}.safetensors")[0])
        tuning = ScoutTuning(stage, from_scratch=alone, baselines=baselines)
        train_stage(tuning, loop_options(folder / "tuning", seed), quiet())
    spent = time.process_time() - started
    save_tensors(WORK / "scouts" / f"{row}_{seed}.safetensors", dict(scout.state_dict()), {})
    losses, constants = stage.evidence_losses()
    figures = score_scout(scout, recipe, seed)
    shutil.rmtree(folder, ignore_errors=True)
    return {
        "row": row,
        "seed": seed,
        "settings": {**BASE, **ROWS[row]},
        **{key: round(value, 4) for key, value in figures.items()},
        "loss_of_constant_frac": round(float(losses[0] / constants[0]), 4),
        "cpu_s": round(spent, 1),
        "command": f"python benchmarks/ablation_scout.py run --row {row} --seed {seed}",
        "commit": os.environ.get("ABLATION_COMMIT") or read_commit(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
    }


def see_tiles(scout: Any, recipe: Any, paths: Any) -> list[np.ndarray]:
    """Per photo, (tiles,) scores: logits."""
    import torch

    from leafscout.glance.places import pool_places
    from leafscout.glance.view import take_glance
    from leafscout.networks import to_batch
    from leafscout.photos.loader import load_photos
    from leafscout.photos.tiles import lay_tiles

    scout.eval()
    rows = []
    for _, photo in load_photos(paths, range(len(paths))):
        glance = take_glance(photo, recipe.glance_px).pixels
        with torch.no_grad():
            seen = scout(to_batch(glance[None], torch.device("cpu"))).score_map.numpy()
        tiles = lay_tiles(photo.size_px_hw, recipe.tile_px)
        rows.append(pool_places(seen, tiles, recipe.border_exponent)[:, 0])
    return rows


def score_scout(scout: Any, recipe: Any, seed: int) -> dict[str, float]:
    """What a scout finds on the test photos, and by the size of lesions."""
    from scipy.stats import spearmanr

    from leafscout.evaluation.localisation import count_hits_at_k

    test = read_split("test")
    scores = see_tiles(scout, recipe, test.paths)
    lesion, evidence = lesion_tiles("field", test.names), read_evidence(seed, "test")
    expert = [one.max(axis=1) for one in evidence]
    ill = np.flatnonzero(test.truth.any(axis=1))
    figures = {
        "hits_at_5": mean(count_hits_at_k(scores[i], lesion[i], 5) for i in ill),
        "expert_hits_at_5": mean(count_hits_at_k(expert[i], lesion[i], 5) for i in ill),
        "chance_hits_at_5": mean(5 * lesion[i].mean() / min(5, lesion[i].sum()) for i in ill),
        "spearman_all": float(spearmanr(np.concatenate(scores), np.concatenate(expert))[0]),
        "spearman_in_photo": mean(float(spearmanr(scores[i], expert[i])[0]) for i in ill),
        **budget_figures(scores, lesion, test.truth.any(axis=1)),
        **squared_errors(scores, expert),
    }
    for size in SIZES_PX:
        paths = sorted((WORK / f"size_{size}" / "photos").iterdir())
        seen = see_tiles(scout, recipe, paths)
        marked = lesion_tiles(f"size_{size}", [path.name for path in paths])
        pairs = [(s, m) for s, m in zip(seen, marked, strict=True) if m.any()]
        figures[f"hits_at_5_{size}px"] = mean(count_hits_at_k(s, m, 5) for s, m in pairs)
        figures[f"chance_{size}px"] = mean(5 * m.mean() / min(5, m.sum()) for _, m in pairs)
    return figures


def squared_errors(scores: list[np.ndarray], expert: list[np.ndarray]) -> dict[str, float]:
    """Squared error of the scout's probability against the expert's, and of the best constant."""
    said, wanted = (1 / (1 + np.exp(-np.concatenate(one))) for one in (scores, expert))
    return {"mse_of_constant_frac": float(np.mean((said - wanted) ** 2) / wanted.var())}


def budget_figures(
    scores: list[np.ndarray], lesion: list[np.ndarray], ill: np.ndarray
) -> dict[str, float]:
    """One threshold for all photos that reads ``MEAN_TILES`` tiles a photo on average."""
    everything = np.sort(np.concatenate(scores))
    threshold = everything[-MEAN_TILES * len(scores)]
    read = [one >= threshold for one in scores]
    return {
        "lesion_tiles_kept": float(
            np.concatenate([r[m] for r, m in zip(read, lesion, strict=True)]).mean()
        ),
        "photos_kept": mean(
            bool((r & m).any()) for r, m, one in zip(read, lesion, ill, strict=True) if one
        ),
        "tiles_read_healthy": mean(r.sum() for r, one in zip(read, ill, strict=True) if not one),
    }


def hide_tiles(evidence: np.ndarray, share: float, seed: int, index: int) -> np.ndarray:
    """The expert's evidence of a random share of a photo's tiles; NaN for the others."""
    from leafscout.training.evidence_pass import draw_tile_share

    chosen = draw_tile_share(len(evidence), share, seed, index)
    hidden = np.full_like(evidence, np.nan)
    hidden[chosen] = evidence[chosen]
    return hidden


def mean(values: Any) -> float:
    return float(np.mean([float(value) for value in values]))


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("render", "expert", "folds", "run", "write"))
    parser.add_argument("--row", action="append", choices=sorted(ROWS))
    parser.add_argument("--seed", action="append", type=int)
    options = parser.parse_args()
    if options.command == "render":
        render()
    if options.command == "write":
        write_cells()
    for seed in options.seed or SEEDS:
        if options.command == "expert" and not (WORK / f"expert_{seed}" / "expert.json").exists():
            train_expert(seed)
        if options.command == "folds":
            for kind in FOLDS:
                fold_evidence(seed, kind)
        if options.command == "run":
            run_missing(options.row or list(ROWS), seed)


def run_missing(rows: list[str], seed: int) -> None:
    for row in rows:
        path = RESULTS / f"{row}_{seed}.json"
        if not path.exists():
            write_json(path, run_cell(row, seed))
            print(path.read_text(), flush=True)


def write_cells() -> None:
    """Join the cells, and what is known of the experts, into one file."""
    cells = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    experts = [
        json.loads((WORK / f"expert_{seed}" / "expert.json").read_text())
        for seed in sorted({cell["seed"] for cell in cells})
    ]
    values = {
        "command": "python benchmarks/ablation_scout.py run",
        "commit": " and ".join(sorted({cell["commit"] for cell in cells})),
        "date": max(cell["date"] for cell in cells),
        "seeds": [one["seed"] for one in experts],
        "machine": cells[0]["machine"],
        "photos": PHOTOS,
        "mean_tiles": MEAN_TILES,
        "experts": experts,
        "cells": cells,
    }
    write_json(RESULTS.parent / "scout.json", values)


if __name__ == "__main__":
    main()
