"""Few labels and many photos without: what does a teacher's word about those bring a student?

    python benchmarks/ablation_field.py render
    python benchmarks/distillation.py run --cell teacher_wide --cell teacher_tiny
    python benchmarks/unlabelled.py run [--cell NAME ...] [--seed S ...]
    python benchmarks/unlabelled.py report

The field, the student and the best teacher are those of ``distillation.py``. Of its training photos
one in ten keeps its labels; all validation photos do. Every cell sees as many photos while it
learns: with few, more epochs. ``few_teacher`` is a teacher that had the same few labels alone.
Each cell and seed writes its own file into ``results/unlabelled/``; those there are not run again.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ablation_field import field_folder
from distillation import BASE, SEEDS, STUDENT, TEACHERS, best_teacher, score_test
from learning_runs import quiet
from origin import read_commit
from result_file import write_json

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "unlabelled"
ONE_IN = 10
EPOCHS = int(BASE["expert_epochs"])
FIGURES = ("macro_auc_deployed", "macro_f1_deployed", "macro_auc_all_tiles", "macro_f1_all_tiles")


@dataclass(frozen=True)
class Cell:
    """One way to learn from few labels.

    Attributes:
        networks: of the run.
        teacher: ``none``, ``best`` of those that had all labels, or ``few_teacher``.
        unlabelled: whether the photos without labels are there.
    """

    networks: dict[str, Any]
    teacher: str = "none"
    unlabelled: bool = False

    @property
    def epochs(self) -> int:
        """So many that every cell sees as many photos."""
        return EPOCHS if self.unlabelled else EPOCHS * ONE_IN


CELLS = {
    "few_teacher": Cell(TEACHERS["teacher_wide"]),
    "alone": Cell(STUDENT),
    "taught": Cell(STUDENT, "best"),
    "taught_unlabelled": Cell(STUDENT, "best", unlabelled=True),
    "few_taught": Cell(STUDENT, "few_teacher"),
    "few_taught_unlabelled": Cell(STUDENT, "few_teacher", unlabelled=True),
}


def split_few(folder: Path, seed: int) -> tuple[Path, Path]:
    """A label file of few training photos and all validation photos; a folder of the rest."""
    source = field_folder()
    with (source / "learn.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    train = [row for row in rows if row["split"] == "train"]
    wanted = len(train) // ONE_IN
    rng = np.random.default_rng(seed)
    # One of each kind in turn: few photos drawn at random may lack a disease altogether.
    kinds: dict[str, list[dict[str, str]]] = {}
    for index in rng.permutation(len(train)):
        kinds.setdefault(train[index]["labels"], []).append(train[index])
    few: list[dict[str, str]] = []
    while len(few) < wanted:
        for kind in sorted(kinds):
            if kinds[kind] and len(few) < wanted:
                few.append(kinds[kind].pop())
    rest = folder / "rest"
    rest.mkdir()
    known = {row["image"] for row in few}
    for row in train:
        if row["image"] not in known:
            shutil.copy(source / row["image"], rest / Path(row["image"]).name)
    table = folder / "few.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["image", "labels", "split"], lineterminator="\n")
        writer.writeheader()
        writer.writerows([*few, *(row for row in rows if row["split"] == "val")])
    return table, rest


def run_cell(name: str, seed: int, work: Path) -> None:
    """Train one cell and measure it on the test photos."""
    target = RESULTS / f"{name}_{seed}.json"
    out = work / f"{name}_{seed}"
    if target.exists() and (name != "few_teacher" or (out / "model").is_dir()):
        return
    started_s = time.process_time()
    train_cell(name, seed, work, out)
    trained_s = time.process_time() - started_s
    write_json(
        target,
        {
            "cell": name,
            "seed": seed,
            "epochs": CELLS[name].epochs,
            **{key: value for key, value in score_run(out).items() if key in FIGURES},
            "train_cpu_s": round(trained_s, 1),
            "command": f"python benchmarks/unlabelled.py run --cell {name} --seed {seed}",
            "commit": read_commit(),
            "date": time.strftime("%Y-%m-%d"),
            "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
        },
    )


def train_cell(name: str, seed: int, work: Path, out: Path) -> None:
    """A run of one cell, its few labels drawn by the seed."""
    from leafscout.training.run import TrainOptions, train

    cell = CELLS[name]
    few_teacher = work / f"few_teacher_{seed}"
    if cell.teacher == "few_teacher" and not (few_teacher / "model").is_dir():
        raise SystemExit(f"Train the teacher first: --cell few_teacher --seed {seed}.")
    teachers = {"none": None, "best": best_teacher(), "few_teacher": few_teacher}
    with tempfile.TemporaryDirectory(prefix="leafscout-few-") as folder:
        table, rest = split_few(Path(folder), seed)
        train(
            table,
            out,
            recipe="tiny",
            overrides={**BASE, **cell.networks, "expert_epochs": cell.epochs},
            options=TrainOptions(
                seed=seed, threads=1, workers=1, teacher=teachers[cell.teacher],
                unlabelled=rest if cell.unlabelled else None, photos_root=field_folder(),
            ),
            progress=quiet(),
        )  # fmt: skip


def score_run(run: Path) -> dict[str, Any]:
    """Figures of the test photos."""
    from leafscout.photos.labels import read_labels

    table = read_labels(field_folder() / "learn.csv")
    validation = table.subset([i for i, split in enumerate(table.splits) if split == "val"])
    return score_test(run, validation, read_labels(field_folder() / "test.csv"))


def report() -> None:
    """Join what was run so far."""
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    if not found:
        raise SystemExit("Nothing was run yet.")
    rows = []
    for name in CELLS:
        mine = sorted((one for one in found if one["cell"] == name), key=lambda one: one["seed"])
        if mine:
            rows.append(
                {
                    "cell": name,
                    "seeds": [one["seed"] for one in mine],
                    "epochs": mine[0]["epochs"],
                    **{key: [one[key] for one in mine] for key in (*FIGURES, "train_cpu_s")},
                }
            )
    write_json(
        RESULTS.with_suffix(".json"),
        {
            "rows": rows,
            "teacher": best_teacher().name,
            "one_in": ONE_IN,
            "command": "python benchmarks/unlabelled.py run; "
            "python benchmarks/unlabelled.py report",
            "commit": ", ".join(sorted({one["commit"][:10] for one in found})),
            "date": max(one["date"] for one in found),
            "machine": found[0]["machine"],
        },
    )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("--cell", nargs="*", choices=tuple(CELLS), default=tuple(CELLS))
    parser.add_argument("--seed", nargs="*", type=int, default=SEEDS)
    parser.add_argument("--work", type=Path, default=HERE.parent / "runs" / "unlabelled")
    options = parser.parse_args()
    if options.what == "report":
        report()
        return
    for seed in options.seed:
        for name in options.cell:
            run_cell(name, seed, options.work)


if __name__ == "__main__":
    main()
