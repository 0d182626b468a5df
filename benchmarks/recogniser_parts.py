"""Parts of the whole-photo recognisers, each by itself.

    python benchmarks/recogniser_parts.py turns       can a spatial transformer undo rotations?
    python benchmarks/recogniser_parts.py groups      EfficientNet, plain and grouped
    python benchmarks/recogniser_parts.py margins     ArcFace where labels come together
    python benchmarks/recogniser_parts.py again FOLDER  looking again at turned photos
    python benchmarks/recogniser_parts.py report      join what was run so far

Each part writes its own file into ``results/recogniser_parts/``; parts that are there are not run
again. ``again`` takes the folder that ``leafscout demo --out FOLDER`` leaves behind.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from origin import read_commit

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "recogniser_parts"
SEEDS = (0, 1, 2)
TURN_VARIANTS = (
    ("plain", 0.0, 150, 0.0),
    ("plain, 400 steps", 0.0, 400, 0.0),
    ("plain, inputs around 0", 0.0, 150, 0.5),
    ("leaky", 0.1, 150, 0.0),
)
"""Name, slope of the rectifiers below 0, steps, what is taken off the pixels before judging."""


def leaves(photos: int, side_px: int, seed: int) -> Tensor:
    """Upright leaves: an ellipse with a midrib, colours, sizes and places at random."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:side_px, 0:side_px] / side_px - 0.5
    out = np.zeros((photos, 3, side_px, side_px), dtype=np.float32)
    for one in out:
        top, left = rng.uniform(-0.05, 0.05, 2)
        length, width = rng.uniform(0.3, 0.42), rng.uniform(0.08, 0.14)
        y, x = rows - top, columns - left
        leaf = (y / length) ** 2 + (x / width) ** 2 < 1
        one[:] = rng.uniform(0.0, 0.25, 3)[:, None, None]
        one[:, leaf] = (rng.uniform([0.1, 0.45, 0.1], [0.4, 0.9, 0.3])[:, None]).astype(np.float32)
        one[:, leaf & (np.abs(x) < 0.02)] = 0.95
        tip = leaf & (y < -0.55 * length)  # the tip has a colour: up and down differ
        one[:, tip] = np.array([0.8, 0.3, 0.2], dtype=np.float32)[:, None]
        one += rng.normal(0, 0.02, one.shape).astype(np.float32)
    return torch.from_numpy(out.clip(0, 1))


def measure_turns() -> dict[str, Any]:
    """Train on a known angle, and on angles at random; test on leaves never seen."""
    from leafscout.nn.spatial_transformer import (
        SpatialTransformer,
        apply_affine,
        rotation_affine,
        rotation_degrees,
    )

    rows = []
    kinds = ("known 20 degrees", "up to 30 degrees either way")
    for kind, (name, slope, steps, middle) in itertools.product(kinds, TURN_VARIANTS):
        if kind.startswith("known") and "," in name:
            continue  # the plain one does it already
        for seed in SEEDS:
            torch.manual_seed(seed)
            upright, unseen = leaves(96, 48, seed), leaves(64, 48, seed + 100)

            def angles(photos: int, kind: str = kind) -> Tensor:
                if kind.startswith("known"):
                    return torch.full((photos,), 20.0)
                return 60 * torch.rand(photos) - 30

            network = SpatialTransformer(slope=slope)
            optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
            started = time.process_time()
            for _ in range(steps):
                some = upright[torch.randperm(len(upright))[:16]]
                turned = apply_affine(some, rotation_affine(angles(16)))
                affine = network.affine(turned - middle)
                loss = F.mse_loss(apply_affine(turned, affine), some)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            seconds = time.process_time() - started
            truth = angles(len(unseen))
            with torch.no_grad():
                turned = apply_affine(unseen, rotation_affine(truth))
                found = network.affine(turned - middle)
                hidden = network.localisation(turned - middle)
            error = (rotation_degrees(found) + truth).abs()
            rows.append(
                {
                    "kind": kind,
                    "variant": name,
                    "dead_units": round(float((hidden <= 0).all(dim=0).float().mean()), 2),
                    "seed": seed,
                    "error_deg": round(float(error.mean()), 2),
                    "before_deg": round(float(truth.abs().mean()), 2),
                    "cpu_s": round(seconds, 1),
                }
            )
    return {"rows": rows, "photos": 64, "side_px": 48}


def measure_groups() -> dict[str, Any]:
    """Weights, multiply-adds and time of one photo, both networks taken in turn."""
    from leafscout.networks import count_macs
    from leafscout.nn.grouped_convolution import SCALES, compare_weights
    from leafscout.nn.image_encoder import ImageEncoder

    rows = []
    for size in ("b0", "b3"):
        side = SCALES[size][2]
        names = (f"efficientnet_{size}", f"efficientnet_{size}_g16_e4")
        networks = [ImageEncoder(name, side).eval() for name in names]
        fit = compare_weights(networks[1].network, networks[0].network.state_dict())
        photo, times = torch.rand(1, 3, side, side), np.zeros((6, 2))
        with torch.no_grad():
            for turn in range(7):
                for which, network in enumerate(networks):
                    started = time.process_time()
                    network(photo)
                    if turn:
                        times[turn - 1, which] = time.process_time() - started
        for which, (name, network) in enumerate(zip(names, networks, strict=True)):
            rows.append(
                {
                    "name": name,
                    "side_px": side,
                    "parameters": sum(one.numel() for one in network.parameters()),
                    "macs": count_macs(network, side, side),
                    "cpu_ms": round(1000 * float(np.median(times[:, which])), 1),
                    "plain_tensors_that_fit": len(fit.fitting) if which else None,
                    "tensors": len(network.network.state_dict()),
                }
            )
    return {"rows": rows}


def measure_margins() -> dict[str, Any]:
    """Features of labels that come together, by margin: what it brings on photos never seen."""
    from leafscout.evaluation.scores import average_precision
    from leafscout.losses.arcface import ArcFaceHead, Margin

    rows = []
    for margin in (0.0, 0.1, 0.2, 0.3, 0.5):
        for seed in SEEDS:
            torch.manual_seed(seed)
            rng = np.random.default_rng(seed)
            directions = rng.normal(size=(6, 24))

            def draw(
                photos: int,
                rng: np.random.Generator = rng,
                directions: np.ndarray = directions,
            ) -> tuple[Tensor, Tensor]:
                truth = rng.random((photos, 6)) < 0.25
                mixed = truth @ directions + 1.6 * rng.normal(size=(photos, 24))
                return torch.from_numpy(mixed).float(), torch.from_numpy(truth).float()

            (seen, truth), (unseen, wanted) = draw(400), draw(1000)
            body = torch.nn.Sequential(
                torch.nn.Linear(24, 48), torch.nn.PReLU(), torch.nn.Linear(48, 16)
            )
            head = ArcFaceHead(16, 6, Margin(margin))
            optimiser = torch.optim.AdamW([*body.parameters(), *head.parameters()], lr=3e-3)
            for _ in range(200):
                some = torch.randperm(len(seen))[:64]
                loss = head.loss(body(seen[some]), truth[some])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            with torch.no_grad():
                features = body(unseen)
                scores = head(features).numpy().astype(np.float64)
                cosines = head.cosines(features).numpy()
                betrayed = head.margin_logits(features, wanted).numpy().astype(np.float64)
            several = wanted.sum(dim=1).numpy() > 1
            has = wanted.numpy().astype(bool)
            angles = np.degrees(np.arccos(cosines.clip(-1, 1)))
            rows.append(
                {
                    "margin": margin,
                    "seed": seed,
                    "macro_ap": _mean_ap(average_precision, has, scores),
                    "macro_ap_several": _mean_ap(average_precision, has[several], scores[several]),
                    "macro_ap_with_margin_logits": _mean_ap(average_precision, has, betrayed),
                    "angle_of_one_label_deg": float(angles[has & ~several[:, None]].mean()),
                    "angle_of_several_labels_deg": float(angles[has & several[:, None]].mean()),
                    "angle_without_deg": float(angles[~has].mean()),
                }
            )
    return {"rows": rows, "train_vectors": 400, "test_vectors": 1000}


def _mean_ap(score: Callable[..., Any], truth: np.ndarray, scores: np.ndarray) -> float:
    each = [score(truth[:, j], scores[:, j])[0] for j in range(truth.shape[1])]
    return float(np.mean(each))


def measure_again(folder: Path) -> dict[str, Any]:
    """Single looks against the mean of several, thresholds from validation photos of each kind."""
    from leafscout.evaluation.json_values import json_safe
    from leafscout.evaluation.thresholds import best_f1_thresholds
    from leafscout.inference.load import load
    from leafscout.inference.test_time_augmentation import (
        choose_changes,
        look_again,
        look_with,
        measure_gain,
    )
    from leafscout.photos.decode import decode_photo
    from leafscout.photos.labels import read_labels

    model = load(folder / "run", threads=1)
    look, names = look_with(model), ("none", "flips", "scales")
    learn, test = (read_labels(folder / name) for name in ("train", "test"))
    with (folder / "run" / "splits.csv").open(newline="") as file:
        splits = {Path(row["image"]).name: row["split"] for row in csv.DictReader(file)}
    val = learn.subset(
        [i for i, name in enumerate(learn.names) if splits.get(Path(name).name) == "val"]
    )
    answers: dict[tuple[str, str], np.ndarray] = {}
    seconds = {}
    for kind in names:
        started = time.process_time()
        for part, table in (("val", val), ("test", test)):
            answers[part, kind] = np.stack(
                [
                    look_again(look, decode_photo(path).pixels, choose_changes(kind))
                    for path in table.paths
                ]
            ).astype(np.float64)
        seconds[kind] = (time.process_time() - started) / (len(val.paths) + len(test.paths))
    fits = {kind: best_f1_thresholds(val.truth, answers["val", kind]).thresholds for kind in names}
    rows = []
    for kind in names[1:]:
        found = measure_gain(
            test.truth,
            test.labels,
            answers["test", "none"],
            answers["test", kind],
            thresholds_once=fits["none"],
            thresholds_again=fits[kind],
            looks=len(choose_changes(kind)),
        )
        rows.append(
            {
                "changes": kind,
                "looks": len(choose_changes(kind)),
                "cpu_s_per_photo": round(seconds[kind], 3),
                "cpu_s_per_photo_once": round(seconds["none"], 3),
                "figures": [json_safe(one) for one in found if one.figure.startswith("macro")],
            }
        )
    return {"rows": rows, "photos": len(test.paths)}


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "turns": measure_turns,
    "groups": measure_groups,
    "margins": measure_margins,
}


def run(part: str, folder: Path | None) -> None:
    target = RESULTS / f"{part}.json"
    if target.exists():
        return
    torch.set_num_threads(1)
    if part == "again" and folder is None:
        raise SystemExit("Name the folder of a demo.")
    found = PARTS[part]() if folder is None else measure_again(folder)
    record = found | {
        "command": f"python benchmarks/recogniser_parts.py {part}{' FOLDER' if folder else ''}",
        "commit": read_commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(record, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=(*PARTS, "again", "report"))
    parser.add_argument("folder", nargs="?", type=Path)
    options = parser.parse_args()
    if options.part != "report":
        run(options.part, options.folder)
        return
    parts = {name: RESULTS / f"{name}.json" for name in (*PARTS, "again")}
    joined = {name: json.loads(path.read_text()) for name, path in parts.items() if path.exists()}
    (RESULTS.parent / "recogniser_parts.json").write_text(json.dumps(joined, indent=1) + "\n")


if __name__ == "__main__":
    main()
