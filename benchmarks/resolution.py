"""What shrinking a photo costs, by the size of its lesions.

    python benchmarks/resolution.py render        draw the photos of every lesion size (once)
    python benchmarks/resolution.py run [--size PX]... [--seed S]...    train what is missing
    python benchmarks/resolution.py report        join what was run so far

Photos are 512×512 px with one disease, half of them healthy; lesions have 10, 20 or 40 px. One
small network sees the photo resized to a side of 64, 128, 256 or 512 px: what a photo of 4096 px
loses when it is resized to 512, 1024, 2048 or not at all. Glance and focus has such a network
twice: a scout on a glance of 128 px and an expert on the tiles of 64 px at full size that it asks
for. Network, objective and the time to learn in are the same for all, on one core. Photos and runs
go to ``runs/resolution``.
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
RESULTS = HERE / "results" / "resolution"
WORK = Path(os.environ.get("RESOLUTION_WORK", HERE.parent / "runs" / "resolution"))
PHOTO_PX, TILE_PX, GLANCE_PX = 512, 64, 128
LESIONS_PX, SIDES_PX = (10, 20, 40), (64, 128, 256, 512)
PHOTOS = {"train": 100, "val": 24, "test": 80}
FIELD_SEED = 20260401
SEEDS = (0, 1, 2)
BUDGET_S = 30.0
"""Time to learn in, for every model."""


def field_folder(lesion_px: int) -> Path:
    return WORK / f"lesions_{lesion_px}"


def render(lesion_px: int) -> None:
    from leafscout.photos.synthetic import FieldSettings, render_field

    folder = field_folder(lesion_px)
    if folder.exists():
        return
    settings = FieldSettings(
        size_px_hw=(PHOTO_PX, PHOTO_PX),
        diseases=("rust",),
        healthy_frac=0.5,
        two_disease_frac=0.0,
        lesion_sizes_px=(lesion_px,),
        contrast_range=(0.8, 1.0),
        lesions_per_disease=(3, 8),
        stand_in_frac=0.0,
        distractors_per_photo=(0, 1),
    )
    partial = folder.with_name(folder.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    render_field(
        partial, photos=sum(PHOTOS.values()), settings=settings, seed=FIELD_SEED, workers=1
    )
    write_label_lists(partial, PHOTOS, LEARN_AND_TEST)
    partial.replace(folder)


def measure_resized(lesion_px: int, side_px: int, seed: int) -> dict[str, float]:
    """The expert's network and objective, with the whole photo, resized, as its only tile."""
    import torch

    from leafscout.networks import build_expert, count_macs
    from leafscout.photos.decode import decode_photo
    from leafscout.photos.labels import read_labels
    from leafscout.training.expert_stage import ExpertStage
    from leafscout.training.loop import LoopOptions, train_stage
    from leafscout.training.recipes import choose_recipe

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    small = write_resized(lesion_px, side_px)
    table, test = read_labels(small / "learn.csv"), read_labels(small / "test.csv")
    parts = [
        table.subset([i for i, split in enumerate(table.splits) if split == name])
        for name in ("train", "val")
    ]
    recipe = choose_recipe("tiny", {"tile_px": side_px, "expert_epochs": 10_000})
    device = torch.device("cpu")
    network = build_expert(recipe.expert, len(table.labels), sharpness=recipe.place_sharpness)
    stage = ExpertStage(network, recipe, *parts, seed, device, mixed_precision=False)
    # Time ends it, not epochs: a small photo is seen more often.
    stage.settings = replace(stage.settings, patience=10_000)
    out = WORK / f"resized_{lesion_px}_{side_px}_{seed}"
    options = LoopOptions(
        folder=out, seed=seed, time_s=BUDGET_S, device=device, mixed_precision=False,
        on_epoch=lambda _: None,
    )  # fmt: skip
    shutil.rmtree(out, ignore_errors=True)
    train_stage(stage, options, quiet())
    shutil.rmtree(out, ignore_errors=True)
    scores = [stage.look(decode_photo(path))[0].tile_logits[0].numpy() for path in test.paths]
    return {
        "auc": auc_of(test.truth, np.stack(scores)),
        "macs": float(count_macs(network, side_px, side_px)),
    }


def write_resized(lesion_px: int, side_px: int) -> Path:
    """The photos of a lesion size made smaller, without further loss."""
    from PIL import Image

    from leafscout.glance.view import take_glance
    from leafscout.photos.decode import decode_photo

    source, folder = field_folder(lesion_px), WORK / f"lesions_{lesion_px}_at_{side_px}"
    if folder.exists():
        return folder
    partial = folder.with_name(folder.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    for name in ("learn.csv", "test.csv"):
        rows = list(csv.DictReader((source / name).open(newline="")))
        for row in rows:
            file = Path(row["image"]).with_suffix(".png")
            (partial / file).parent.mkdir(parents=True, exist_ok=True)
            photo = take_glance(decode_photo(source / row["image"]), side_px).pixels
            Image.fromarray(photo).save(partial / file, compress_level=1)
            row["image"] = str(file)
        with (partial / name).open("w", newline="") as out:
            writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    partial.replace(folder)
    return folder


def measure_focus(lesion_px: int, seed: int) -> dict[str, float]:
    """Glance and focus on the same photos."""
    from leafscout.inference.load import load
    from leafscout.photos.decode import decode_photo
    from leafscout.photos.labels import read_labels
    from leafscout.training.run import TrainOptions, train

    folder, out = field_folder(lesion_px), WORK / f"focus_{lesion_px}_{seed}"
    shutil.rmtree(out, ignore_errors=True)
    settings = {"tile_px": TILE_PX, "glance_px": GLANCE_PX, "max_tiles_frac": 0.25, "epochs": 1000}
    train(
        folder / "learn.csv",
        out,
        recipe="tiny",
        overrides=settings,
        options=TrainOptions(seed=seed, threads=1, workers=1, time_s=BUDGET_S),
        progress=quiet(),
    )
    test, core = read_labels(folder / "test.csv"), load(out).core
    probs, all_tiles, macs = [], [], []
    for path in test.paths:
        photo = decode_photo(path)
        evidence, _ = core.forward(photo)
        probs.append(core.label_probs(evidence))
        macs.append(core.count_macs(photo.size_px_hw, int(evidence.read.sum())))
        all_tiles.append(core.forward(photo, read_all=True)[0].focus_logits)
    shutil.rmtree(out, ignore_errors=True)
    return {
        "auc": auc_of(test.truth, np.stack(probs)),
        "auc_all_tiles": auc_of(test.truth, np.stack(all_tiles)),
        "macs": float(np.mean(macs)),
    }


def auc_of(truth: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth[:, 0], scores[:, 0]))


def run_cell(lesion_px: int, model: str, seed: int) -> dict[str, Any]:
    started = time.process_time()
    figures = (
        measure_focus(lesion_px, seed)
        if model == "focus"
        else measure_resized(lesion_px, int(model), seed)
    )
    return {
        "lesion_px": lesion_px,
        "model": model,
        "seed": seed,
        **{name: round(value, 4) for name, value in figures.items()},
        "cpu_s": round(time.process_time() - started, 1),
        "commit": read_commit(),
    }


def report() -> None:
    """Join the cells into one file."""
    cells = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    rows = []
    for lesion_px in LESIONS_PX:
        for model in (*map(str, SIDES_PX), "focus"):
            mine = [c for c in cells if (c["lesion_px"], c["model"]) == (lesion_px, model)]
            if mine:
                aucs = [cell["auc"] for cell in mine]
                rows.append(
                    {
                        "lesion_px": lesion_px,
                        "model": model,
                        "seeds": [cell["seed"] for cell in mine],
                        "auc": aucs,
                        "auc_mean": statistics.mean(aucs),
                        "macs": statistics.mean(cell["macs"] for cell in mine),
                    }
                )
    write_json(
        RESULTS.parent / "resolution.json",
        {
            "command": "python benchmarks/resolution.py run",
            "commit": ", ".join(sorted({cell["commit"][:10] for cell in cells})),
            "date": time.strftime("%Y-%m-%d"),
            "seed": FIELD_SEED,
            "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
            "photos": PHOTOS,
            "budget_s": BUDGET_S,
            "rows": rows,
        },
    )


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=("render", "run", "report"))
    parser.add_argument("--size", type=int, action="append", choices=LESIONS_PX)
    parser.add_argument("--model", action="append", choices=(*map(str, SIDES_PX), "focus"))
    parser.add_argument("--seed", type=int, action="append")
    given = parser.parse_args()
    if given.command == "report":
        report()
        return
    for lesion_px in given.size or LESIONS_PX:
        render(lesion_px)
    if given.command == "render":
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    for seed in given.seed or SEEDS:
        for lesion_px in given.size or LESIONS_PX:
            for model in given.model or (*map(str, SIDES_PX), "focus"):
                path = RESULTS / f"{lesion_px}_{model}_{seed}.json"
                if not path.exists():
                    write_json(path, run_cell(lesion_px, model, seed))
                    print(path.read_text().replace("\n", ""), flush=True)


if __name__ == "__main__":
    main()
