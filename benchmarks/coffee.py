"""Coffee leaves, out of fold: glance and focus against the resized photo and all tiles.

    python benchmarks/coffee.py folds                 write coffee_folds.csv (once, before any run)
    python benchmarks/coffee.py run --fold 0          train and evaluate one fold
    python benchmarks/coffee.py report                out-of-fold figures of the folds run so far

The photos are found through LEAFSCOUT_DATA (its folder ``coffee``); runs go to ``runs/coffee``.
Masks are used for scoring alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import time
from pathlib import Path

import numpy as np

from origin import find_data, read_commit

HERE = Path(__file__).parent
FOLDS = HERE / "coffee_folds.csv"
RESULT = HERE / "results" / "coffee.json"
FOLD_COUNT, FOLD_SEED = 5, 20260101
OVERRIDES = {
    "tile_px": 768,
    "expert_shrink": 2,
    "glance_px": 512,
    "expert_epochs": 6,
    "scout_epochs": 12,
}


def write_folds() -> None:
    """Assign folds, stratified by label, near-duplicates together."""
    from leafscout.photos.fingerprint import fingerprint_many, near_duplicate_groups
    from leafscout.photos.labels import read_labels
    from leafscout.photos.splits import assign_folds, merge_groups

    if FOLDS.exists():
        raise SystemExit(f"{FOLDS} exists: folds are fixed before the first run.")
    table = read_labels(find_data("coffee") / "labels.csv")
    groups = merge_groups(table.groups, near_duplicate_groups(fingerprint_many(table.paths)))
    folds = assign_folds(table, groups=groups, folds=FOLD_COUNT, seed=FOLD_SEED)
    with FOLDS.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "group", "fold"])
        writer.writerows(
            [Path(name).name, int(group), int(fold)]
            for name, group, fold in zip(table.names, groups, folds, strict=True)
        )


def read_folds() -> dict[str, tuple[int, int]]:
    """Photo → group and fold."""
    with FOLDS.open(newline="") as file:
        return {row["image"]: (int(row["group"]), int(row["fold"])) for row in csv.DictReader(file)}


def write_fold_tables(fold: int, work: Path) -> tuple[Path, Path]:
    """Label files of one fold: training photos with their groups, and test photos."""
    folds = read_folds()
    with (find_data("coffee") / "labels.csv").open(newline="") as file:
        labels = {row["image"]: row["labels"] for row in csv.DictReader(file)}
    work.mkdir(parents=True, exist_ok=True)
    out = []
    for part, wanted in (("train", False), ("test", True)):
        path = work / f"fold{fold}_{part}.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["image", "labels", "group"])
            for image, (group, its_fold) in folds.items():
                if (its_fold == fold) == wanted:
                    writer.writerow([image, labels[image], f"g{group}"])
        out.append(path)
    return out[0], out[1]


def run_fold(
    fold: int, work: Path, seed: int, threads: int | None, baselines_px: list[int]
) -> None:
    """Train and evaluate one fold through the public functions."""
    from leafscout.inference.evaluate import evaluate_run
    from leafscout.reports.run_report import write_run_report
    from leafscout.training.run import TrainOptions, train

    train_csv, test_csv = write_fold_tables(fold, work)
    data = find_data("coffee")
    weights = data.parent / "weights" / "mobilenetv2_100.safetensors"
    run = work / f"fold{fold}_seed{seed}"
    started = time.time()
    options = TrainOptions(
        weights=weights, seed=seed, resume=run.exists(), photos_root=data / "images",
        threads=threads,
    )  # fmt: skip
    train(train_csv, run, recipe="mobile", overrides=OVERRIDES, options=options)
    trained = time.time()
    for side_px in (None, *baselines_px):
        summary = evaluate_run(
            run, test_csv, baselines=True, masks=data / "masks", baseline_px=side_px,
            weights=weights, photos_root=data / "images",
        )  # fmt: skip
        (run / f"evaluation_{side_px or 0}.json").write_text(json.dumps(summary.to_dict()))
        (run / "evaluation" / "per_photo.csv").replace(run / f"per_photo_{side_px or 0}.csv")
    write_run_report(run)
    minutes = (trained - started) / 60
    log = work / "test_runs.csv"
    with log.open("a") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M')},{fold},{seed},{minutes:.1f}\n")
    print(f"fold {fold}: trained in {minutes:.1f} min, report in {run / 'report.html'}")


def report(work: Path, seed: int, wanted: list[int], target: Path) -> None:
    """Out-of-fold figures over the folds that were run, as JSON."""
    from leafscout.evaluation.summary import BaselineAnswers, summarise

    tables: dict[int, list[dict[str, str]]] = {}
    folds = []
    for fold in wanted:
        run = work / f"fold{fold}_seed{seed}"
        if not (run / "per_photo_0.csv").exists():
            continue
        folds.append(fold)
        for path in sorted(run.glob("per_photo_*.csv")):
            with path.open(newline="") as file:
                side_px = int(path.stem.removeprefix("per_photo_"))
                tables.setdefault(side_px, []).extend(csv.DictReader(file))
    if not folds:
        raise SystemExit("No fold was run yet.")
    rows = tables[0]
    labels = [key.removeprefix("truth_") for key in rows[0] if key.startswith("truth_")]

    def columns(source: list[dict[str, str]], prefix: str) -> np.ndarray:
        return np.array([[float(row[f"{prefix}{label}"]) for label in labels] for row in source])

    # Thresholds differ between folds: half a unit decides once found labels are lifted above it.
    def answers(source: list[dict[str, str]], name: str) -> tuple[np.ndarray, np.ndarray]:
        head = f"{name}_" if name else ""
        return columns(source, f"{head}prob_"), columns(source, f"{head}found_")

    truth = columns(rows, "truth_").astype(bool)
    names = ["fusion_off", "glance_only", "all_tiles", "all_tiles_fused"]
    sources = {name: (rows, name) for name in names}
    sources |= {
        f"resized_photo_{px}px": (tables[px], f"resized_photo_{px}px")
        for px in sorted(tables)
        if px and len(tables[px]) == len(rows)
    }
    probs, found = answers(rows, "")
    ranking = summarise(
        truth, probs, np.full(len(labels), 0.5), labels,
        baselines={
            name: BaselineAnswers(answers(*source)[0], np.full(len(labels), 0.5))
            for name, source in sources.items()
        },
    )  # fmt: skip
    deciding = summarise(
        truth, found, np.full(len(labels), 0.5), labels,
        baselines={
            name: BaselineAnswers(answers(*source)[1], np.full(len(labels), 0.5))
            for name, source in sources.items()
        },
    )  # fmt: skip
    read = np.array([[float(row["tiles_read"]), float(row["tiles_total"])] for row in rows])
    macs = np.array([float(row["macs_share"]) for row in rows])
    healthy = ~truth.any(axis=1)
    details = []
    for fold in folds:
        run = work / f"fold{fold}_seed{seed}"
        one = json.loads((run / "evaluation_0.json").read_text())
        plan = json.loads((run / "plan.json").read_text())
        with (run / "history.csv").open(newline="") as file:
            stages = {row["stage"]: float(row["seconds"]) for row in csv.DictReader(file)}
        details.append(
            {
                "fold": fold,
                "localisation": one["localisation"],
                "minutes_in_stages": {key: round(value / 60, 1) for key, value in stages.items()},
                "recipe": plan["recipe"],
            }
        )
    result = {
        "command": f"python benchmarks/coffee.py run --fold {{{','.join(map(str, folds))}}}; "
        f"python benchmarks/coffee.py report --folds {' '.join(map(str, folds))}",
        "commit": read_commit(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "seed": seed,
        "folds": folds,
        "photos": len(rows),
        "ranking": ranking.to_dict()["labels"],
        "deciding": deciding.to_dict()["labels"],
        "differences": {
            name: {
                "ranking": value["model_minus_baseline"],
                "macro": value["labels"]["macro"],
                "deciding": deciding.to_dict()["baselines"][name]["model_minus_baseline"],
                "deciding_macro": deciding.to_dict()["baselines"][name]["labels"]["macro"],
            }
            for name, value in ranking.to_dict()["baselines"].items()
        },
        "drop_rate": {
            "healthy": float(1 - (read[healthy, 0] / read[healthy, 1]).mean()),
            "diseased": float(1 - (read[~healthy, 0] / read[~healthy, 1]).mean()),
            "early_exit_healthy": float((read[healthy, 0] == 0).mean()),
            "early_exit_diseased": float((read[~healthy, 0] == 0).mean()),
        },
        "macs_share_of_all_tiles": {
            "healthy": float(macs[healthy].mean()),
            "diseased": float(macs[~healthy].mean()),
        },
        "details": details,
    }
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: result[key] for key in ("folds", "drop_rate")}, indent=1))


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["folds", "run", "report"])
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--baseline-px", type=int, nargs="*", default=[], help="also networks on resized photos"
    )
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--work", type=Path, default=Path("runs/coffee"))
    parser.add_argument(
        "--folds", type=int, nargs="*", default=list(range(FOLD_COUNT)), help="folds to report on"
    )
    parser.add_argument("--result", type=Path, default=RESULT, help="file for the report")
    given = parser.parse_args()
    if given.step == "folds":
        write_folds()
    elif given.step == "run":
        run_fold(given.fold, given.work, given.seed, given.threads, given.baseline_px)
    else:
        report(given.work, given.seed, given.folds, given.result)


if __name__ == "__main__":
    main()
