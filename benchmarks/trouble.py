"""Do probabilities mean what they say when photos are in trouble, or of something else?

    python benchmarks/trouble.py render [--photos 2000]   a field of small photos, in parts
    python benchmarks/trouble.py train [--model NAME]     a small model on other such photos
    python benchmarks/trouble.py measure [--model NAME]   clean, five troubles, and strangers
    python benchmarks/trouble.py real RUN…                runs on real photos of coffee leaves

Each step goes on where it was stopped. Everything lies in runs/trouble; ``measure`` and ``real``
write results/trouble.json. The models ``wide_light…`` learn from photos of wider exposure and
colours. ``real`` needs LEAFSCOUT_DATA and runs that hold per_photo_0.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.evaluation.calibration import measure_calibration
from leafscout.evaluation.scores import roc_auc
from leafscout.inference.load import Model, load
from leafscout.inference.looks import with_rules
from leafscout.photos.decode import open_photo
from leafscout.photos.labels import read_labels
from leafscout.photos.synthetic import DEMO_FIELD, render_field
from origin import find_data
from result_file import write_json
from strange_photos import (
    RECOLOURED,
    STRANGERS,
    TROUBLES,
    open_pixels,
    recolour_leaves,
    save_jpeg,
)
from timing import describe_run

HERE = Path(__file__).parent
WORK = HERE.parent / "runs" / "trouble"
RESULT = HERE / "results" / "trouble.json"
FIELD = replace(DEMO_FIELD, size_px_hw=(240, 320), lesion_sizes_px=(16, 24))
SIZES = {"tile_px": 64, "glance_px": 192, "expert_epochs": 12, "scout_epochs": 8}
WIDE_LIGHT = {"exposure_stops": 1.2, "colour_change": 0.3}
MODELS: dict[str, dict[str, Any]] = {
    "usual": {},
    "wide_light": WIDE_LIGHT,
    "wide_light_longer": {**WIDE_LIGHT, "expert_epochs": 20, "copied_label_frac": 0.25},
}
"""Name of a model → settings that differ from ``SIZES``."""

PART, LEARNT, SEED = 100, 400, 11
SURE = 0.99
Probs = NDArray[np.float32]
Floats = NDArray[np.float64]
Draw = Callable[[Floats, Floats, Floats], Floats]
"""Raw probabilities (photos, labels), strangeness (photos,) and prior (labels,) → drawn ones."""


def render(photos: int) -> None:
    """Photos to learn from, and those to measure on, in parts."""
    if not (WORK / "train").exists():
        render_field(WORK / "train", photos=LEARNT, settings=FIELD, seed=SEED, workers=1)
    for part in range(photos // PART):
        folder = WORK / "photos" / f"{part:03d}"
        if not folder.exists():
            render_field(folder, photos=PART, settings=FIELD, seed=SEED + 1 + part, workers=1)


def run_folder(name: str) -> Path:
    """Where a model lies."""
    return WORK / ("run" if name == "usual" else f"run_{name}")


def cells_folder(name: str) -> Path:
    """Where what was measured of it lies."""
    return WORK / ("cells" if name == "usual" else f"cells_{name}")


def train(name: str) -> None:
    """The model that is measured: the smallest recipe, on small photos."""
    from leafscout.training.run import TrainOptions
    from leafscout.training.run import train as learn

    run, overrides = run_folder(name), {**SIZES, **MODELS[name]}
    options = TrainOptions(seed=0, threads=1, workers=1, resume=(run / "plan.json").exists())
    learn(WORK / "train", run, recipe="tiny", overrides=overrides, options=options)


class Answers:
    """What a model said of many photos."""

    def __init__(self) -> None:
        self.truth: list[NDArray[np.bool_]] = []
        self.raw: list[Probs] = []
        self.probs: list[Probs] = []
        self.strangeness: list[float] = []
        self.unsure = 0

    def ask(self, model: Model, photo: Any, truth: NDArray[np.bool_] | None = None) -> None:
        """Diagnose one photo, as it is deployed and without drawing to the prior."""
        core = model.recogniser
        evidence, _ = core.forward(open_photo(photo))
        # The same sentence as in a diagnosis, without drawing its pictures.
        probs = core.label_probs(evidence)
        self.probs.append(probs)
        self.raw.append(core.label_probs(replace(evidence, strangeness=0.0)))
        self.strangeness.append(evidence.strangeness)
        self.truth.append(np.zeros(len(probs), dtype=np.bool_) if truth is None else truth)

    def describe(self, labels: Sequence[str], *, labelled: bool = True) -> dict[str, Any]:
        """Everything that is reported."""
        strange = np.array(self.strangeness) > 1.0
        out: dict[str, Any] = {
            "photos": len(self.probs),
            "strange_frac": float(strange.mean()),
            "highest_prob": float(np.max(self.probs)),
            "highest_prob_untouched": float(np.max(self.raw)),
            "sure_frac": float((np.max(self.probs, axis=1) >= SURE).mean()),
            "sure_frac_untouched": float((np.max(self.raw, axis=1) >= SURE).mean()),
            "strangeness": [float(np.quantile(self.strangeness, q)) for q in (0.0, 0.05, 0.5)],
        }
        if labelled:
            out["ece"] = self._eces(labels, self.probs, np.ones_like(strange))
            out["ece_untouched"] = self._eces(labels, self.raw, np.ones_like(strange))
            if (~strange).sum() >= PART:
                out["ece_not_strange"] = self._eces(labels, self.probs, ~strange)
            truth, raw = np.stack(self.truth), np.stack(self.raw).astype(np.float64)
            out["auroc"] = {
                label: float(roc_auc(truth[:, column], raw[:, column])[0])
                for column, label in enumerate(labels)
            }
        return out

    def _eces(
        self, labels: Sequence[str], probs: Sequence[Probs], used: NDArray[np.bool_]
    ) -> dict[str, list[float]]:
        truth, values = np.stack(self.truth)[used], np.stack(probs)[used].astype(np.float64)
        return {
            label: measure_ece(label, truth[:, column], values[:, column])
            for column, label in enumerate(labels)
        }


def measure_ece(label: str, truth: NDArray[Any], probs: NDArray[Any]) -> list[float]:
    """ECE, and its mean and 95% quantile for perfectly calibrated probabilities at that number."""
    found = measure_calibration(label, truth, probs, draws=200)
    return [found.ece, found.ece_if_perfect, found.ece_if_perfect_high]


def rng_of(*words: object) -> np.random.Generator:
    """A generator that follows from words alone."""
    return np.random.default_rng(zlib.crc32(" ".join(map(str, words)).encode()))


def pool_log_odds(start: float, power: float) -> Draw:
    """The weighted mean of log odds; the networks' weight falls from a strangeness on."""

    def draw(raw: Floats, strangeness: Floats, prior: Floats) -> Floats:
        trust = np.minimum(1.0, start / np.maximum(strangeness, 1e-9))[:, None] ** power
        said, usual = (np.log(one / (1 - one)) for one in (np.clip(raw, 1e-6, 1 - 1e-6), prior))
        pooled: Floats = 1 / (1 + np.exp(-(trust * said + (1 - trust) * usual)))
        return pooled

    return draw


def pool_probs(raw: Floats, strangeness: Floats, prior: Floats) -> Floats:
    """The weighted mean of the probabilities themselves."""
    trust = np.minimum(1.0, 1 / np.maximum(strangeness, 1e-9))[:, None] ** 2
    pooled: Floats = trust * raw + (1 - trust) * prior
    return pooled


REMEDIES: dict[str, Draw] = {
    "nothing drawn": lambda raw, *_: raw,
    "log odds, 1 / s² (deployed)": pool_log_odds(1.0, 2.0),
    "probabilities, 1 / s²": pool_probs,
    "log odds, 1 / s⁴": pool_log_odds(1.0, 4.0),
    "log odds, (0.7 / s)² from s = 0.7": pool_log_odds(0.7, 2.0),
}
"""Ways to draw probabilities of strange photos to the prior; s is their strangeness."""

LIMITS = (1.0, 0.9, 0.8, 0.7)


def try_remedies(model: Model, cells: Path) -> dict[str, Any]:
    """What other ways to draw, and other limits, would have made of the same answers."""
    familiarity = model.manifest.familiarity
    if familiarity is None:
        return {}
    prior, found = np.array(familiarity.prior), {}
    for name, _ in list_conditions():
        cell = cells / f"{name.replace(' ', '_')}.npz"
        if not cell.exists():
            continue
        stored, strangeness = np.load(cell), np.load(cell.with_suffix(".npy"))
        raw, truth = stored["raw"].astype(np.float64), stored["truth"]
        limits = {}
        for limit in LIMITS:
            kept = strangeness <= limit
            rest = worst_ece(truth[kept], raw[kept]) if kept.sum() >= PART else None
            limits[str(limit)] = [float(1 - kept.mean()), rest]
        found[name] = {
            "draws": {
                how: worst_ece(truth, draw(raw, strangeness, prior))
                for how, draw in REMEDIES.items()
            },
            "limits": limits,
        }
    return found


def worst_ece(truth: NDArray[np.bool_], probs: Floats) -> float:
    """The largest ECE of a label."""
    return max(
        measure_calibration(str(column), truth[:, column], probs[:, column], draws=1).ece
        for column in range(truth.shape[1])
    )


def list_photos() -> list[tuple[Path, frozenset[str]]]:
    """Photos of the finished parts, with their labels."""
    found = []
    for folder in sorted((WORK / "photos").glob("[0-9]*")):
        table = read_labels(folder)
        names = np.array(table.labels)
        found += [
            (path, frozenset(names[row]))
            for path, row in zip(table.paths, table.truth, strict=True)
        ]
    return found


def list_conditions() -> Iterator[tuple[str, Callable[[Path, str], Any]]]:
    """Name → a photo's path to what is diagnosed."""
    yield "clean", lambda path, _: path
    for name, (spoil, unit, strengths) in TROUBLES.items():
        for strength in strengths:

            def change(path: Path, key: str, do: Any = spoil, by: float = strength) -> bytes:
                data: bytes = do(open_pixels(path.read_bytes()), by, rng_of(key, path))
                return data

            yield f"{name} {strength:g} {unit}", change


def measure(most: int, which: str) -> None:
    """Every condition that is not there yet, and the result."""
    model = load(run_folder(which), threads=1)
    cells = cells_folder(which)
    part = "field" if which == "usual" else f"field_{which}"
    photos = list_photos()[:most]
    for name, change in list_conditions():
        cell = cells / f"{name.replace(' ', '_')}.json"
        if cell.exists() and json.loads(cell.read_text())["photos"] >= len(photos):
            continue
        answers = Answers()
        for path, labels in photos:
            truth = np.array([label in labels for label in model.labels])
            answers.ask(model, change(path, name), truth)
        write_json(cell, {"condition": name, **answers.describe(model.labels)})
        np.save(cell.with_suffix(".npy"), answers.strangeness)
        np.savez(cell.with_suffix(".npz"), raw=answers.raw, truth=answers.truth)
        write_result(**{part: collect_cells(model, cells)})
    if not (cells / "strangers.json").exists():
        known = np.load(cells / "clean.npy")
        found = measure_strangers(model, FIELD.size_px_hw, 100, known)
        some = [path for path, _ in photos[:100]]
        for name, turn in RECOLOURED.items():
            answers = Answers()
            for path in some:
                answers.ask(model, save_jpeg(recolour_leaves(open_pixels(path.read_bytes()), turn)))
            found[name] = judge_strangers(answers, known)
        write_json(cells / "strangers.json", found)
    write_result(**{part: collect_cells(model, cells)})


def collect_cells(model: Model, folder: Path) -> dict[str, Any]:
    """What is there so far."""
    familiarity = model.manifest.familiarity
    cells = {
        name: json.loads(path.read_text())
        for name, _ in list_conditions()
        if (path := folder / f"{name.replace(' ', '_')}.json").exists()
    }
    strangers = folder / "strangers.json"
    return {
        "field": {"size_px_hw": FIELD.size_px_hw, "learnt_from": LEARNT, "recipe": SIZES},
        "milliseconds": {px: time_familiarity(model, px) for px in (192, 768)},
        "false_alarm_frac": None if familiarity is None else familiarity.false_alarm_frac,
        "conditions": cells,
        "remedies": try_remedies(model, folder),
        "strangers": json.loads(strangers.read_text()) if strangers.exists() else {},
    }


def time_familiarity(model: Model, view_px: int) -> float:
    """Milliseconds of processor time to tell how familiar a view of this long side is."""
    view = rng_of("view").integers(0, 256, (view_px * 3 // 4, view_px, 3), dtype=np.uint8)
    rules, repeats = model.recogniser.rules, 20
    if rules.familiarity is None:
        return 0.0
    familiarity = replace(rules.familiarity, view_px=view_px)
    started = time.process_time()
    for _ in range(repeats):
        familiarity.measure(view)
    return 1000 * (time.process_time() - started) / repeats


def measure_strangers(
    model: Model, size_px_hw: tuple[int, int], count: int, known: NDArray[np.float64]
) -> dict[str, Any]:
    """What is drawn by rules, in the size of the model's photos."""
    found = {}
    for name, draw in STRANGERS.items():
        answers = Answers()
        for number in range(count):
            answers.ask(model, save_jpeg(draw(rng_of(name, number), *size_px_hw)))
        found[name] = judge_strangers(answers, known)
    return found


def judge_strangers(answers: Answers, known: NDArray[np.float64]) -> dict[str, Any]:
    """How well they are told from photos of the kind that was learnt from, and what was said."""
    scores = np.concatenate([known, answers.strangeness])
    truth = np.arange(len(scores)) >= len(known)
    auroc = float(roc_auc(truth, scores)[0])
    return {**answers.describe((), labelled=False), "auroc": auroc}


# Real photos --------------------------------------------------------------------------------------


def measure_real(runs: Sequence[Path]) -> None:
    """Calibration of answers on photos that a run did not see, and strangers for the first run."""
    rows = [row for run in runs for row in csv.DictReader((run / "per_photo_0.csv").open())]
    labels = [key.removeprefix("truth_") for key in rows[0] if key.startswith("truth_")]
    eces = {}
    for label in labels:
        truth = np.array([row[f"truth_{label}"] == "1" for row in rows])
        eces[label] = measure_ece(
            label, truth, np.array([float(row[f"prob_{label}"]) for row in rows])
        )
    model, held_out = teach_familiarity(runs[0])
    answers = Answers()
    for path in held_out:
        answers.ask(model, path)
    known = np.array(answers.strangeness)
    strangers = measure_strangers(model, (600, 1200), 12, known)
    for name, folder, step in (
        ("another crop: rice leaves", "rice", 2),
        ("another crop: apple leaves", "apple", 80),
    ):
        others = Answers()
        for path in sorted((find_data(folder) / "images").glob("*.jpg"))[::step]:
            others.ask(model, path)
        strangers[name] = judge_strangers(others, known)
    write_result(
        real={
            "runs": [run.name for run in runs],
            "photos": len(rows),
            "ece": eces,
            "known": answers.describe((), labelled=False),
            "strangers": strangers,
        }
    )


def teach_familiarity(run: Path) -> tuple[Model, list[Path]]:
    """A run that was trained before familiarity was learnt, with it; and photos it never saw."""
    from leafscout.glance.view import take_glance
    from leafscout.manifest import FamiliarityEntry
    from leafscout.training.fit_rules import FittedRules
    from leafscout.training.learn_familiarity import learn_familiarity
    from leafscout.training.photo_uses import read_splits
    from leafscout.training.progress import TrainingProgress

    model = load(run, threads=1)
    images = find_data("coffee") / "images"
    table = read_labels(images.parent / "labels.csv", photos_root=images)
    used = dict(read_splits(run))
    splits = np.array([used.get(Path(path).name, "new") for path in table.paths])
    fitted = FittedRules(model.recogniser.rules, model.manifest.thresholds_fitted, {})
    with TrainingProgress() as progress:
        taught = learn_familiarity(
            fitted,
            table.subset(np.flatnonzero(splits == "train")),
            table.subset(np.flatnonzero(splits == "val")),
            lambda photo: take_glance(photo, model.recogniser.rules.glance_px).pixels,
            progress,
        ).rules.familiarity
    if taught is None:
        raise SystemExit(f"{run} was trained on too few photos.")
    core = with_rules(model.recogniser, familiarity=taught)
    manifest = model.manifest.model_copy(update={"familiarity": FamiliarityEntry(**vars(taught))})
    new = [path for path, split in zip(table.paths, splits, strict=True) if split == "new"]
    return Model(core, manifest, run), new


def write_result(**parts: Any) -> None:
    """Put parts into the result, each with what it depends on."""
    known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    made = {**describe_run(), "date": time.strftime("%Y-%m-%d")}
    write_json(RESULT, known | {name: {**made, **part} for name, part in parts.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    for step in ("render", "train", "measure"):
        steps.add_parser(step).add_argument("--photos", type=int, default=2000)
    for step in ("train", "measure"):
        steps.choices[step].add_argument("--model", choices=list(MODELS), default="usual")
    steps.add_parser("real").add_argument("runs", type=Path, nargs="+")
    given = parser.parse_args()
    if given.step == "render":
        render(given.photos)
    elif given.step == "train":
        train(given.model)
    elif given.step == "measure":
        measure(given.photos, given.model)
    else:
        measure_real(given.runs)


if __name__ == "__main__":
    main()
