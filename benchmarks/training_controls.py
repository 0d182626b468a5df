"""Controls that take trainings of their own: labels that say nothing, and shortcuts that turn.

    python benchmarks/training_controls.py [CONTROL]... [--photos N] [--epochs N] [--seeds S ...]

``balanced_labels``: labels that are exactly independent of what the photos show: half of the
diseased photos are called healthy and half of the healthy ones diseased, among those trained on and
those validated on. A model that then does better than chance on test photos with true labels has
seen them in some other way: the area under the ROC curve must hold 0.5 in its interval.

``shuffled_labels``: the labels are merely shuffled, as is often done. By chance they still agree or
disagree a little with the truth; where lesions are the only thing to see, a network may make a
perfect detector of so little, for or against. Here to be measured, not to be used.

``shortcut``: in training, most diseased photos show a weed and hardly any healthy one does; the
weed is no lesion. Three tests follow on the same scenes: the weed as in training, at random, and
turned around. A model that looks at lesions loses little from the first to the second (wanted: at
most 5 points of AUC); one that looks at the weed falls below 0.5 on the third. It is trained with
exact negatives on the tiles of healthy photos, and without them for comparison.

Photos are painted here, small and plain; the recipe is ``tiny``. Each control and seed writes its
own file into ``results/training_controls/`` and is not run again; they are joined in
``results/training_controls.json``.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from leafscout.evaluation.bootstrap import draw_weights, percentile_interval
from leafscout.evaluation.scores import roc_auc
from leafscout.inference.load import load
from leafscout.training.run import TrainOptions, train
from origin import read_commit
from result_file import write_json

HERE = Path(__file__).parent
CELLS = HERE / "results" / "training_controls"
SIZE_HW = (256, 320)
LESION, WEED = (165, 80, 35), (70, 60, 150)
WITH_LABEL, AGAINST_LABEL = 0.9, 0.1


def paint_photo(seed: int, *, diseased: bool, weed: bool) -> np.ndarray:
    """A leafy ground; round lesions where diseased, star-shaped weeds where there are any."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(50, 110, (16, 20, 3), dtype=np.uint8)
    coarse[..., 1] += 60
    pixels = np.array(Image.fromarray(coarse).resize(SIZE_HW[::-1], Image.Resampling.BICUBIC))
    y, x = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    # Drawn for every photo, so that scenes are the same whatever is shown in them.
    places = rng.integers(14, (SIZE_HW[0] - 14, SIZE_HW[1] - 14), (8, 2))
    radii = rng.uniform(5, 10, 8)
    for index, ((top, left), radius) in enumerate(zip(places, radii, strict=True)):
        away = np.hypot(y - top, x - left)
        if index < 3 and diseased:
            pixels[away < radius] = LESION
        if index >= 5 and weed:
            angle = np.arctan2(y - top, x - left)
            pixels[away < radius * (0.9 + 0.6 * np.cos(5 * angle))] = WEED
    return pixels


def paint_set(folder: Path, photos: int, seed: int, weed_if_diseased: float,
              weed_if_healthy: float, *, labels: str = "true") -> Path:  # fmt: skip
    """Half of the photos diseased; weeds with these chances. Labels true, shuffled or balanced."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng([seed, photos])
    diseased = np.arange(photos) % 2 == 0
    chance = np.where(diseased, weed_if_diseased, weed_if_healthy)
    weeds = rng.random(photos) < chance
    for index in range(photos):
        pixels = paint_photo(1000 * seed + index, diseased=diseased[index], weed=weeds[index])
        Image.fromarray(pixels).save(folder / f"{index:04d}.jpg", quality=92)
    shown = diseased
    if labels == "shuffled":
        shown = rng.permutation(diseased)
    elif labels == "balanced":
        # Of four photos in a row each pair of truth and label is there once.
        shown = np.arange(photos) // 2 % 2 == 0
    rows = [
        f"{i:04d}.jpg,{'rust' if has_it else 'healthy'},{'val' if i // 4 % 5 == 4 else 'train'}"
        for i, has_it in enumerate(shown)
    ]
    (folder / "labels.csv").write_text("image,labels,split\n" + "\n".join(rows) + "\n")
    return folder


def measure_auc(run: Path, folder: Path) -> dict[str, float]:
    """AUC of the deployed path on the photos' true state, with a bootstrap interval."""
    model = load(run)
    paths = sorted(folder.glob("*.jpg"))
    scores = np.array([model.diagnose(path).probs["rust"] for path in paths])
    truth = np.arange(len(paths)) % 2 == 0
    drawn = np.concatenate(
        [roc_auc(truth, scores, weights) for weights in draw_weights(len(paths), 1000, 0)]
    )
    low, high = percentile_interval(drawn)
    return {"auc": float(roc_auc(truth, scores)[0]), "low": low, "high": high}


def train_on(folder: Path, out: Path, given: argparse.Namespace, seed: int, **extra: Any) -> Path:
    overrides = {"epochs": given.epochs, "tile_px": 96, "glance_px": 320, **extra}
    options = TrainOptions(seed=seed, threads=1, workers=1)
    return train(folder, out, recipe="tiny", overrides=overrides, options=options)


def control_labels(work: Path, given: argparse.Namespace, seed: int, labels: str) -> dict[str, Any]:
    photos = paint_set(work / "train", given.photos, 1 + seed, 0.5, 0.5, labels=labels)
    test = paint_set(work / "test", given.photos, 101 + seed, 0.5, 0.5)
    with (photos / "labels.csv").open(newline="") as file:
        said = [row["labels"] == "rust" for row in csv.DictReader(file)]
    agreement = float(np.mean(np.array(said) == (np.arange(len(said)) % 2 == 0)))
    result = measure_auc(train_on(photos, work / "run", given, seed), test)
    passes = result["low"] <= 0.5 <= result["high"]
    return {**result, "agreement": agreement, "passes": passes}


def control_shortcut(work: Path, given: argparse.Namespace, seed: int) -> dict[str, Any]:
    photos = paint_set(work / "train", given.photos, 1 + seed, WITH_LABEL, AGAINST_LABEL)
    chances = {
        "as_in_training": (WITH_LABEL, AGAINST_LABEL),
        "at_random": (0.5, 0.5),
        "turned_around": (AGAINST_LABEL, WITH_LABEL),
    }
    # The same seed: the same scenes and lesions, other weeds.
    tests = {
        name: paint_set(work / name, given.photos, 101 + seed, *chance)
        for name, chance in chances.items()
    }
    result: dict[str, Any] = {}
    for name, extra in (("with_exact_negatives", {}),
                        ("without", {"exact_negative_weight": 0.0})):  # fmt: skip
        run = train_on(photos, work / f"run_{name}", given, seed, **extra)
        aucs = {key: measure_auc(run, folder) for key, folder in tests.items()}
        drop = aucs["as_in_training"]["auc"] - aucs["at_random"]["auc"]
        result[name] = {**aucs, "drop": drop}
    return {**result, "passes": result["with_exact_negatives"]["drop"] <= 0.05}


CONTROLS: dict[str, Callable[[Path, argparse.Namespace, int], dict[str, Any]]] = {
    "balanced_labels": partial(control_labels, labels="balanced"),
    "shuffled_labels": partial(control_labels, labels="shuffled"),
    "shortcut": control_shortcut,
}


def run_cell(name: str, given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One control with one seed, now or from an earlier call."""
    path = CELLS / f"{name}_{given.photos}_{given.epochs}_{seed}.json"
    if path.exists():
        row: dict[str, Any] = json.loads(path.read_text())
        return row
    with tempfile.TemporaryDirectory() as folder:
        row = {"seed": seed, **CONTROLS[name](Path(folder), given, seed), "commit": read_commit()}
    write_json(path, row)
    print(json.dumps({name: row}), flush=True)
    return row


def main() -> None:
    """Run the controls for each seed that is missing and join them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("controls", nargs="*", default=list(CONTROLS))
    parser.add_argument("--photos", type=int, default=80, help="in each set")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    given = parser.parse_args()
    for name in given.controls:
        if name not in CONTROLS:
            raise SystemExit(f"There is no control {name!r}. Expected: {', '.join(CONTROLS)}.")
    CELLS.mkdir(parents=True, exist_ok=True)
    outcomes: dict[str, list[dict[str, Any]]] = {}
    for seed in given.seeds:
        for name in given.controls:
            outcomes.setdefault(name, []).append(run_cell(name, given, seed))
    for path in sorted(CELLS.glob(f"*_{given.photos}_{given.epochs}_*.json")):
        name, *_ = path.stem.rsplit("_", 3)
        row = json.loads(path.read_text())
        if row not in outcomes.setdefault(name, []):
            outcomes[name].append(row)
    commits = {row["commit"][:10] for rows in outcomes.values() for row in rows}
    write_json(
        CELLS.with_suffix(".json"),
        {
            "command": f"python benchmarks/training_controls.py --photos {given.photos} "
            f"--epochs {given.epochs}",
            "commit": ", ".join(sorted(commits)),
            "date": time.strftime("%Y-%m-%d"),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
            "photos": given.photos,
            "epochs": given.epochs,
            "controls": outcomes,
        },
    )


if __name__ == "__main__":
    main()
