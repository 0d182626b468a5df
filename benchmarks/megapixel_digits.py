"""Megapixel digits: how reading methods fare when what matters is small and the canvas is large.

    python benchmarks/megapixel_digits.py run        learn and test what has not been run yet
    python benchmarks/megapixel_digits.py cost       multiply-adds, time and memory of one canvas
    python benchmarks/megapixel_digits.py report     join everything into one result, and plot it

Canvases hold five digits of 28 px (three of one class, two of others) on noise strokes, or strokes
alone; four tasks ask about the digits. All that is known while learning is what is known of whole
canvases. ``--digits FOLDER`` names MNIST's idx files; without it scikit-learn's digits are used.
Every result is a file of its own, and one that is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leafscout.networks import set_threads
from megapixel_canvases import Sheet, draw_canvases, make_sheets
from megapixel_cost import measure_cost
from megapixel_learning import Outcome
from megapixel_looking import CanvasSet
from megapixel_methods import METHODS, sizes_for
from megapixel_networks import TILE_PX
from megapixel_plots import plot_results
from megapixel_tasks import digits_inside, score_answers
from origin import read_commit
from result_file import write_json

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "megapixel_digits"
STROKES = {500: 50, 750: 50, 1500: 50, 3000: 800}
CANVASES = 1000
TEST_FULL, TEST_EMPTY = 400, 100
PUBLISHED = (
    {"side_px": 3000, "strokes": 800, "canvases": 1000, "accuracies": (0.67, 0.69, 0.62, 0.20)},
    {"side_px": 3000, "strokes": 800, "canvases": 400, "accuracies": (0.10, 0.16, 0.11, 0.0)},
    {"side_px": 1500, "strokes": 50, "canvases": 5000, "accuracies": (0.99, 0.94, 0.93, 0.82)},
)
"""Majority, max, top and multi of patch selection in public training logs: other canvases, other
networks and other training than ours; not measured here."""

VALIDATION_FULL, VALIDATION_EMPTY = 160, 40


def make_sets(
    sheets: dict[str, Sheet], side_px: int, strokes: int, canvases: int, seed: int
) -> dict[str, CanvasSet]:
    """Training, validation and test canvases; a quarter as many hold noise alone."""
    counts = {
        "train": (canvases, canvases // 4),
        "validation": (VALIDATION_FULL, VALIDATION_EMPTY),
        "test": (TEST_FULL, TEST_EMPTY),
    }
    return {
        part: CanvasSet(
            draw_canvases(
                sheets[part], side_px, strokes, full=full, empty=empty, seed=1000 * seed + index
            ),
            sheets[part],
        )
        for index, (part, (full, empty)) in enumerate(counts.items())
    }


def score_outcome(outcome: Outcome, data: CanvasSet) -> dict[str, float]:
    """Accuracies, share of the digits in an opened tile, and tiles opened."""
    pairs = list(zip(data.canvases, outcome.opened, strict=True))
    full = [(canvas, opened) for canvas, opened in pairs if not canvas.is_empty]
    inside = [digits_inside(canvas, opened, TILE_PX) for canvas, opened in full]
    return {
        **score_answers(outcome.answers, data.truth),
        "digit_recall": float(np.concatenate(inside).mean()),
        "opened_full": float(np.mean([len(opened) for _, opened in full])),
        "opened_empty": float(
            np.mean([len(opened) for canvas, opened in pairs if canvas.is_empty])
        ),
    }


def cell_path(row: str, side_px: int, canvases: int, seed: int) -> Path:
    """Where the result of one cell lies."""
    return RESULTS / f"{row}_{side_px}_{canvases}_{seed}.json"


def origin(digits: Path | None) -> dict[str, Any]:
    """Where a result comes from."""
    return {
        "commit": read_commit(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}; one thread",
        "digits": "scikit-learn" if digits is None else "MNIST",
    }


def run_cell(
    sheets: dict[str, Sheet], digits: Path | None, row: str, side_px: int, canvases: int, seed: int
) -> dict[str, Any]:
    """Learn and test one method once."""
    sets = make_sets(sheets, side_px, STROKES[side_px], canvases, seed)
    sizes = sizes_for(row, side_px)
    cpu, wall = time.process_time(), time.perf_counter()
    answer = METHODS[row](sets["train"], sets["validation"], seed, sizes)
    spent = {"train_cpu_s": time.process_time() - cpu, "train_wall_s": time.perf_counter() - wall}
    return {
        "row": row,
        "side_px": side_px,
        "strokes": STROKES[side_px],
        "canvases": canvases,
        "seed": seed,
        "epochs": sizes.epochs,
        **score_outcome(answer(sets["test"]), sets["test"]),
        **{name: round(value, 1) for name, value in spent.items()},
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "command": f"python benchmarks/megapixel_digits.py run --rows {row} --sizes {side_px} "
        f"--canvases {canvases} --seeds {seed}",
        **origin(digits),
    }


def run(given: argparse.Namespace) -> None:
    """Every cell that is not there yet, seeds outermost."""
    sheets: dict[str, Sheet] = {}
    for seed, side_px, canvases, row in product(
        given.seeds, given.sizes, given.canvases, given.rows
    ):
        path = cell_path(row, side_px, canvases, seed)
        if path.is_file():
            continue
        sheets = sheets or make_sheets(given.digits)
        cell = run_cell(sheets, given.digits, row, side_px, canvases, seed)
        write_json(path, cell)
        print(json.dumps(cell), flush=True)


def read_cells() -> list[dict[str, Any]]:
    """All cells there are, sorted."""
    cells = [json.loads(path.read_text()) for path in RESULTS.glob("*_*_*_[0-9].json")]
    order = list(METHODS)
    return sorted(
        cells,
        key=lambda one: (one["side_px"], -one["canvases"], order.index(one["row"]), one["seed"]),
    )


def mean_opened(cells: Iterable[dict[str, Any]], row: str, side_px: int) -> tuple[int, int]:
    """Tiles that a method opened on full and on empty canvases, over its seeds, rounded."""
    mine = [one for one in cells if one["row"] == row and one["side_px"] == side_px]
    if not mine:
        raise SystemExit(f"Run {row} at {side_px} px before its cost can be measured.")
    most = max(one["canvases"] for one in mine)
    mine = [one for one in mine if one["canvases"] == most]
    full, empty = (
        round(float(np.mean([one[name] for one in mine])))
        for name in ("opened_full", "opened_empty")
    )
    return full, empty


def cost(given: argparse.Namespace) -> None:
    """Each cost in a process of its own, so that none sees what another left in memory."""
    cells = read_cells()
    for side_px, row in product(given.sizes, given.rows):
        path = RESULTS / f"cost_{row}_{side_px}.json"
        if path.is_file():
            continue
        full, empty = mean_opened(cells, row, side_px) if row == "leafscout" else (0, 0)
        subprocess.run(
            [sys.executable, __file__, "cost-one", row, str(side_px), str(full), str(empty)],
            check=True,
        )


def cost_one(given: argparse.Namespace) -> None:
    """One row of costs."""
    found = measure_cost(given.row, given.side_px, STROKES[given.side_px], given.full, given.empty)
    command = (
        f"python benchmarks/megapixel_digits.py cost --rows {given.row} --sizes {given.side_px}"
    )
    result = {**found, "command": command, **origin(None)}
    write_json(RESULTS / f"cost_{given.row}_{given.side_px}.json", result)
    print(json.dumps(result), flush=True)


def report(given: argparse.Namespace) -> None:
    """Join all results and draw the plots."""
    del given
    costs = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("cost_*.json"))]
    cells = read_cells()
    result = {
        "command": "python benchmarks/megapixel_digits.py {run,cost,report}",
        "commit": read_commit(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": cells[0]["machine"],
        "test": {"full": TEST_FULL, "empty": TEST_EMPTY},
        "published": PUBLISHED,
        "cells": cells,
        "costs": costs,
    }
    write_json(HERE / "results" / "megapixel_digits.json", result)
    plot_results(result, HERE.parent / "docs" / "pictures" / "megapixel_digits.svg")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for name, work in (("run", run), ("cost", cost), ("report", report)):
        command = commands.add_parser(name)
        command.set_defaults(work=work)
        command.add_argument("--rows", nargs="+", choices=list(METHODS), default=list(METHODS)[:6])
        command.add_argument("--sizes", nargs="+", type=int, choices=STROKES, default=[500, 750])
        command.add_argument("--canvases", nargs="+", type=int, default=[CANVASES])
        command.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
        command.add_argument("--digits", type=Path, help="folder of MNIST's idx files")
    single = commands.add_parser("cost-one")
    single.set_defaults(work=cost_one)
    single.add_argument("row", choices=list(METHODS))
    for name in ("side_px", "full", "empty"):
        single.add_argument(name, type=int)
    given = parser.parse_args()
    set_threads(1)
    torch.set_flush_denormal(True)
    given.work(given)


if __name__ == "__main__":
    main()
