"""The ablation in short on real photos: what the expert is asked of a coffee leaf's photo.

    python benchmarks/coffee_ablation.py run       learn and answer what is missing
    python benchmarks/coffee_ablation.py report    join what was run so far

Frozen features of two scales with a head on each place, out of fold over the folds of
``coffee.py``, as in ``coffee_reference.py``; three seeds. Rows differ in nothing but what the head
is asked: the photo's labels of every place, or of the places pooled, with exact negatives and with
sparsity. Each row chooses learning rate and epochs on a quarter of the first fold's training
photos. Masks score alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from coffee import FOLD_COUNT, HERE, read_folds
from coffee_reference import (
    LONG_SIDE_PX,
    PHOTO_WIDTH_PX,
    Features,
    Head,
    Loss,
    Method,
    bag_loss_of,
    choose_setting,
    copied_label_loss,
    fit_head,
    frozen_features,
)
from leafscout.diagnosis.pooling_torch import pool_bags
from leafscout.evaluation.comparison import macro_average_precision
from leafscout.evaluation.localisation import play_pointing_game
from leafscout.evaluation.scores import plain_weights
from leafscout.inference.evaluate import POINTING_TOLERANCE_PX
from leafscout.inference.lesion_truth import read_mask
from leafscout.losses.bag import exact_negative_loss
from leafscout.losses.focal import focal_loss
from leafscout.losses.sparsity import sparsity_loss
from leafscout.photos.labels import LabelTable, read_labels
from origin import find_data, read_commit
from result_file import write_json

RESULTS = HERE / "results" / "coffee_ablation"
SEEDS = (0, 1, 2)
LOW_PROB = 0.1
LESION_CELL, CLEAN_CELL = 0.5, 0.0
"""Share of a place that must be lesion to count as one, and at most may be to count as none."""

NEGATIVE_WEIGHT, SPARSITY_WEIGHT = 0.3, 1.0


def pool_as(name: str) -> Callable[[Tensor], Tensor]:
    """The package's pooling by name, over places."""

    def pool(places: Tensor) -> Tensor:
        bags = places.transpose(1, 2)
        mask = torch.ones(bags.shape[:2], dtype=torch.bool)
        return pool_bags(name, bags, torch.zeros_like(bags), mask)

    return pool


def with_terms(loss: Loss, negatives: float, sparsity: float) -> Loss:
    """The same loss with exact negatives and sparsity on places."""

    def total(places: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
        bags = places.transpose(1, 2)
        value = loss(places, truth, weight)
        value = value + negatives * exact_negative_loss(bags, truth, labels_complete=True)
        return value + sparsity * sparsity_loss(bags, truth, labels_complete=True)

    return total


def pooled(name: str) -> Method:
    """A row whose places are pooled before they meet the labels."""
    return Method(bag_loss_of(pool_as(name)), pool_as(name), fine=True)


def focal(name: str) -> Method:
    """The same with a focal loss: photos that are told already count for little."""
    pool = pool_as(name)

    def loss(places: Tensor, truth: Tensor, _weight: Tensor) -> Tensor:
        return focal_loss(pool(places), truth)

    return Method(loss, pool, fine=True)


SMOOTH = pooled("log_sum_exp")
ROWS = {
    "copied_label": Method(copied_label_loss, pool_as("log_sum_exp"), fine=True),
    "mean": pooled("mean"),
    "top_k_mean": pooled("top_k_mean"),
    "max": pooled("max"),
    "noisy_or": pooled("noisy_or"),
    "log_sum_exp": SMOOTH,
    "focal": focal("log_sum_exp"),
    "exact_negatives": SMOOTH._replace(loss=with_terms(SMOOTH.loss, NEGATIVE_WEIGHT, 0.0)),
    "sparsity": SMOOTH._replace(loss=with_terms(SMOOTH.loss, 0.0, SPARSITY_WEIGHT)),
    "both": SMOOTH._replace(loss=with_terms(SMOOTH.loss, NEGATIVE_WEIGHT, SPARSITY_WEIGHT)),
}


class Photos(NamedTuple):
    """All photos, with what is computed of them once."""

    table: LabelTable
    folds: np.ndarray
    features: Features
    masks: list[np.ndarray | None]


def read_photos() -> Photos:
    """Labels, folds, frozen features and lesion masks."""
    data = find_data("coffee")
    table = read_labels(data / "labels.csv")
    fold_of = read_folds()
    folds = np.array([fold_of[Path(name).name][1] for name in table.names])
    features = frozen_features(table, data.parent / "weights" / "mobilenetv2_100.safetensors")
    files = {path.stem: path for path in (data / "masks").glob("*.png")}
    masks = [read_mask(files[path.stem]) if path.stem in files else None for path in table.paths]
    return Photos(table, folds, features, masks)


def run_row(photos: Photos, name: str, seed: int, setting: tuple[float, int]) -> dict[str, Any]:
    """Out-of-fold answers of one row and seed, scored."""
    row, truth = ROWS[name], photos.table.truth
    probs, points = np.zeros(truth.shape), [None] * len(truth)
    found: dict[str, list[float]] = {"lesion": [], "clean": [], "healthy": []}
    low: dict[str, list[float]] = {"lesion": [], "background": []}
    for fold in range(FOLD_COUNT):
        train, test = np.flatnonzero(photos.folds != fold), np.flatnonzero(photos.folds == fold)
        some = photos.features.of(torch.from_numpy(train))
        head = fit_head(row, some, truth[train], *setting, seed)
        for index in test:
            maps = read_maps(head, photos.features, int(index))
            probs[index] = torch.sigmoid(row.pool(torch.from_numpy(maps)[None].flatten(2)))[0]
            points[index] = strongest_place(maps, int(probs[index].argmax()))
            score_places(maps, truth[index], photos.masks[index], found, low)
    diseased = [i for i in np.flatnonzero(truth.any(axis=1)) if photos.masks[i] is not None]
    game = play_pointing_game(
        [points[i] for i in diseased], [photos.masks[i] for i in diseased],
        tolerance_px=POINTING_TOLERANCE_PX,
    )  # fmt: skip
    return {
        "row": name,
        "seed": seed,
        "macro_ap": round(
            float(macro_average_precision(truth, probs, plain_weights(len(truth)))[0]), 4
        ),
        "pointing": round(game.share, 4),
        "photos": game.photos,
        **{f"{key}_place_prob": round(float(np.mean(values)), 4) for key, values in found.items()},
        **{f"{key}_from_low": round(float(np.mean(values)), 4) for key, values in low.items()},
        "learning_rate": setting[0],
        "epochs": setting[1],
        "probs": np.round(probs, 4).tolist(),
    }


@torch.no_grad()
def read_maps(head: Head, features: Features, index: int) -> np.ndarray:
    """(labels, rows, columns) logits of one photo."""
    maps: np.ndarray = head(features.of(torch.tensor([index])))[0].numpy()
    return maps


def strongest_place(maps: np.ndarray, label: int) -> Any:
    """X and y in pixels of the photo."""
    row, column = divmod(int(maps[label].argmax()), maps.shape[2])
    side_px = PHOTO_WIDTH_PX / maps.shape[2]
    return (column + 0.5) * side_px, (row + 0.5) * side_px


def score_places(
    maps: np.ndarray,
    labels: np.ndarray,
    mask: np.ndarray | None,
    found: dict[str, list[float]],
    low: dict[str, list[float]],
) -> None:
    """Note the loudest disease's probability on lesion places, clean places and healthy photos."""
    loudest = 1.0 / (1.0 + np.exp(-maps.max(axis=0)))
    if not labels.any():
        found["healthy"].append(float(loudest.mean()))
        low["background"].append(float((loudest >= LOW_PROB).mean()))
        return
    if mask is None:
        return
    rows, columns = loudest.shape
    small = Image.fromarray(np.asarray(mask, dtype=np.float32) > 0)
    share = np.asarray(small.convert("F").resize((columns, rows), Image.Resampling.BOX)) / 255.0
    lesion, clean = share >= LESION_CELL, share <= CLEAN_CELL
    if lesion.any():
        found["lesion"].append(float(loudest[lesion].mean()))
        low["lesion"].append(float((loudest[lesion] >= LOW_PROB).mean()))
    if clean.any():
        found["clean"].append(float(loudest[clean].mean()))
        low["background"].append(float((loudest[clean] >= LOW_PROB).mean()))


def run(rows: list[str], seeds: list[int]) -> None:
    """Every cell that is not there; features are computed once."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    RESULTS.mkdir(parents=True, exist_ok=True)
    missing = [
        (row, seed)
        for row in rows
        for seed in seeds
        if not (RESULTS / f"{row}_{seed}.json").exists()
    ]
    if not missing:
        return
    photos = read_photos()
    first = np.flatnonzero(photos.folds != 0)
    settings: dict[str, tuple[float, int]] = {}
    for name, seed in missing:
        started = time.process_time()
        if name not in settings:
            some = photos.features.of(torch.from_numpy(first))
            settings[name] = choose_setting(ROWS[name], some, photos.table.truth[first])
        cell = run_row(photos, name, seed, settings[name])
        cell |= {
            "cpu_s": round(time.process_time() - started, 1),
            "commit": read_commit(),
            "date": time.strftime("%Y-%m-%d"),
            "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
        }
        write_json(RESULTS / f"{name}_{seed}.json", cell)
        shown = {key: value for key, value in cell.items() if key != "probs"}
        print(json.dumps(shown), flush=True)


def report() -> None:
    """Means and spreads over the seeds; differences to copied labels, paired over photos."""
    from leafscout.evaluation.bootstrap import paired_difference

    cells = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    truth = read_labels(find_data("coffee") / "labels.csv").truth
    mean_of = {
        name: np.mean([cell["probs"] for cell in cells if cell["row"] == name], axis=0)
        for name in ROWS
        if any(cell["row"] == name for cell in cells)
    }
    rows = []
    for name, probs in mean_of.items():
        mine = [cell for cell in cells if cell["row"] == name]
        entry: dict[str, Any] = {"row": name, "seeds": [cell["seed"] for cell in mine]}
        keys = [key for key in mine[0] if key.endswith(("_ap", "pointing", "_prob", "_from_low"))]
        entry |= {key: [cell[key] for cell in mine] for key in keys}
        entry |= {key: mine[0][key] for key in ("learning_rate", "epochs", "photos")}
        if name != "copied_label" and "copied_label" in mean_of:
            entry["less_copied_label"] = paired_difference(
                macro_average_precision, truth, probs, mean_of["copied_label"],
                resamples=1000, seed=0,
            ).to_dict()  # fmt: skip
        rows.append(entry)
    write_json(
        RESULTS.parent / "coffee_ablation.json",
        {
            "command": "python benchmarks/coffee_ablation.py run",
            "commit": ", ".join(sorted({cell["commit"][:10] for cell in cells})),
            "date": max(cell["date"] for cell in cells),
            "machine": cells[0]["machine"],
            "long_side_px": LONG_SIDE_PX,
            "rows": rows,
        },
    )


def main() -> None:
    """Read the command line."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=("run", "report"))
    parser.add_argument("--row", action="append", choices=list(ROWS))
    parser.add_argument("--seed", action="append", type=int)
    given = parser.parse_args()
    if given.command == "report":
        report()
    else:
        run(given.row or list(ROWS), given.seed or list(SEEDS))


if __name__ == "__main__":
    main()
