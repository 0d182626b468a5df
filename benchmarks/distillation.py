"""Teacher and student on the small synthetic field; what soft labels of coffee leaves hold.

    python benchmarks/distillation.py run [--cell NAME]... [--seed S]...   train what is missing
    python benchmarks/distillation.py continue [--cell NAME]...   a few epochs more for a student
    python benchmarks/distillation.py report                  one file of what was measured so far
    python benchmarks/distillation.py draw                    its picture
    python benchmarks/distillation.py soft RUN...             what coffee teachers' labels hold

The field is that of ``ablation_field.py`` (render it first): photos of 320×416 px, here with 20
tiles of 96 px and a glance of 384 px. The teacher is an expert that reads every tile. A student is
a whole run, scout and rules included, so what is compared is the way that is deployed. Every cell
is another way for the student to learn; ``alone`` has no teacher. Each cell and seed writes its own
file into ``results/distillation``; those that are there are not run again. Runs go to
``runs/distillation``. Thresholds come from validation photos, figures from test photos.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ablation_field import field_folder, macro_auc, score_photos
from learning_runs import quiet
from origin import read_commit
from result_file import write_json

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "distillation"
WORK = HERE.parent / "runs" / "distillation"
SEEDS = (0, 1, 2)
TEACHERS: dict[str, dict[str, Any]] = {
    "teacher_wide": {"expert": "tiny_wide", "scout": "tiny_narrow", "expert_epochs": 30},
    "teacher_tiny": {"expert": "tiny", "scout": "tiny_narrow", "expert_epochs": 30},
}
"""Who may teach: of all their runs, the one that is best on the validation photos does."""
STUDENT = {"expert": "tiny_narrow", "scout": "tiny_narrow"}
LARGER_STUDENT = {"expert": "tiny", "scout": "tiny_narrow"}
BASE: dict[str, Any] = {
    "tile_px": 96,
    "glance_px": 384,
    "expert_epochs": 16,
    "scout_epochs": 5,
    "border_exponent": 1.0,
}
"""Places at a tile's border count in proportion: all rows were run before there was another way."""
REACHED_AUC = 0.9

CELLS: dict[str, dict[str, Any]] = {
    **TEACHERS,
    "alone": STUDENT,
    "offline": STUDENT,
    "alone_tiny": LARGER_STUDENT,
    "offline_tiny": LARGER_STUDENT,
    "alone_long": {**STUDENT, "expert_epochs": 30},
    "offline_long": {**STUDENT, "expert_epochs": 30},
    "mutual": {**STUDENT, "distil_mode": "mutual"},
    "self": {**STUDENT, "distil_mode": "self"},
    "temperature_1": {**STUDENT, "distil_temperature": 1.0},
    "temperature_4": {**STUDENT, "distil_temperature": 4.0},
    "soft_weight_0.3": {**STUDENT, "distil_soft_weight": 0.3},
    "soft_weight_1": {**STUDENT, "distil_soft_weight": 1.0},
    "level_photo": {**STUDENT, "distil_levels": "photo"},
    "level_place": {**STUDENT, "distil_levels": "place"},
    "all_levels": {**STUDENT, "distil_levels": "photo+tile+place"},
    "features_cosine": {**STUDENT, "distil_features": "cosine"},
    "attention": {**STUDENT, "distil_attention_weight": 10.0},
}
"""Name of a cell → settings of the recipe ``tiny`` that differ from ``BASE``."""

CONTINUED: dict[str, dict[str, Any]] = {
    "labels": {"distil_soft_weight": 0.0},
    "tiles": {},
    "features_cosine": {"distil_features": "cosine"},
    "attention": {"distil_attention_weight": 10.0},
    "all_levels": {"distil_levels": "photo+tile+place"},
    "temperature_1": {"distil_temperature": 1.0},
    "temperature_4": {"distil_temperature": 4.0},
}
"""What a student that has learnt from labels alone is taught in a few epochs more."""

CONTINUED_EPOCHS, CONTINUED_RATE = 3, 1e-3

OFFLINE = tuple(
    name for name in CELLS if not name.startswith(("teacher", "alone", "mutual", "self"))
)
"""Cells that learn from the teacher's finished run."""


@contextmanager
def record_aucs(found: list[float]) -> Iterator[None]:
    """Note the macro-AUC on the validation photos after every epoch of an expert."""
    from leafscout.training import expert_stage

    judge = expert_stage.judge

    def note(bag_logits: Any, truth: Any, weights: Any, **options: Any) -> Any:
        found.append(macro_auc(truth, bag_logits.double().numpy()))
        return judge(bag_logits, truth, weights, **options)

    expert_stage.judge = note
    try:
        yield
    finally:
        expert_stage.judge = judge


def run_cell(cell: str, seed: int) -> dict[str, Any]:
    """Train one cell, unless its run is there, and measure it."""
    from leafscout.training.run import TrainOptions, train

    out = run_folder(cell, seed)
    teacher = best_teacher() if cell in OFFLINE else None
    aucs: list[float] = []
    started_cpu, started = time.process_time(), time.perf_counter()
    with record_aucs(aucs):
        train(
            field_folder() / "learn.csv",
            out,
            recipe="tiny",
            overrides={**BASE, **CELLS[cell]},
            options=TrainOptions(
                seed=seed,
                threads=1,
                workers=1,
                teacher=teacher,
                resume=(out / "plan.json").is_file(),
            ),
            progress=quiet(),
        )
    # Kept beside the run: measured again, a finished run has nothing left to train.
    notes = out / "training_notes.json"
    if not notes.exists():
        noted = {
            "val_auc_by_epoch": [round(value, 4) for value in aucs],
            "train_cpu_s": round(time.process_time() - started_cpu, 1),
            "train_wall_s": round(time.perf_counter() - started, 1),
        }
        notes.write_text(json.dumps(noted))
    trained = json.loads(notes.read_text())
    figures = measure_student(out, out if cell in TEACHERS else best_teacher())
    return {
        "cell": cell,
        "seed": seed,
        "settings": {**BASE, **CELLS[cell]},
        **figures,
        **trained,
        "command": f"python benchmarks/distillation.py run --cell {cell} --seed {seed}",
        "commit": read_commit(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
    }


def best_teacher() -> Path:
    """The run of a teacher whose expert has the best macro-AP on the validation photos."""
    scores = {}
    for name in TEACHERS:
        for run in WORK.glob(f"{name}_*"):
            if (run / "model" / "manifest.json").is_file():
                with (run / "history.csv").open(newline="") as file:
                    rows = [row for row in csv.DictReader(file) if row["stage"] == "expert"]
                scores[run] = max(float(row["val_macro_ap"]) for row in rows)
    if not scores:
        raise SystemExit("Train teachers first: run --cell teacher_wide --cell teacher_tiny.")
    return max(scores, key=lambda run: scores[run])


def run_folder(cell: str, seed: int) -> Path:
    return WORK / f"{cell}_{seed}"


def measure_student(run: Path, teacher_run: Path) -> dict[str, Any]:
    """The deployed way, the expert on all tiles, and how near the expert is to the teacher's."""
    from leafscout.photos.labels import read_labels

    test = read_labels(field_folder() / "test.csv")
    table = read_labels(field_folder() / "learn.csv")
    validation = table.subset([i for i, name in enumerate(table.splits) if name == "val"])
    return {**score_test(run, validation, test), **compare(run, teacher_run, validation)}


def score_test(run: Path, validation: Any, test: Any) -> dict[str, Any]:
    """Test photos along the deployed way, and with every tile read."""
    from leafscout.diagnosis.calibrate import fit_calibration
    from leafscout.evaluation.thresholds import best_f1_thresholds
    from leafscout.inference.load import load
    from leafscout.photos.decode import open_photo

    core = load(run, threads=1).core
    probs, read, macs = [], [], []
    everything: dict[str, list[Any]] = {"validation": [], "test": []}
    for name, photos in (("validation", validation), ("test", test)):
        for path in photos.paths:
            photo = open_photo(path)
            if name == "test":
                evidence, tiles = core.forward(photo)
                probs.append(core.label_probs(evidence))
                read.append(float(evidence.read.mean()))
                macs.append(core.count_macs(photo.size_px_hw, int(evidence.read.sum())))
            everything[name].append(core.forward(photo, read_all=True)[0].focus_logits)
    known = np.stack(everything["validation"])
    calibration = fit_calibration(known, validation.truth)
    thresholds = best_f1_thresholds(validation.truth, calibration.apply(known)).thresholds
    all_probs = calibration.apply(np.stack(everything["test"]))
    diseased = test.truth.any(axis=1)
    deployed = score_photos(test.truth, np.stack(probs), np.asarray(core.rules.thresholds))
    all_tiles = score_photos(test.truth, all_probs, thresholds)
    return {
        **{f"{key}_deployed": round(value, 4) for key, value in deployed.items()},
        **{f"{key}_all_tiles": round(value, 4) for key, value in all_tiles.items()},
        "expert_macs_per_tile": core.rules.expert_macs,
        "macs_all_tiles": core.rules.expert_macs * len(tiles),
        "macs_deployed": round(float(np.mean(macs))),
        "macs_deployed_most": round(float(np.max(macs))),
        "tiles_read_healthy": round(float(np.mean(np.array(read)[~diseased])), 4),
        "tiles_read_diseased": round(float(np.mean(np.array(read)[diseased])), 4),
        "test_photos": len(test.paths),
        "test_probs_deployed": np.round(np.stack(probs), 4).tolist(),
        "test_probs_all_tiles": np.round(all_probs, 4).tolist(),
        "thresholds_deployed": list(core.rules.thresholds),
        "thresholds_all_tiles": np.asarray(thresholds).tolist(),
    }


def compare(student: Any, teacher_run: Path, validation: Any) -> dict[str, float]:
    """Student, or the expert of its run, beside the teacher on tiles of the validation photos."""
    import torch

    from leafscout.focus.expert import Expert
    from leafscout.losses.distillation import attention_map, soft_label_loss
    from leafscout.networks import to_batch
    from leafscout.photos.decode import decode_photo
    from leafscout.photos.tiles import cut_tiles, lay_tiles
    from leafscout.training.teacher import load_teacher

    device = torch.device("cpu")
    pair = [
        load_teacher(one, "expert", device).expert if isinstance(one, Path) else one
        for one in (student, teacher_run)
    ]
    tile_kl, photo_kl, kernels, maps, spots = [], [], [], [], []
    for path in validation.paths:
        pixels = decode_photo(path).pixels
        tiles = lay_tiles((pixels.shape[0], pixels.shape[1]), BASE["tile_px"])
        batch = to_batch(cut_tiles(pixels, tiles, range(len(tiles))), device)
        with torch.no_grad():
            seen = [net.see(batch) for net in pair if isinstance(net, Expert)]
            said = [
                net.read_features(one).tile_logits
                for net, one in zip(pair, seen, strict=True)
                if isinstance(net, Expert)
            ]
        mine, theirs = seen[0].coarse.float(), seen[1].coarse.float()
        tile_kl.append(float(soft_label_loss(*said, 1.0)))
        pooled = [one.topk(3, dim=0).values.mean(dim=0, keepdim=True) for one in said]
        photo_kl.append(float(soft_label_loss(*pooled, 1.0)))
        kernels.append((mine.mean(dim=(2, 3)), theirs.mean(dim=(2, 3))))
        away = attention_map(mine) - attention_map(theirs)
        maps.append(float(away.square().sum(dim=1).mean()))
        spots.append(
            float(away.square().sum(dim=1)[theirs.mean(dim=(1, 2, 3)).topk(8).indices].mean())
        )
    students, teachers = (np.concatenate([one[k].numpy() for one in kernels]) for k in (0, 1))
    return {
        "kl_tiles": round(float(np.mean(tile_kl)), 5),
        "kl_photos": round(float(np.mean(photo_kl)), 5),
        "feature_cosine": round(fitted_cosine(students, teachers), 4),
        "attention_distance": round(float(np.mean(maps)), 5),
        "attention_distance_active": round(float(np.mean(spots)), 5),
    }


def fitted_cosine(student: np.ndarray, teacher: np.ndarray) -> float:
    """Mean cosine of teacher features with the best linear map of the student's onto them.

    Widths differ, so features are only comparable through a map. It is fitted on every other tile
    and judged on the rest.
    """
    weights, *_ = np.linalg.lstsq(student[::2], teacher[::2], rcond=None)
    guess, truth = student[1::2] @ weights, teacher[1::2]
    length = np.linalg.norm(guess, axis=1) * np.linalg.norm(truth, axis=1)
    return float(((guess * truth).sum(axis=1) / np.maximum(length, 1e-9)).mean())


def epochs_to(aucs: list[float], wanted: float) -> int | None:
    """Epochs until a validation AUC is reached for the first time."""
    return next((i + 1 for i, value in enumerate(aucs) if value >= wanted), None)


KEPT = (
    "macro_auc_all_tiles",
    "macro_f1_all_tiles",
    "macro_auc_deployed",
    "macro_f1_deployed",
    "kl_tiles",
    "kl_photos",
    "feature_cosine",
    "attention_distance",
    "tiles_read_healthy",
    "tiles_read_diseased",
    "macs_deployed",
    "macs_deployed_most",
    "macs_all_tiles",
    "train_cpu_s",
)
"""Figures of a cell that go into the report."""


def report() -> None:
    """Gather all cells, with differences to the teacher and to ``alone``, into one file."""
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    cells = {(one["cell"], one["seed"]): one for one in found}
    name, _, seed = best_teacher().name.rpartition("_")
    teacher = cells[(name, int(seed))]
    rows = []
    for name in CELLS:
        mine = [one for (cell, _), one in sorted(cells.items()) if cell == name]
        if not mine:
            continue
        control = "alone" + next((end for end in ("_tiny", "_long") if name.endswith(end)), "")
        taught = not name.startswith(("teacher", "alone"))
        alone = [cells[key] for one in mine if taught and (key := (control, one["seed"])) in cells]
        rows.append(
            {
                "cell": name,
                "seeds": [one["seed"] for one in mine],
                "epochs_to_auc": [
                    epochs_to(one["val_auc_by_epoch"][:: 2 if name == "mutual" else 1], REACHED_AUC)
                    for one in mine
                ],
                **{key: [one[key] for one in mine] for key in KEPT},
                "f1_minus_teacher": f1_difference(mine, [teacher] * len(mine)),
                "f1_minus_alone": f1_difference(mine, alone) if len(alone) == len(mine) else None,
                "all_tiles_f1_minus_teacher": f1_difference(
                    mine, [teacher] * len(mine), way="all_tiles"
                ),
                "all_tiles_f1_minus_alone": f1_difference(mine, alone, way="all_tiles")
                if len(alone) == len(mine)
                else None,
            }
        )
    result = {
        "command": "python benchmarks/distillation.py run; python benchmarks/distillation.py "
        "report",
        **{key: teacher[key] for key in ("date", "machine")},
        "commit": read_commit() or teacher["commit"],
        "epochs": BASE["expert_epochs"],
        "reached_auc": REACHED_AUC,
        "test_photos": teacher["test_photos"],
        "teacher": f"{teacher['cell']}, seed {teacher['seed']}",
        "teacher_macs": teacher["macs_all_tiles"],
        "teacher_f1": teacher["macro_f1_all_tiles"],
        "teacher_auc": teacher["macro_auc_all_tiles"],
        "rows": rows,
    }
    target = RESULTS.with_suffix(".json")
    target.write_text(json.dumps(result, indent=1) + "\n")
    for row in rows:
        print(
            row["cell"],
            row["seeds"],
            row["epochs_to_auc"],
            *(f"{key}={np.mean(row[key]):.4g}" for key in KEPT),
            row["f1_minus_teacher"],
            row["f1_minus_alone"],
        )


def continue_student(name: str) -> dict[str, Any]:
    """A few epochs more for the student that learnt from labels alone (seed 0)."""
    import tempfile
    from dataclasses import replace
    from itertools import count

    import torch

    from leafscout.photos.labels import read_labels
    from leafscout.training.expert_stage import ExpertStage
    from leafscout.training.loop import LoopOptions, Validation, train_stage
    from leafscout.training.recipes import choose_recipe
    from leafscout.training.teacher import hire_tutor, load_teacher

    torch.set_num_threads(1)
    device = torch.device("cpu")
    table = read_labels(field_folder() / "learn.csv")
    train, validation = (
        table.subset([i for i, split in enumerate(table.splits) if split == part])
        for part in ("train", "val")
    )
    settings = {**BASE, **STUDENT, **CONTINUED[name], "expert_epochs": CONTINUED_EPOCHS}
    recipe = choose_recipe("tiny", {**settings, "distil_mode": "offline"})
    with tempfile.TemporaryDirectory() as folder, quiet() as progress:
        student = load_teacher(run_folder("alone", 0), "expert", device).expert
        if student is None:
            raise SystemExit("Train the student first: run --cell alone --seed 0.")
        student.requires_grad_(requires_grad=True)
        tutor = hire_tutor(
            load_teacher(best_teacher(), "expert", device), recipe, train.paths,
            Path(folder) / "teacher.safetensors", device, mixed_precision=False,
            progress=progress,
        )  # fmt: skip
        stage = ExpertStage(
            student, recipe, train, validation, 0, device, mixed_precision=False, tutor=tutor
        )
        stage.settings = replace(stage.settings, learning_rate=CONTINUED_RATE)
        options = LoopOptions(
            Path(folder), 0, None, device, mixed_precision=False, on_epoch=lambda _: None
        )
        # The last epoch counts, not the best: what is compared is where the lessons lead.
        epochs = count()
        stage.validate = lambda: Validation(score=next(epochs), loss=0.0, macro_ap=0.0)
        train_stage(stage, options, progress)
        stage.finish()
    return {"cell": name, **CONTINUED[name], **compare(student, best_teacher(), validation)}


def continue_students(names: list[str]) -> None:
    """What is missing of the few epochs more, into one file."""
    target = HERE / "results" / "distillation_continued.json"
    before = json.loads(target.read_text()) if target.exists() else {"rows": []}
    rows = {one["cell"]: one for one in before["rows"]}
    if "before" not in rows:
        from leafscout.photos.labels import read_labels

        table = read_labels(field_folder() / "learn.csv")
        validation = table.subset([i for i, part in enumerate(table.splits) if part == "val"])
        found = compare(run_folder("alone", 0), best_teacher(), validation)
        rows["before"] = {"cell": "before", **found}
    for name in names:
        if name not in rows:
            rows[name] = continue_student(name)
            print(rows[name], flush=True)
    result = {
        "command": "python benchmarks/distillation.py continue",
        "commit": read_commit(),
        "date": time.strftime("%Y-%m-%d"),
        "seed": 0,
        "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
        "epochs": CONTINUED_EPOCHS,
        "teacher": best_teacher().name,
        "rows": list(rows.values()),
    }
    write_json(target, result)


def draw() -> None:
    """Validation AUC after every epoch, with and without a teacher, as a picture for the page."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for name, colour, words in (
        ("alone", "#8c8c8c", "labels alone"),
        ("offline", "#1b7f4d", "with the teacher"),
    ):
        for number, path in enumerate(sorted(RESULTS.glob(f"{name}_[0-9].json"))):
            aucs = json.loads(path.read_text())["val_auc_by_epoch"]
            axes.plot(range(1, len(aucs) + 1), aucs, color=colour, label=None if number else words)
    axes.axhline(REACHED_AUC, color="black", linewidth=0.6, linestyle=":")
    axes.set(xlabel="epoch", ylabel="macro-AUC, validation", ylim=(0.5, 1.0))
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(HERE.parent / "docs" / "pictures" / "distillation_epochs.png", dpi=110)


def f1_difference(
    mine: list[dict[str, Any]], others: list[dict[str, Any]], way: str = "deployed"
) -> dict[str, float]:
    """Macro-F1 less that of the others, meaned over seeds; paired over test photos.

    A teacher reads every tile; whoever else the student is compared with goes the student's way:
    as deployed, or on all tiles.
    """
    from leafscout.evaluation.bootstrap import draw_weights, percentile_interval
    from leafscout.photos.labels import read_labels

    truth = read_labels(field_folder() / "test.csv").truth
    given = []
    for one, other in zip(mine, others, strict=True):
        its_way = "all_tiles" if other["cell"] in TEACHERS else way
        given.append((found_labels(one, way), found_labels(other, its_way)))
    drawn = np.concatenate(
        [
            np.mean([f1(truth, a, weights) - f1(truth, b, weights) for a, b in given], axis=0)
            for weights in draw_weights(len(truth), 1000, 0)
        ]
    )
    whole = np.ones((1, len(truth)))
    value = np.mean([f1(truth, a, whole) - f1(truth, b, whole) for a, b in given])
    low, high = percentile_interval(drawn)
    return {"value": float(value), "low": low, "high": high}


def found_labels(cell: dict[str, Any], way: str) -> np.ndarray:
    return np.array(cell[f"test_probs_{way}"]) >= np.array(cell[f"thresholds_{way}"])


def f1(truth: np.ndarray, found: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(resamples,) macro-F1 for (resamples, photos) weights."""
    hits, both = weights @ (truth & found), weights @ truth + weights @ found
    return (2 * hits / np.maximum(both, 1e-9)).mean(axis=1)


def soft_labels(runs: list[Path]) -> None:
    """Which absent labels a teacher half believes, and whether another network mixes them up.

    For photos with the label *a* alone, the teacher's mean probability of each other label *b*,
    at temperatures 1 and 2. How easily *a* is taken for *b* is told by a network that shares
    nothing with the teacher but the photos: one network on the resized photo. Test photos only.
    """
    from scipy.stats import spearmanr

    rows: list[dict[str, str]] = []
    for run in runs:
        with (run / "per_photo_512.csv").open(newline="") as file:
            rows += list(csv.DictReader(file))
    labels = [key.removeprefix("truth_") for key in rows[0] if key.startswith("truth_")]

    def column(prefix: str, name: str) -> np.ndarray:
        return np.array([float(row[f"{prefix}{name}"]) for row in rows])

    truth = np.stack([column("truth_", name) > 0 for name in labels], axis=1)
    pairs = []
    for a, shown in enumerate(labels):
        alone = truth[:, a] & (truth.sum(axis=1) == 1)
        for b, absent in enumerate(labels):
            if a == b:
                continue
            probs = np.clip(column("all_tiles_prob_", absent)[alone], 1e-6, 1 - 1e-6)
            softer = 1 / (1 + ((1 - probs) / probs) ** 0.5)
            other = column("resized_photo_512px_prob_", absent)[alone]
            pairs.append(
                {
                    "shown": shown,
                    "absent": absent,
                    "photos": int(alone.sum()),
                    "soft_mass": round(float(probs.mean()), 4),
                    "soft_mass_t2": round(float(softer.mean()), 4),
                    "confusable": round(float(other.mean()), 4),
                }
            )
    correlation = spearmanr(
        [one["soft_mass"] for one in pairs], [one["confusable"] for one in pairs]
    )
    pairs.sort(key=lambda one: -one["confusable"])
    half = len(pairs) // 2
    result = {
        "command": f"python benchmarks/distillation.py soft {' '.join(map(str, runs))}",
        "commit": read_commit(),
        "date": time.strftime("%Y-%m-%d"),
        "seed": 0,
        "machine": f"{platform.machine()}, {platform.system()}",
        "photos": len(rows),
        "pairs": pairs,
        "rank_correlation": round(float(correlation.statistic), 3),
        "p_value": round(float(correlation.pvalue), 4),
        "soft_mass_confusable": round(float(np.mean([p["soft_mass"] for p in pairs[:half]])), 4),
        "soft_mass_unrelated": round(float(np.mean([p["soft_mass"] for p in pairs[half:]])), 4),
    }
    target = HERE / "results" / "soft_labels.json"
    target.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("run", "continue", "report", "draw", "soft"))
    parser.add_argument("runs", type=Path, nargs="*", help="evaluated coffee runs, for soft")
    parser.add_argument("--cell", action="append", choices=sorted({**CELLS, **CONTINUED}))
    parser.add_argument("--seed", action="append", type=int)
    options = parser.parse_args()
    if options.command == "report":
        report()
        return
    if options.command == "continue":
        continue_students(options.cell or list(CONTINUED))
        return
    if options.command == "draw":
        draw()
        return
    if options.command == "soft":
        soft_labels(options.runs)
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    for cell in options.cell or CELLS:
        seeds = options.seed or (SEEDS if cell in ("alone", "offline") else SEEDS[:1])
        for seed in seeds:
            path = RESULTS / f"{cell}_{seed}.json"
            if path.exists():
                continue
            found = run_cell(cell, seed)
            write_json(path, found)
            print(cell, seed, found["train_cpu_s"], found["macro_auc_all_tiles"], flush=True)


if __name__ == "__main__":
    main()
