"""Evaluate a run on labelled photos: numbers, comparisons and pictures into its folder."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.diagnosis.calibrate import Calibration
from leafscout.diagnosis.fuse import fuse_evidence
from leafscout.evaluation.localisation import (
    Localisation,
    count_false_tiles,
    find_lesion_tiles,
    hits_at_k,
    lesion_kept,
    play_pointing_game,
)
from leafscout.evaluation.summary import (
    AlternativeAnswers,
    BaselineAnswers,
    EvaluationSummary,
    summarise,
)
from leafscout.evaluation.tables import write_tables
from leafscout.evaluation.thresholds import describe_unfitted
from leafscout.explanation.lesion_map import peak_px_xy
from leafscout.inference.alternatives import answer_alternatives, read_wishes
from leafscout.inference.answer import build_diagnosis
from leafscout.inference.lesion_truth import LesionTruth, read_lesion_truth
from leafscout.inference.load import Model, load
from leafscout.inference.pictures import draw_pictures
from leafscout.inference.unseen_photos import align_labels, unseen_photos
from leafscout.model import Rules
from leafscout.photos.decode import open_photo
from leafscout.photos.labels import LabelTable
from leafscout.training.progress import TrainingProgress
from leafscout.training.run_folder import read_plan, write_rows
from leafscout.types import Diagnosis, Evidence, FloatArray

POINTING_TOLERANCE_PX = 15
"""A pointed place is the centre of a coarse cell: it may miss a small lesion by its half."""

HITS_AT = (1, 3, 5)


@dataclass
class Answers:
    """What the model said about all photos, gathered while they pass.

    Attributes:
        diagnoses: one a photo, without the arrays that are only needed for pictures.
        evidence: one a photo, of the deployed path.
        evidence_all: one a photo, all tiles read; empty unless baselines are wanted.
    """

    diagnoses: list[Diagnosis] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    evidence_all: list[Evidence] = field(default_factory=list)


def evaluate_run(
    run: Path,
    data: Path,
    *,
    baselines: bool = False,
    boxes: Path | None = None,
    masks: Path | None = None,
    force: bool = False,
    seed: int = 0,
    baseline_px: int | None = 512,
    weights: Path | None = None,
    photos_root: Path | None = None,
    thresholds: Sequence[str] = (),
    looks: Sequence[str] = (),
    progress: TrainingProgress | None = None,
) -> EvaluationSummary:
    """Evaluate a run on labelled photos that it was not trained on.

    Writes ``evaluation.json``, ``evaluation/`` (tables) and ``pictures/`` into the run folder.

    Args:
        run: the run folder.
        data: photos with labels. Photos of the run's own test split may be among photos that it
            was trained on: then only the test split is evaluated.
        baselines: also let the expert read every tile, and train one network on the resized
            photo within the time the run took.
        boxes: CSV of lesion boxes, for scoring localisation.
        masks: folder of lesion masks, for scoring localisation.
        force: evaluate photos that the run was trained on; the result is marked.
        seed: of bootstrap and baseline.
        baseline_px: long side of the resized photo; None leaves that network out.
        weights: local file of pretrained weights for the baseline, as given in training.
        photos_root: folder that the label file's photo names start from.
        thresholds: rules of other thresholds to measure beside the model's own, as
            ``recall=0.95``; fitted on the run's validation photos.
        looks: kinds of several looks at a photo to measure beside a single one, as ``flips``.
        progress: where to show it.

    Returns:
        Everything measured.

    Raises:
        InputError: no finished model, unfitting labels, or photos that overlap the training.
    """
    wishes = read_wishes(thresholds, looks)
    model = load(run)
    plan = read_plan(run)
    table, notes = unseen_photos(run, data, plan, photos_root, force=force)
    truth = align_labels(table, model.labels)
    lesions = None if boxes is None and masks is None else read_lesion_truth(boxes, masks)
    if lesions is not None:
        lesions.check_names(table.names)
    with progress or TrainingProgress() as shown:
        answers = _ask(model, table, shown, read_all=baselines)
        others = _variants(run, answers, model.recogniser.rules) if baselines else {}
        if baselines and baseline_px is not None:
            from leafscout.inference.baseline import answer_with_resized_photo

            name = f"resized_photo_{baseline_px}px"
            others[name] = answer_with_resized_photo(
                run, plan, table, model.labels, baseline_px, seed, shown, weights
            )
        usual = describe_unfitted(model.labels, model.manifest.thresholds_fitted)
        alternatives, unfitted = answer_alternatives(
            run, model, plan, table, answers.diagnoses, wishes, shown
        )
        shown.say("Measuring intervals.")
        summary = summarise(
            truth,
            np.stack([one.label_probs for one in answers.diagnoses]).astype(np.float64),
            np.asarray(model.manifest.thresholds),
            model.labels,
            healthy_prob=np.array([one.healthy_prob for one in answers.diagnoses]),
            localisation=None if lesions is None else locate(answers, table, truth, lesions),
            costs=[one.cost for one in answers.diagnoses],
            baselines=others,
            alternatives=alternatives,
            notes=list(dict.fromkeys([*notes, *usual, *unfitted])),
            seed=seed,
        )
    _write(run, table, truth, answers, {**others, **alternatives}, summary)
    draw_pictures(run / "pictures", answers.diagnoses, table, truth, model.manifest.glance_px)
    return summary


def _ask(
    model: Model,
    table: LabelTable,
    progress: TrainingProgress,
    *,
    read_all: bool,
) -> Answers:
    answers = Answers()
    with progress.task("diagnosing", total=len(table.paths)) as task:
        for path in table.paths:
            started_s = time.perf_counter()
            photo = open_photo(path)
            evidence, tiles = model.recogniser.forward(photo)
            diagnosis = build_diagnosis(model.recogniser, photo, evidence, tiles, started_s)
            answers.diagnoses.append(diagnosis)
            answers.evidence.append(evidence)
            if read_all:
                answers.evidence_all.append(model.recogniser.forward(photo, read_all=True)[0])
            task.advance()
    return answers


def _variants(run: Path, answers: Answers, rules: Rules) -> dict[str, BaselineAnswers]:
    """What the run's variants say: fusion off, glance only, every tile read."""
    path = run / "variants.json"
    if not path.is_file():
        return {}
    out = {}
    for name, values in json.loads(path.read_text(encoding="utf-8")).items():
        seen = answers.evidence_all if name.startswith("all_tiles") else answers.evidence
        fused = fuse_evidence(
            np.stack([one.focus_logits for one in seen]),
            np.stack([one.glance_logits for one in seen]),
            values["glance_weights"],
        )
        calibration = Calibration(
            tuple(values["calibration_scale"]),
            tuple(values["calibration_shift"]),
            exclusive=values.get("exclusive", False),
        )
        # Strange photos are drawn to the prior as the model's own are: else nothing compares.
        variant = replace(rules, calibration=calibration)
        probs = np.stack(
            [variant.calibrate(row, one.strangeness) for row, one in zip(fused, seen, strict=True)]
        )
        out[name] = BaselineAnswers(probs.astype(np.float64), np.asarray(values["thresholds"]))
    return out


def locate(
    answers: Answers, table: LabelTable, truth: NDArray[np.bool_], lesions: LesionTruth
) -> Localisation:
    """Score where the model looked and what it marked against lesions that training never saw.

    The pointed place is the strongest cell of the lesion map over all labels; of a photo on which
    nothing was read, there is none, which is a miss. Tiles are ranked by the scout.
    """
    points: list[tuple[float, float] | None] = []
    known: list[Any] = []
    hits: dict[int, list[float]] = {k: [] for k in HITS_AT}
    kept = []
    for diagnosis, name, row in zip(answers.diagnoses, table.names, truth, strict=True):
        where = lesions.lesions(name, diagnosis.photo_size_px_hw)
        if where is None or not row.any() or not where.any():
            continue
        points.append(_pointed_place(diagnosis))
        known.append(where)
        boxes = diagnosis.tiles.boxes_px_xyxy
        for k in HITS_AT:
            hits[k].append(hits_at_k(diagnosis.scout_probs, boxes, where, k))
        if find_lesion_tiles(boxes, where).any():
            kept.append(lesion_kept(diagnosis.read, boxes, where))
    healthy = [
        np.nan_to_num(one.tile_probs, nan=0.0)
        for one, row in zip(answers.diagnoses, truth, strict=True)
        if not row.any()
    ]
    return Localisation(
        photos=len(points),
        pointing=play_pointing_game(points, known, tolerance_px=POINTING_TOLERANCE_PX),
        hits_at_k={k: float(np.nanmean(values)) for k, values in hits.items() if values},
        lesion_kept=float(np.mean(kept)) if kept else None,
        false_tiles=count_false_tiles(healthy, 0.5) if healthy else None,
    )


def _pointed_place(diagnosis: Diagnosis) -> tuple[float, float] | None:
    strongest: FloatArray = diagnosis.lesion_map.max(axis=0)
    if not diagnosis.read.any() or not strongest.any():
        return None
    return peak_px_xy(strongest, diagnosis.lesion_map_px, diagnosis.photo_size_px_hw)


def _write(
    run: Path,
    table: LabelTable,
    truth: NDArray[np.bool_],
    answers: Answers,
    others: Mapping[str, BaselineAnswers | AlternativeAnswers],
    summary: EvaluationSummary,
) -> None:
    folder = run / "evaluation"
    folder.mkdir(exist_ok=True)
    summary.write_json(run / "evaluation.json")
    write_tables(summary, folder)
    labels = answers.diagnoses[0].labels
    rows: list[dict[str, Any]] = []
    for index, diagnosis in enumerate(answers.diagnoses):
        row: dict[str, Any] = {"image": table.names[index]}
        for column, label in enumerate(labels):
            row[f"truth_{label}"] = int(truth[index, column])
            row[f"prob_{label}"] = round(float(diagnosis.label_probs[column]), 6)
            row[f"found_{label}"] = int(
                diagnosis.label_probs[column] >= diagnosis.thresholds[column]
            )
            for name, other in others.items():
                row[f"{name}_prob_{label}"] = round(float(other.probs[index, column]), 6)
                row[f"{name}_found_{label}"] = int(
                    other.probs[index, column] >= other.thresholds[column]
                )
        row["tiles_read"] = diagnosis.cost.tiles_read
        row["tiles_total"] = diagnosis.cost.tiles_total
        row["macs_share"] = round(diagnosis.cost.macs / diagnosis.cost.macs_all_tiles, 6)
        row["seconds"] = round(diagnosis.cost.seconds, 4)
        rows.append(row)
    write_rows(folder / "per_photo.csv", rows)
