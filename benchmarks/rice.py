"""Rice leaves from start to end: long photos, few of them, lesion boxes for scoring.

    python benchmarks/rice.py split      write rice_split.csv (once, before any run)
    python benchmarks/rice.py run        train, evaluate, and draw diagnoses of the test photos

The photos are found through LEAFSCOUT_DATA (its folder ``rice``); the run goes to ``runs/rice``.
The diseases come from different cameras: accuracy here proves nothing, the boxes do.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import time
from pathlib import Path

from origin import find_data, read_commit

HERE = Path(__file__).parent
SPLIT = HERE / "rice_split.csv"
RESULT = HERE / "results" / "rice.json"
SPLIT_SEED = 20260101
OVERRIDES = {
    "tile_px": 768,
    "expert_shrink": 2,
    "glance_px": 768,
    "expert_epochs": 6,
    "scout_epochs": 8,
}


def write_split() -> None:
    """Split the photos, stratified by label, near-duplicates together."""
    from leafscout.photos.fingerprint import fingerprint_many, near_duplicate_groups
    from leafscout.photos.labels import read_labels
    from leafscout.photos.splits import merge_groups, split_photos

    if SPLIT.exists():
        raise SystemExit(f"{SPLIT} exists: the split is fixed before the first run.")
    table = read_labels(find_data("rice") / "labels.csv")
    groups = merge_groups(table.groups, near_duplicate_groups(fingerprint_many(table.paths)))
    splits = split_photos(table, groups=groups, val_frac=0.2, test_frac=0.3, seed=SPLIT_SEED)
    with SPLIT.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "labels", "group", "split"])
        for name, row, group, split in zip(table.names, table.truth, groups, splits, strict=True):
            labels = " ".join(
                label for label, shows in zip(table.labels, row, strict=True) if shows
            )
            writer.writerow([Path(name).name, labels, f"g{group}", split])


def run(work: Path, seed: int, threads: int | None) -> None:
    """Train, evaluate with boxes against all tiles, and draw the test photos."""
    from leafscout.inference.evaluate import evaluate_run
    from leafscout.reports.run_report import write_run_report
    from leafscout.training.run import TrainOptions, train

    data = find_data("rice")
    folder = work / f"seed{seed}"
    options = TrainOptions(
        weights=data.parent / "weights" / "mobilenetv2_100.safetensors", seed=seed,
        resume=folder.exists(), photos_root=data / "images", threads=threads,
    )  # fmt: skip
    train(SPLIT, folder, recipe="mobile", overrides=OVERRIDES, options=options)
    summary = evaluate_run(
        folder, SPLIT, baselines=True, baseline_px=None, boxes=data / "boxes.csv",
        photos_root=data / "images",
    ).to_dict()  # fmt: skip
    write_run_report(folder)
    with (folder / "history.csv").open(newline="") as file:
        seconds = {row["stage"]: float(row["seconds"]) for row in csv.DictReader(file)}
    stages = {name: round(value / 60, 1) for name, value in seconds.items()}
    result = {
        "command": "python benchmarks/rice.py run",
        "commit": read_commit(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "seed": seed,
        "minutes_in_stages": stages,
        "labels": summary["labels"],
        "localisation": summary["localisation"],
        "cost": summary["cost"],
        "baselines": {
            name: {"macro": one["labels"]["macro"], "difference": one["model_minus_baseline"]}
            for name, one in summary["baselines"].items()
        },
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: result[key] for key in ("minutes_in_stages", "localisation")}, indent=1))


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["split", "run"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--work", type=Path, default=Path("runs/rice"))
    given = parser.parse_args()
    if given.step == "split":
        write_split()
    else:
        run(given.work, given.seed, given.threads)


if __name__ == "__main__":
    main()
