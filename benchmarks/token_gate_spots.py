"""The integrated variant on painted spots: does the gate keep what the label needs, and no more?

    python benchmarks/token_gate_spots.py learn      three seeds, a minute on a quiet core
    python benchmarks/token_gate_spots.py compute    multiply-adds and CPU time by the share kept

Photos are noise with a red and a blue square, one, both or none, and their labels name the colours.
It is a check of the mechanism, with everything known, and no test bench. ``compute`` uses untrained
weights: what a share costs does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from origin import read_commit
from result_file import write_json

RESULTS = Path(__file__).parent / "results"
COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200)}
VIEW_PX, SPOT_PX, COST = 208, 24, 0.2
EPOCHS = {"no price yet": 5, "with the price": 6}
SHARES = (1.0, 0.5, 0.3, 0.1, 0.05, 0.0)


def paint(folder: Path, photos: int, seed: int) -> list[np.ndarray]:
    """Photos, their label file, and per photo a mask of the painted pixels."""
    from PIL import Image

    rng, masks, rows = np.random.default_rng(seed), [], ["image,labels"]
    folder.mkdir(parents=True)
    for index in range(photos):
        names = [["healthy"], ["red"], ["blue"], ["red", "blue"]][index % 4]
        pixels = rng.integers(60, 110, (160, 208, 3), dtype=np.uint8)
        pixels[..., 1] += 60
        mask = np.zeros(pixels.shape[:2], dtype=bool)
        for name in names:
            if name in COLOURS:
                top, left = (int(rng.integers(side - SPOT_PX)) for side in mask.shape)
                place = slice(top, top + SPOT_PX), slice(left, left + SPOT_PX)
                pixels[place], mask[place] = COLOURS[name], True
        Image.fromarray(pixels).save(folder / f"{index:02d}.png")
        rows.append(f"{index:02d}.png,{' '.join(names)}")
        masks.append(mask)
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return masks


def look(stage: Any, masks: list[np.ndarray]) -> dict[str, float]:
    """What is kept of validation photos, and what pulls at their gates."""
    import torch

    from leafscout.networks import to_batch
    from leafscout.photos.decode import decode_photo

    kept: dict[str, list[float]] = {name: [] for name in ("healthy", "diseased", "spot", "other")}
    slopes: dict[str, list[float]] = {"spot": [], "other": []}
    for index, path in enumerate(stage.validation.paths):
        truth = stage.validation.truth[[index]]
        batch = to_batch(decode_photo(path).pixels[None], stage.device)
        slope, keep = stage.gate_gradients(batch, torch.from_numpy(truth).float())
        kept["diseased" if truth.any() else "healthy"].append(float(keep.float().mean()))
        cells = masks[index].reshape(10, 16, 13, 16).mean(axis=(1, 3)).ravel() >= 0.25
        if truth.any():
            for name, part in (("spot", cells), ("other", ~cells)):
                kept[name].append(float(keep.numpy()[part].mean()))
                slopes[name].append(slope.numpy()[part])
    return {
        **{f"kept_{name}": statistics.mean(values) for name, values in kept.items()},
        "slope_spot": float(np.mean([part.mean() for part in slopes["spot"]])),
        "slope_other": float(np.mean([part.mean() for part in slopes["other"]])),
        "size_other": float(np.mean([np.abs(part).mean() for part in slopes["other"]])),
    }


def learn(seed: int, work: Path) -> list[dict[str, Any]]:
    """Without a price, then with it, from the same weights on."""
    import torch
    from rich.console import Console

    from leafscout.photos.labels import read_labels
    from leafscout.training.gate_stage import GateStage
    from leafscout.training.gated_recipe import choose_gated_recipe
    from leafscout.training.gated_run import build_network
    from leafscout.training.loop import LoopOptions, train_stage
    from leafscout.training.progress import TrainingProgress

    paint(work / "learn", 40, 2 * seed)
    masks = paint(work / "look", 24, 2 * seed + 1)
    tables = [read_labels(work / name / "labels.csv") for name in ("learn", "look")]
    network, rows = None, []
    for phase, epochs in EPOCHS.items():
        priced = phase == "with the price"
        given = {"glance_px": VIEW_PX, "gate_weight": COST * priced, "gate_warmup_epochs": 0}
        recipe = choose_gated_recipe("gated", given)
        rate = recipe.stage.learning_rate / (2 if priced else 1)
        recipe = replace(recipe, stage=replace(recipe.stage, epochs=epochs, learning_rate=rate))
        network = network or build_network(recipe, len(COLOURS), seed)
        stage = GateStage(
            network, recipe, *tables, seed, torch.device("cpu"), mixed_precision=False
        )

        def note(history: list[dict[str, Any]], stage: Any = stage, phase: str = phase) -> None:
            last = history[-1]
            rows.append({"seed": seed, "phase": phase, "epoch": last["epoch"]})
            rows[-1] |= {"macro_ap": last["val_macro_ap"], **look(stage, masks)}

        folder = work / phase.replace(" ", "_")
        quiet = TrainingProgress(Console(file=StringIO(), force_terminal=False))
        options = LoopOptions(
            folder, seed, None, stage.device, mixed_precision=False, on_epoch=note
        )
        train_stage(stage, options, quiet)
    return rows


def compute() -> list[dict[str, Any]]:
    """The recipe's own network and view; which tokens are kept is drawn at random."""
    import torch

    from leafscout.gated_networks import TorchTokenNetwork
    from leafscout.training.gated_recipe import choose_gated_recipe
    from leafscout.training.gated_run import build_network

    network = build_network(choose_gated_recipe("gated"), 2, 0).eval()
    runtime, size = TorchTokenNetwork(network, torch.device("cpu")), (384, 512)
    tokens = runtime.count_tokens(size)
    views = np.random.default_rng(0).integers(0, 255, (12, *size, 3), dtype=np.uint8)
    spent: dict[float, list[float]] = {share: [] for share in SHARES}
    for view in views:
        # In turns, so that what else the machine does falls on all of them.
        for share in SHARES:
            kept = torch.arange(tokens) < round(share * tokens)
            started = time.thread_time()
            with torch.no_grad():
                values = network.embed(torch.from_numpy(view).permute(2, 0, 1)[None]).values
                network.gate(values)
                if kept.any():
                    network.read_kept(values, kept)
            spent[share].append(1000 * (time.thread_time() - started))
    dense = runtime.count_macs(size, tokens)
    return [
        {
            "share": share,
            "tokens": round(share * tokens),
            "macs_share": runtime.count_macs(size, round(share * tokens)) / dense,
            "cpu_ms": statistics.median(spent[share][2:]),
        }
        for share in SHARES
    ]


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("learn", "compute"))
    command = parser.parse_args().command
    rows: list[dict[str, Any]] = []
    if command == "compute":
        rows = compute()
    else:
        for seed in range(3):
            work = Path(tempfile.mkdtemp())
            rows += learn(seed, work)
            shutil.rmtree(work)
            print(json.dumps(rows[-1]), flush=True)
    result = {
        "rows": rows,
        "command": f"python benchmarks/token_gate_spots.py {command}",
        "commit": read_commit(),
        "date": datetime.now(tz=UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
    }
    path = RESULTS / f"token_gate_{'spots' if command == 'learn' else 'compute'}.json"
    write_json(path, result)


if __name__ == "__main__":
    main()
