"""Glance and focus on the rendered field at a quarter of its side: accuracy, cost, what is kept.

    python benchmarks/quarter_field.py render              draw the photos (once)
    python benchmarks/quarter_field.py run [--row R]... [--seed S]...    train what is missing
    python benchmarks/quarter_field.py misses              which tiles are taken for lesion tiles
    python benchmarks/quarter_field.py report              join the seeds, and draw them

Photos are 750×1000 px with 88 tiles of 96 px: the geometry of 3000×4000 photos and tiles of 384 px,
with every length a quarter. Networks learn from scratch, which two cores can train. The expert is
four times as wide as the scout, so that looking closely everywhere is dear, as with real experts.
A glance of 480 px is half the side here and would be an eighth of a whole photo's.

The settings were found on the validation photos of seed 0. On a harder field, with lesions from 10
px and half the contrast, with stand-ins, an expert this small found too little from 320 photos in
thirty epochs (macro-AP on validation photos 0.7) for anything to be said about glance and focus.

Boxes of lesions are used for scoring alone. Each seed writes its own file into
``results/quarter_field/``; ``report`` joins them into ``results/quarter_field.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from learning_runs import LEARN_AND_TEST, quiet, write_label_lists
from origin import read_commit
from result_file import write_json

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "quarter_field"
WORK = HERE.parent / "runs" / "quarter_field"
PICTURE = HERE.parent / "docs" / "pictures" / "quarter_hits.svg"
FIELD_SEED = 20260301
PHOTOS = {"train": 200, "val": 60, "test": 200}
SEEDS = (0, 1, 2)
LESIONS_PX = (16, 24, 40)
"""Of the photos learnt from and tested on: 64 to 160 px in a photo of 3000×4000."""
SHOWN_PX = (6, 8, 10, 16, 24, 40)
"""Sizes of the photos that show lesions of one size each."""
SHOWN_PHOTOS = 40
HITS_AT = 5
RECIPE: dict[str, Any] = {
    "expert": "tiny_wide",
    "scout": "tiny_narrow",
    "tile_px": 96,
    "glance_px": 480,
    "max_tiles_frac": 0.08,
    "expert_epochs": 16,
    "scout_epochs": 16,
    "border_exponent": 1.0,
}

SURER_SCOUT: dict[str, Any] = {"scout_epochs": 48, "scout_ranking": "pairwise"}
ROWS: dict[str, dict[str, Any]] = {
    "base": {},
    "surer_scout": SURER_SCOUT,
    "higher_threshold": {**SURER_SCOUT, "keep_recall": 0.9},
    "strict_borders": {**SURER_SCOUT, "border_exponent": 8.0},
}
"""Name of a row → settings that differ. All rows of a seed have the same expert; those after the
first were added when healthy photos of the first were seen to cost more than was wished, and the
last one when ``misses`` had shown which tiles the scout takes for those with a lesion."""


def field_settings(**changes: Any) -> Any:
    """The field: two clear diseases, and now and then a spot that is none of them."""
    from leafscout.photos.synthetic import FieldSettings

    settings: dict[str, Any] = {
        "size_px_hw": (750, 1000),
        "diseases": ("powdery_mildew", "rust"),
        "lesion_sizes_px": LESIONS_PX,
        "contrast_range": (0.8, 1.0),
        "lesions_per_disease": (3, 12),
        "stand_in_frac": 0.0,
        "distractors_per_photo": (0, 2),
    }
    return FieldSettings(**{**settings, **changes})


def render() -> None:
    """Draw the photos of all seeds' runs, and those that show one size of lesions each."""
    from leafscout.photos.synthetic import render_field

    whole = WORK / "field"
    if not whole.exists():
        WORK.mkdir(parents=True, exist_ok=True)
        photos = sum(PHOTOS.values())
        render_field(whole, photos=photos, settings=field_settings(), seed=FIELD_SEED, workers=1)
        write_label_lists(whole, PHOTOS, LEARN_AND_TEST)
    for size_px in SHOWN_PX:
        folder = WORK / f"lesions_{size_px}"
        if not folder.exists():
            changed = field_settings(
                lesion_sizes_px=(size_px,), healthy_frac=0.0, two_disease_frac=0.0
            )
            render_field(
                folder, photos=SHOWN_PHOTOS, settings=changed, seed=FIELD_SEED + size_px, workers=1
            )


def run_cell(row: str, seed: int) -> dict[str, Any]:
    """Train one model, evaluate it with its baselines, and show its scout lesions by size."""
    from leafscout.inference.evaluate import evaluate_run

    out, field = WORK / f"{row}_{seed}", WORK / "field"
    started = time.process_time()
    train_row(row, seed, out)
    trained_s = time.process_time() - started
    summary = evaluate_run(
        out, field / "test.csv", baselines=True, boxes=field / "truth" / "boxes.csv", seed=seed,
        baseline_px=RECIPE["glance_px"] if (row, seed) == ("base", 0) else None, progress=quiet(),
    ).to_dict()  # fmt: skip
    return {
        "row": row,
        "seed": seed,
        "settings": {**RECIPE, **ROWS[row]},
        "train_cpu_s": round(trained_s, 1),
        "evaluation": {
            key: summary[key] for key in ("labels", "baselines", "cost", "localisation", "notes")
        },
        "sizes": {str(size_px): show_lesions(out, size_px) for size_px in SHOWN_PX},
        "command": f"python benchmarks/quarter_field.py run --row {row} --seed {seed}",
        "commit": read_commit(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
    }


def train_row(row: str, seed: int, out: Path) -> None:
    """Train a run; a row after the first begins with the first one's finished expert."""
    from leafscout.training.recipes import choose_recipe
    from leafscout.training.run import TrainOptions, train

    settings, base = {**RECIPE, **ROWS[row]}, WORK / f"base_{seed}"
    if row != "base" and not out.exists():
        if not (base / "model" / "manifest.json").is_file():
            raise SystemExit(
                f"Run the row base of seed {seed} first: {row} begins with its expert."
            )
        left_out = shutil.ignore_patterns("model", "scout", "resized_photo_*", "evaluation*")
        shutil.copytree(base, out, ignore=left_out)
        plan = json.loads((out / "plan.json").read_text())
        plan["recipe"] = choose_recipe("tiny", settings).to_dict()
        (out / "plan.json").write_text(json.dumps(plan))
    resume = (out / "plan.json").is_file()
    options = TrainOptions(seed=seed, threads=1, workers=1, resume=resume)
    train(
        WORK / "field" / "learn.csv", out, recipe="tiny", overrides=settings, options=options,
        progress=quiet(),
    )  # fmt: skip


def scout_lesions(run: Path, size_px: int) -> Iterator[tuple[Any, Any]]:
    """What the scout says of each photo with lesions of one size, and where they are."""
    from leafscout.evaluation.localisation import find_lesion_tiles
    from leafscout.inference.lesion_truth import read_lesion_truth
    from leafscout.inference.load import load
    from leafscout.model import GlanceAndFocus
    from leafscout.photos.decode import decode_photo
    from leafscout.photos.labels import read_labels

    core = load(run).core
    if not isinstance(core, GlanceAndFocus):
        raise SystemExit(f"{run} is no model of two stages.")
    folder = WORK / f"lesions_{size_px}"
    truth, table = read_lesion_truth(folder / "truth" / "boxes.csv", None), read_labels(folder)
    for path, name in zip(table.paths, table.names, strict=True):
        scouted = core.scout(core.take_glance(decode_photo(path)))
        lesions = truth.lesions(name)
        if lesions is not None and find_lesion_tiles(scouted.tiles.boxes_px_xyxy, lesions).any():
            yield scouted, lesions


def show_lesions(run: Path, size_px: int) -> dict[str, float]:
    """What the scout says of photos whose lesions all have one size; the expert is not asked."""
    from leafscout.evaluation.localisation import hits_at_k, lesion_kept

    hits, kept, chance, read = [], [], [], []
    for scouted, lesions in scout_lesions(run, size_px):
        boxes = scouted.tiles.boxes_px_xyxy
        hits.append(hits_at_k(scouted.scout_logits, boxes, lesions, HITS_AT))
        chance.append(hits_at_k(np.zeros(len(boxes)), boxes, lesions, HITS_AT))
        kept.append(float(lesion_kept(scouted.read, boxes, lesions)))
        read.append(float(scouted.read.sum()))
    return {
        "photos": len(hits),
        "hits": round(float(np.mean(hits)), 4),
        "by_chance": round(float(np.mean(chance)), 4),
        "lesion_kept": round(float(np.mean(kept)), 4),
        "tiles_read": round(float(np.mean(read)), 2),
    }


def count_misses(run: Path, size_px: int) -> dict[str, int]:
    """Where the scout's best tiles lie, on photos whose lesions all have one size.

    Of each photo the best ``HITS_AT``, or as many as there are lesion tiles: on a lesion, beside a
    lesion tile (the eight around it), or elsewhere.
    """
    from leafscout.evaluation.localisation import find_lesion_tiles

    counts = {"lesion": 0, "beside": 0, "elsewhere": 0}
    for scouted, lesions in scout_lesions(run, size_px):
        boxes = scouted.tiles.boxes_px_xyxy
        shows = find_lesion_tiles(boxes, lesions)
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        best = np.argsort(-scouted.scout_logits, kind="stable")
        for tile in best[: min(HITS_AT, int(shows.sum()))]:
            apart_px = np.abs(middles[shows] - middles[tile]).max(axis=1).min()
            beside = apart_px <= RECIPE["tile_px"]
            counts["lesion" if shows[tile] else "beside" if beside else "elsewhere"] += 1
    return counts


def write_misses() -> None:
    """Count misses of every run with the surer scout that is there."""
    rows = []
    for row in ("surer_scout", "strict_borders"):
        for seed in SEEDS:
            run = WORK / f"{row}_{seed}"
            if (run / "model" / "manifest.json").is_file():
                sizes = {str(size): count_misses(run, size) for size in LESIONS_PX}
                rows.append({"row": row, "seed": seed, "sizes": sizes})
                print(row, seed, sizes, flush=True)
    write_json(
        RESULTS.parent / "quarter_field_misses.json",
        {
            "command": "python benchmarks/quarter_field.py misses",
            "commit": read_commit(),
            "date": time.strftime("%Y-%m-%d"),
            "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
            "photos": SHOWN_PHOTOS,
            "hits_at": HITS_AT,
            "rows": rows,
        },
    )


def report() -> None:
    """Join what was run."""
    order = list(ROWS)
    cells = [json.loads(path.read_text()) for path in RESULTS.glob("*.json")]
    if not cells:
        raise SystemExit("Nothing has been run: python benchmarks/quarter_field.py run")
    cells.sort(key=lambda cell: (order.index(cell["row"]), cell["seed"]))
    for cell in cells:
        for other in cell["evaluation"]["baselines"].values():
            other["labels"] = {"macro": other["labels"]["macro"]}
        cell["evaluation"]["labels"] = {"macro": cell["evaluation"]["labels"]["macro"]}
    write_json(
        RESULTS.parent / "quarter_field.json",
        {
            "command": "python benchmarks/quarter_field.py run",
            "commit": ", ".join(sorted({cell["commit"][:10] for cell in cells})),
            "date": max(cell["date"] for cell in cells),
            "machine": cells[0]["machine"],
            "photos": PHOTOS,
            "field_seed": FIELD_SEED,
            "shown_photos": SHOWN_PHOTOS,
            "hits_at": HITS_AT,
            "cells": cells,
        },
    )
    plot_sizes(cells)


def plot_sizes(cells: list[dict[str, Any]]) -> None:
    """Hits and photos kept against the size of lesions: a line for the mean, a dot for a seed."""
    import matplotlib as mpl

    mpl.use("svg")
    # A fixed salt and no date: the same figures give the same file.
    mpl.rcParams.update({"svg.hashsalt": "quarter field", "font.size": 9})
    from matplotlib import pyplot as plt

    names = {
        "base": ("as first set up", "#999999"),
        "surer_scout": ("surer scout", "#0072b2"),
        "strict_borders": ("surer scout, strict borders", "#009e73"),
    }
    whole_px = [4 * size for size in SHOWN_PX]
    figure, pair = plt.subplots(1, 2, figsize=(9.5, 3.6), sharey=True)
    for axes, key in zip(pair, ("hits", "lesion_kept"), strict=True):
        for row, (name, colour) in names.items():
            seeds = [
                [cell["sizes"][str(size)][key] for size in SHOWN_PX]
                for cell in cells
                if cell["row"] == row
            ]
            if seeds:
                axes.plot(whole_px, np.mean(seeds, axis=0), color=colour, label=name)
                for values in seeds:
                    axes.plot(whole_px, values, ".", color=colour)
        axes.set(xscale="log", xlabel="lesion, pixels of a photo of 12 megapixels", ylim=(0, 1.02))
        axes.set_xticks(whole_px, [str(size) for size in whole_px])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    chance = [cells[0]["sizes"][str(size)]["by_chance"] for size in SHOWN_PX]
    pair[0].plot(whole_px, chance, ":", color="black", label="by chance")
    pair[0].set(title=f"lesion tiles among the best {HITS_AT}", ylabel="share")
    pair[1].set(title="photos that keep a lesion tile")
    pair[0].legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 0.12))
    figure.tight_layout()
    figure.savefig(PICTURE, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Read the command line."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=("render", "run", "misses", "report"))
    parser.add_argument("--row", action="append", choices=list(ROWS))
    parser.add_argument("--seed", action="append", type=int)
    given = parser.parse_args()
    if given.command == "report":
        report()
        return
    if given.command == "misses":
        write_misses()
        return
    render()
    if given.command == "render":
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    for seed in given.seed or SEEDS:
        for row in given.row or ROWS:
            path = RESULTS / f"{row}_{seed}.json"
            if not path.exists():
                write_json(path, run_cell(row, seed))
                print(row, seed, "done", flush=True)


if __name__ == "__main__":
    main()
