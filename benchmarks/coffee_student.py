"""Teacher and student on coffee leaves: a quarter of the pixels, with and without a teacher.

    python benchmarks/coffee_student.py run [--fold F] [--seed S] [--kind K]    train missing ones
    python benchmarks/coffee_student.py report                                  join them

The teacher is the run of ``benchmarks/coffee.py --work runs/coffee3`` on the same fold; its expert
reads every tile averaged 2×2. The student's expert has the same backbone and reads tiles
averaged 4×4, a quarter of the multiply-adds, and only the tiles that its scout asks for. It learns
from the fold's training photos, alone or from the teacher's soft labels as well; test photos are
answered for once.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

from coffee import HERE, OVERRIDES, write_fold_tables
from origin import find_data, read_commit
from result_file import write_json

RUNS = HERE.parent / "runs"
TEACHERS = Path(os.environ.get("COFFEE_RUNS", RUNS / "coffee3"))
WORK = RUNS / "coffee_student"
RESULTS = HERE / "results" / "coffee_student"
KINDS = ("alone", "taught")
STUDENT: dict[str, Any] = {**OVERRIDES, "expert_shrink": 4}


def run_cell(kind: str, fold: int, seed: int) -> dict[str, Any]:
    """Train one student and answer for the fold's test photos."""
    from leafscout.inference.evaluate import evaluate_run
    from leafscout.training.run import TrainOptions, train

    train_csv, test_csv = write_fold_tables(fold, WORK)
    data, teacher = find_data("coffee"), TEACHERS / f"fold{fold}_seed0"
    weights = data.parent / "weights" / "mobilenetv2_100.safetensors"
    out = WORK / f"{kind}_fold{fold}_seed{seed}"
    started = time.process_time()
    options = TrainOptions(
        weights=weights, seed=seed, resume=(out / "plan.json").is_file(), threads=1,
        photos_root=data / "images", teacher=teacher if kind == "taught" else None,
    )  # fmt: skip
    train(train_csv, out, recipe="mobile", overrides=STUDENT, options=options)
    trained_s = time.process_time() - started
    summary = evaluate_run(
        out, test_csv, masks=data / "masks", photos_root=data / "images", seed=seed
    ).to_dict()
    mine, theirs = (
        read_answers(out / "evaluation" / "per_photo.csv", ""),
        read_answers(teacher / "per_photo_0.csv", "all_tiles_"),
    )
    teacher_macs = expert_macs(teacher)
    return {
        "kind": kind,
        "fold": fold,
        "seed": seed,
        "labels": summary["labels"],
        "localisation": summary["localisation"],
        "cost": summary["cost"],
        "less_teacher": compare(mine, theirs),
        "teacher": score(theirs),
        # Both read the same grid of tiles; each counts in its own expert's multiply-adds.
        "expert_macs_of_teachers": round(expert_macs(out) / teacher_macs, 4),
        "train_cpu_s": round(trained_s, 1),
        "settings": STUDENT,
        "answers": {name: values.tolist() for name, values in mine.items()},
        "commit": read_commit(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
    }


def expert_macs(run: Path) -> int:
    """Multiply-adds of a run's expert for one tile."""
    manifest = json.loads((run / "model" / "manifest.json").read_text())
    return int(manifest["expert_macs"])


def read_answers(path: Path, name: str) -> dict[str, np.ndarray]:
    """Truth, probabilities and decisions of the photos in a table, in the order of their names."""
    with path.open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: Path(row["image"]).name)
    labels = [key.removeprefix("truth_") for key in rows[0] if key.startswith("truth_")]
    return {
        key: np.array([[float(row[f"{head}{label}"]) for label in labels] for row in rows])
        for key, head in (
            ("truth", "truth_"), ("probs", f"{name}prob_"), ("found", f"{name}found_"),
        )
    }  # fmt: skip


def score(answers: dict[str, np.ndarray]) -> dict[str, float]:
    """Macro-AP and macro-F1 of decisions."""
    from leafscout.evaluation.comparison import macro_average_precision, macro_f1
    from leafscout.evaluation.scores import plain_weights

    truth, weights = answers["truth"].astype(bool), plain_weights(len(answers["truth"]))
    return {
        "macro_ap": float(macro_average_precision(truth, answers["probs"], weights)[0]),
        "macro_f1": float(macro_f1(truth, answers["found"] > 0.5, weights)[0]),
    }


def compare(mine: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, Any]:
    """Differences on the same photos, with paired intervals."""
    from leafscout.evaluation.bootstrap import paired_difference
    from leafscout.evaluation.comparison import macro_average_precision, macro_f1

    if not (mine["truth"] == theirs["truth"]).all():
        raise SystemExit("Student and teacher did not answer for the same photos.")
    truth = mine["truth"].astype(bool)
    return {
        "macro_ap": paired_difference(
            macro_average_precision, truth, mine["probs"], theirs["probs"]
        ).to_dict(),
        "macro_f1": paired_difference(
            macro_f1, truth, mine["found"] > 0.5, theirs["found"] > 0.5
        ).to_dict(),
    }


def report() -> None:
    """Join the cells; where a student was trained both ways, compare the two."""
    cells = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    pairs = []
    for cell in cells:
        alone = [
            one for one in cells
            if one["kind"] == "alone" and (one["fold"], one["seed"]) == (cell["fold"], cell["seed"])
        ]  # fmt: skip
        if cell["kind"] == "taught" and alone:
            taught, other = (
                {key: np.array(values) for key, values in one["answers"].items()}
                for one in (cell, alone[0])
            )
            pairs.append({"fold": cell["fold"], "seed": cell["seed"], **compare(taught, other)})
    shown = [{key: value for key, value in cell.items() if key != "answers"} for cell in cells]
    write_json(
        RESULTS.parent / "coffee_student.json",
        {
            "command": "python benchmarks/coffee_student.py run",
            "commit": ", ".join(sorted({cell["commit"][:10] for cell in cells})),
            "date": max(cell["date"] for cell in cells),
            "machine": cells[0]["machine"],
            "cells": shown,
            "taught_less_alone": pairs,
        },
    )


def main() -> None:
    """Read the command line."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=("run", "report"))
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--fold", type=int, action="append")
    parser.add_argument("--seed", type=int, action="append")
    given = parser.parse_args()
    if given.command == "report":
        report()
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    for fold in given.fold or (0, 1):
        for seed in given.seed or (0,):
            for kind in given.kind or KINDS:
                path = RESULTS / f"{kind}_{fold}_{seed}.json"
                if not path.exists():
                    write_json(path, run_cell(kind, fold, seed))
                    print(path, flush=True)


if __name__ == "__main__":
    main()
