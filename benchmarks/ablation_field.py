"""What the objective, the pooling and sparsity do to the expert, on a small synthetic field.

    python benchmarks/ablation_field.py render              draw the photos (once)
    python benchmarks/ablation_field.py run [--row R]... [--seed S]...   train what is missing
    python benchmarks/ablation_field.py foreground          what a colour threshold throws away
    python benchmarks/ablation_field.py report              join what was run so far

Photos are 320×416 px with 35 tiles of 64 px, so that a cell (a row of the table and a seed) trains
from scratch in about a minute on one core. Each cell writes its own file into
``results/ablation_field/``; cells that are there are not run again. ``report`` joins them into
``results/field.json``. Photos and runs go to ``runs/ablation_field``. Boxes of lesions and
distractors are used for scoring alone.

The field was settled on one run of the rows ``exact_negatives`` and ``copied_label`` of seed 0,
before any other cell: on a larger one (750×1000 px, more weeds) a network of this size learns too
little in two minutes to tell objectives apart.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from learning_runs import LEARN_AND_TEST, quiet, write_label_lists
from origin import read_commit
from result_file import write_json

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "ablation_field"
WORK = HERE.parent / "runs" / "ablation_field"
FIELD_SEED = 20260201
PHOTOS = {"train": 160, "val": 40, "test": 100}
SEEDS = (0, 1, 2)
TILE_PX, GLANCE_PX = 64, 208
TILE_PROB, LOW_PROB = 0.5, 0.1

BASE: dict[str, Any] = {
    "tile_px": TILE_PX,
    "glance_px": GLANCE_PX,
    "expert_epochs": 12,
    "scout_epochs": 4,
    "exact_negative_weight": 0.0,
    "copied_label_frac": 0.0,
    "border_exponent": 1.0,
}
"""Places at a tile's border count in proportion: all rows were run before there was another way."""
EXACT: dict[str, Any] = {"exact_negative_weight": 0.5}
ROWS: dict[str, dict[str, Any]] = {
    "resized_photo": {},
    "copied_label": {"bag_objective": "copied_label"},
    "copied_label_longer": {"bag_objective": "copied_label", "expert_epochs": 24},
    "copied_label_longest": {"bag_objective": "copied_label", "expert_epochs": 36},
    "copied_label_smoothed": {"bag_objective": "copied_label_smoothed"},
    "copied_label_smoothed_0.3": {
        "bag_objective": "copied_label_smoothed",
        "label_smoothing": 0.3,
    },
    "copied_label_foreground": {"bag_objective": "copied_label", "foreground_only": True},
    "background_class": {"bag_objective": "background_class"},
    "mil_max": {"pooling": "max"},
    "mil_mean": {"pooling": "mean"},
    "mil_top_k_mean": {"pooling": "top_k_mean"},
    "mil_log_sum_exp": {"pooling": "log_sum_exp"},
    "mil_noisy_or": {"pooling": "noisy_or"},
    "mil_attention": {"pooling": "attention"},
    "mil_gated_attention": {"pooling": "gated_attention"},
    "mil_transformer": {"pooling": "top_k_mean", "context_pooling": "transformer"},
    "mil_graph": {"pooling": "top_k_mean", "context_pooling": "graph"},
    "exact_negatives": EXACT,
    "copied_label_first": {**EXACT, "copied_label_frac": 0.25},
    "exact_negatives_longer": {**EXACT, "expert_epochs": 18},
    "exact_negatives_late_attention_longer": {
        **EXACT,
        "exact_negative_warmup_epochs": 4,
        "pooling": "attention",
        "expert_epochs": 18,
    },
    "exact_negatives_attention": {**EXACT, "pooling": "attention"},
    "exact_negatives_late": {**EXACT, "exact_negative_warmup_epochs": 4},
    "exact_negatives_late_attention": {
        **EXACT,
        "exact_negative_warmup_epochs": 4,
        "pooling": "attention",
    },
    "instance_dropout": {**EXACT, "best_tile_dropout": 0.2},
    "instance_dropout_0.4": {**EXACT, "best_tile_dropout": 0.4},
    "instance_dropout_longer": {**EXACT, "best_tile_dropout": 0.2, "expert_epochs": 18},
    "sparsity": {**EXACT, "sparsity_weight": 1.0, "sparsity_warmup_epochs": 4},
    "sparsity_from_start": {**EXACT, "sparsity_weight": 1.0, "sparsity_warmup_epochs": 0},
    "sparsity_dropout_longer": {
        **EXACT,
        "sparsity_weight": 1.0,
        "sparsity_warmup_epochs": 0,
        "best_tile_dropout": 0.2,
        "expert_epochs": 18,
    },
    "light_sparsity_dropout_longer": {
        **EXACT,
        "sparsity_weight": 0.3,
        "sparsity_warmup_epochs": 0,
        "best_tile_dropout": 0.2,
        "expert_epochs": 18,
    },
    "mil_sparsity": {"sparsity_weight": 1.0, "sparsity_warmup_epochs": 4},
    "mil_sparsity_from_start": {"sparsity_weight": 1.0, "sparsity_warmup_epochs": 0},
}
"""Name of a row → settings of the recipe ``tiny`` that differ from ``BASE``.

A step of ``copied_label`` costs less than half of one that ranks all tiles first;
``copied_label_longer`` gets about the same time instead of the same epochs, and
``copied_label_longest`` about that of the rows that learn half as long again.
"""

COLUMNS = (
    "macro_auc",
    "macro_f1",
    "macro_auc_all_tiles",
    "context_macro_auc",
    "tile_auc",
    "false_tiles_per_healthy_photo",
    "weed_tile_prob",
    "lesion_tile_prob",
    "background_tiles_from_0.1",
    "lesion_tiles_from_0.1",
    "lesion_tiles_kept",
    "attention_on_lesions",
    "macs_share",
    "cpu_s",
)


FURTHER_COLUMNS = (
    "whole_lesion_tiles_from_0.1",
    "cut_lesion_tiles_from_0.1",
    "healthy_tiles_in_diseased",
    "tiles_said_healthy_in_diseased",
    "tiles_truly_healthy_in_diseased",
)


def field_settings() -> Any:
    """The field: what a network of this size can learn from scratch, with weeds in every photo."""
    from leafscout.photos.synthetic import FieldSettings

    return FieldSettings(
        size_px_hw=(320, 416),
        diseases=("powdery_mildew", "rust"),
        lesion_sizes_px=(16, 24, 32),
        contrast_range=(0.8, 1.0),
        lesions_per_disease=(2, 6),
        stand_in_frac=0.15,
        distractors_per_photo=(1, 3),
    )


def field_folder() -> Path:
    return WORK / "small"


def render() -> None:
    from leafscout.photos.synthetic import render_field

    if field_folder().exists():
        raise SystemExit(f"{field_folder()} exists already.")
    WORK.mkdir(parents=True, exist_ok=True)
    total = sum(PHOTOS.values())
    render_field(
        field_folder(), photos=total, settings=field_settings(), seed=FIELD_SEED, workers=1
    )
    write_label_lists(field_folder(), PHOTOS, LEARN_AND_TEST)


def run_cell(row: str, seed: int) -> dict[str, Any]:
    """Train and score one cell."""
    from leafscout.photos.labels import read_labels

    test = read_labels(field_folder() / "test.csv")
    started_cpu, started = time.process_time(), time.perf_counter()
    measure = measure_resized if row == "resized_photo" else measure_expert
    out = WORK / f"{row}_{seed}"
    shutil.rmtree(out, ignore_errors=True)
    figures = measure(row, seed, out, test)
    shutil.rmtree(out, ignore_errors=True)
    return {
        "row": row,
        "seed": seed,
        "settings": {**BASE, **ROWS[row]},
        **{key: None if value is None else round(value, 4) for key, value in figures.items()},
        "cpu_s": round(time.process_time() - started_cpu, 1),
        "wall_s": round(time.perf_counter() - started, 1),
        "command": f"python benchmarks/ablation_field.py run --row {row} --seed {seed}",
        "commit": read_commit(),
        "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
    }


def measure_expert(row: str, seed: int, out: Path, test: Any) -> dict[str, float | None]:
    from leafscout.training.run import TrainOptions, train

    train(
        field_folder() / "learn.csv",
        out,
        recipe="tiny",
        overrides={**BASE, **ROWS[row]},
        options=TrainOptions(seed=seed, threads=1, workers=1),
        progress=quiet(),
    )
    return score_run(row, seed, out, test)


def score_run(row: str, seed: int, out: Path, test: Any) -> dict[str, float | None]:
    """Photos and tiles of the test split, as the trained run sees them."""
    from leafscout.diagnosis.calibrate import sigmoid
    from leafscout.glance.choose import choose_tiles
    from leafscout.inference.load import load
    from leafscout.photos.decode import decode_photo

    core = load(out).core
    rules = core.rules
    probs, logits_all, tiles_seen, shares = [], [], [], []
    kept: list[float] = []
    attention: list[float] = []
    marks = read_marks()
    for path, name in zip(test.paths, test.names, strict=True):
        photo = decode_photo(path)
        # Every tile is read once; what is deployed is what the choice would have left of it.
        everything, tiles = core.forward(photo, read_all=True)
        read = choose_tiles(
            sigmoid(everything.scout_logits).astype(np.float32),
            sigmoid(everything.glance_logits).astype(np.float32),
            rules.choice,
        )
        deployed = replace(everything, read=read, focus_logits=core.pool(everything, read))
        probs.append(core.label_probs(deployed))
        logits_all.append(everything.focus_logits)
        labelled = test.truth[len(probs) - 1]
        marked = marks.get(Path(name).name, ([], []))
        lesion, weed = mark_tiles(tiles.boxes_px_xyxy, marked)
        whole = lesion & show_half(tiles.boxes_px_xyxy, marked[0])
        tiles_seen.append((sigmoid(everything.tile_logits).max(axis=1), lesion, weed, whole))
        if lesion.any():
            scores = everything.attention_logits[:, labelled].astype(float)
            shares_of = np.exp(scores - scores.max(axis=0))
            attention.append(float((shares_of / shares_of.sum(axis=0))[lesion].sum(axis=0).mean()))
        kept.extend(read[lesion].astype(float))
        macs = core.count_macs(photo.size_px_hw, int(read.sum()))
        shares.append(macs / (rules.expert_macs * len(tiles)))
    figures = score_photos(test.truth, np.stack(probs), np.asarray(rules.thresholds))
    figures |= score_tiles(tiles_seen, ~test.truth.any(axis=1))
    figures["macro_auc_all_tiles"] = macro_auc(test.truth, np.stack(logits_all))
    figures["context_macro_auc"] = score_context(row, seed, out, test)
    figures["lesion_tiles_kept"] = float(np.mean(kept))
    uses_attention = rules.pooling in ("attention", "gated_attention")
    figures["attention_on_lesions"] = float(np.mean(attention)) if uses_attention else None
    figures["macs_share"] = float(np.mean(shares))
    return figures


def score_context(row: str, seed: int, out: Path, test: Any) -> float | None:
    """AUC of the pooling over all tiles' features, which only training has."""
    import torch

    from leafscout.networks import build_expert
    from leafscout.photos.decode import decode_photo
    from leafscout.training.bag_objective import heads_of, tile_cells
    from leafscout.training.checkpoint import load_checkpoint
    from leafscout.training.expert_stage import ExpertStage
    from leafscout.training.recipes import choose_recipe

    recipe = choose_recipe("tiny", {**BASE, **ROWS[row]})
    if recipe.context_pooling == "none":
        return None
    device = torch.device("cpu")
    expert = build_expert(
        recipe.expert,
        len(test.labels),
        sharpness=recipe.place_sharpness,
        place_stride=recipe.place_stride,
    )
    stage = ExpertStage(expert, recipe, test, test, seed, device, mixed_precision=False)
    load_checkpoint(out / "checkpoints" / "expert" / "best.safetensors", expert, None)
    expert.eval()
    heads = heads_of(expert)
    if heads is None or heads.context is None:
        raise SystemExit(f"The row {row} has no context pooling.")
    rows = []
    for path in test.paths:
        seen, tiles = stage.look(decode_photo(path))
        expert.eval()
        with torch.no_grad():
            rows.append(
                heads.context(
                    seen.features[None],
                    seen.tile_logits[None],
                    tile_cells(tiles, device)[None],
                    torch.ones(1, len(tiles), dtype=torch.bool),
                )[0].numpy()
            )
    return macro_auc(test.truth, np.stack(rows))


def measure_resized(row: str, seed: int, out: Path, test: Any) -> dict[str, float | None]:
    """One network on the photo made as small as the glance: as many epochs as the expert."""
    del row
    import torch

    from leafscout.diagnosis.calibrate import fit_calibration
    from leafscout.evaluation.thresholds import best_f1_thresholds
    from leafscout.focus.expert import EXPERT_STRIDE
    from leafscout.nn.backbones import build_backbone
    from leafscout.photos.labels import read_labels
    from leafscout.training.loop import LoopOptions, train_stage
    from leafscout.training.recipes import choose_recipe
    from leafscout.training.resized_baseline import ResizedPhotoNetwork, ResizedPhotoStage

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    table = read_labels(field_folder() / "learn.csv")
    parts = [
        table.subset([i for i, split in enumerate(table.splits) if split == name])
        for name in ("train", "val")
    ]
    network = ResizedPhotoNetwork(build_backbone("tiny", stride=EXPERT_STRIDE), len(table.labels))
    stage = ResizedPhotoStage(
        network, choose_recipe("tiny", BASE), *parts, GLANCE_PX, seed, torch.device("cpu"),
        mixed_precision=False,
    )  # fmt: skip
    # Its photos are small and its steps cheap: it gets three times the epochs of the expert.
    stage.settings = replace(stage.settings, epochs=3 * BASE["expert_epochs"], patience=20)
    options = LoopOptions(
        folder=out, seed=seed, time_s=None, device=torch.device("cpu"), mixed_precision=False,
        on_epoch=lambda _: None,
    )  # fmt: skip
    train_stage(stage, options, quiet())
    known = stage.predict(parts[1].paths)
    calibration = fit_calibration(known, parts[1].truth)
    thresholds = best_f1_thresholds(parts[1].truth, calibration.apply(known)).thresholds
    figures: dict[str, float | None] = dict.fromkeys((*COLUMNS[:-1], *FURTHER_COLUMNS))
    return figures | score_photos(
        test.truth, calibration.apply(stage.predict(test.paths)), thresholds
    )


def read_marks() -> dict[str, tuple[list[list[int]], list[list[int]]]]:
    """Photo → boxes of lesions, and of distractors."""
    marks: dict[str, tuple[list[list[int]], list[list[int]]]] = {}
    for kind, file in enumerate(("boxes.csv", "distractors.csv")):
        with (field_folder() / "truth" / file).open(newline="") as source:
            for row in csv.DictReader(source):
                x, y, width, height = (
                    int(row[key]) for key in ("x_px", "y_px", "width_px", "height_px")
                )
                both = marks.setdefault(Path(row["image"]).name, ([], []))
                both[kind].append([x, y, x + width, y + height])
    return marks


def mark_tiles(
    tiles: np.ndarray, marks: tuple[list[list[int]], list[list[int]]]
) -> tuple[np.ndarray, np.ndarray]:
    """(tiles,) with a lesion; and with a distractor but no lesion."""
    from leafscout.evaluation.localisation import find_lesion_tiles

    lesion, distractor = (
        find_lesion_tiles(tiles, np.array(boxes)) if boxes else np.zeros(len(tiles), dtype=bool)
        for boxes in marks
    )
    return lesion, distractor & ~lesion


def show_half(tiles: np.ndarray, boxes: list[list[int]]) -> np.ndarray:
    """(tiles,) whether a tile shows at least half of some lesion's box."""
    from leafscout.evaluation.localisation import find_lesion_tiles

    if not boxes:
        return np.zeros(len(tiles), dtype=bool)
    # No lesion has so many pixels, so that half of one is asked for in all.
    return find_lesion_tiles(tiles, np.array(boxes), min_lesion_px=TILE_PX**4)


def score_photos(truth: np.ndarray, probs: np.ndarray, thresholds: np.ndarray) -> dict[str, Any]:
    from sklearn.metrics import f1_score

    return {
        "macro_auc": macro_auc(truth, probs),
        "macro_f1": float(f1_score(truth, probs >= thresholds, average="macro", zero_division=0)),
    }


def macro_auc(truth: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, scores, average="macro"))


def score_tiles(seen: list[tuple[Any, Any, Any, Any]], healthy: np.ndarray) -> dict[str, Any]:
    from sklearn.metrics import roc_auc_score

    probs, lesion, weed, whole = (np.concatenate(part) for part in zip(*seen, strict=True))
    ill, ill_lesion = (
        np.concatenate([one[part] for one, ok in zip(seen, healthy, strict=True) if not ok])
        for part in (0, 1)
    )
    false_tiles = [(one[0] >= TILE_PROB).sum() for one, ok in zip(seen, healthy, strict=True) if ok]
    return {
        "tile_auc": float(roc_auc_score(lesion, probs)),
        "false_tiles_per_healthy_photo": float(np.mean(false_tiles)),
        "weed_tile_prob": float(probs[weed].mean()),
        "lesion_tile_prob": float(probs[lesion].mean()),
        "background_tiles_from_0.1": float((probs[~lesion] >= LOW_PROB).mean()),
        "lesion_tiles_from_0.1": float((probs[lesion] >= LOW_PROB).mean()),
        "whole_lesion_tiles_from_0.1": float((probs[whole] >= LOW_PROB).mean()),
        "cut_lesion_tiles_from_0.1": float((probs[lesion & ~whole] >= LOW_PROB).mean()),
        "healthy_tiles_in_diseased": float((ill[~ill_lesion] < TILE_PROB).mean()),
        "tiles_said_healthy_in_diseased": float((ill < TILE_PROB).mean()),
        "tiles_truly_healthy_in_diseased": float((~ill_lesion).mean()),
    }


def measure_foreground() -> None:
    """What a colour threshold that drops all-green tiles does to lesions and weeds."""
    from leafscout.photos.decode import decode_photo
    from leafscout.photos.foreground import find_foreground_tiles
    from leafscout.photos.labels import read_labels
    from leafscout.photos.tiles import cut_tiles, lay_tiles

    marks, counts = read_marks(), np.zeros((3, 2), dtype=int)
    test = read_labels(field_folder() / "test.csv")
    for path, name in zip(test.paths, test.names, strict=True):
        photo = decode_photo(path)
        tiles = lay_tiles(photo.size_px_hw, TILE_PX)
        found = find_foreground_tiles(cut_tiles(photo.pixels, tiles))
        lesion, weed = mark_tiles(tiles.boxes_px_xyxy, marks.get(Path(name).name, ([], [])))
        for row, group in enumerate((lesion, weed, ~lesion & ~weed)):
            counts[row] += [int(found[group].sum()), int(group.sum())]
    groups = ("lesion_tiles", "weed_tiles", "other_tiles")
    write_json(
        RESULTS.parent / "field_foreground.json",
        {
            "kept": {
                name: {"kept": int(row[0]), "tiles": int(row[1])}
                for name, row in zip(groups, counts, strict=True)
            },
            **describe_origin("foreground"),
        },
    )


def describe_origin(command: str) -> dict[str, Any]:
    return {
        "command": f"python benchmarks/ablation_field.py {command}",
        "commit": read_commit(),
        "date": time.strftime("%Y-%m-%d"),
        "seed": FIELD_SEED,
        "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
    }


def report() -> None:
    """Join the cells: mean and spread over the seeds of every row and column."""
    cells = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    rows = []
    for row in ROWS:
        mine = [cell for cell in cells if cell["row"] == row]
        if not mine:
            continue
        figures = {
            column: {"mean": statistics.mean(found), "each": found}
            for column in (*COLUMNS, *FURTHER_COLUMNS)
            if (found := [cell[column] for cell in mine if cell.get(column) is not None])
        }
        rows.append({"row": row, "seeds": [cell["seed"] for cell in mine], "figures": figures})
    commits = sorted({cell["commit"][:10] for cell in cells})
    write_json(
        RESULTS.parent / "field.json",
        {"rows": rows, "photos": PHOTOS, **describe_origin("run"), "commit": ", ".join(commits)},
    )


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("render", "run", "foreground", "report"))
    parser.add_argument("--row", action="append", choices=sorted(ROWS))
    parser.add_argument("--seed", action="append", type=int)
    options = parser.parse_args()
    if options.command == "render":
        render()
    elif options.command == "foreground":
        measure_foreground()
    elif options.command == "report":
        report()
    else:
        RESULTS.mkdir(parents=True, exist_ok=True)
        for seed in options.seed or SEEDS:
            for row in options.row or ROWS:
                path = RESULTS / f"{row}_{seed}.json"
                if path.exists():
                    continue
                cell = run_cell(row, seed)
                write_json(path, cell)
                print(
                    json.dumps({"row": row, "seed": seed, **{k: cell[k] for k in COLUMNS}}),
                    flush=True,
                )


if __name__ == "__main__":
    main()
