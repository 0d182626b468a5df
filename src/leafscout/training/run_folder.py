"""The run folder: plan, splits, history and the trained model, written so that people can read it.

::

    RUN/plan.json            what was asked for, and on which data
    RUN/splits.csv           every photo, its split, group and fingerprint
    RUN/history.csv          losses and scores of every epoch
    RUN/checkpoints/STAGE/   last and best weights for resuming, their hashes, and a journal
    RUN/stages.json          whether stages after the first two helped, where there are any
    RUN/tile_histograms.json  how sure expert and scout are of the validation photos' tiles
    RUN/variants.json        rules of the variants that an evaluation compares the model with
    RUN/model/               manifest.json and weights: all that a diagnosis needs
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from leafscout.errors import InputError
from leafscout.focus.expert import EXPERT_STRIDE, Expert
from leafscout.glance.scout import Scout
from leafscout.manifest import (
    MANIFEST_NAME,
    MANIFEST_VERSION,
    ChoiceEntry,
    FamiliarityEntry,
    Manifest,
    seal_manifest,
    sha256_of,
)
from leafscout.photos.labels import LabelTable
from leafscout.plain_text import defuse
from leafscout.training.checkpoint import remove_litter, save_tensors, write_atomically
from leafscout.training.fit_rules import FittedRules
from leafscout.training.photo_uses import SPLITS, read_splits

PLAN_VERSION = 1


def open_run(out: Path, plan: dict[str, Any], *, resume: bool) -> None:
    """Make a run folder, or check that a stopped run can go on with the same plan.

    Args:
        out: the run folder.
        plan: JSON-safe; written to ``plan.json`` for a new run.
        resume: go on with a run that was stopped.

    Raises:
        InputError: the folder holds something else, cannot be written, or holds a run with
            another plan.
    """
    path = out / "plan.json"
    if path.is_file():
        if not resume:
            raise InputError(
                f"{out} already holds a run. Add --resume to go on with it, or choose another "
                "folder with --out."
            )
        _check_same_plan(path, plan)
        remove_litter(out)
        return
    if resume:
        raise InputError(
            f"There is no run to resume in {out}: plan.json is missing. Leave out --resume to "
            "begin one."
        )
    if out.is_dir():
        # A process that was killed while it wrote the plan left nothing else.
        for part in out.glob(f".{path.name}.*.part"):
            part.unlink()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not an empty folder. Choose another --out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _json(plan))
    except OSError as error:
        raise InputError(
            f"The run folder {out} cannot be written ({error.strerror}). Choose another --out."
        ) from error


def _check_same_plan(path: Path, plan: dict[str, Any]) -> None:
    before = read_plan(path.parent)
    if before.get("version") != plan["version"]:
        raise InputError(
            f"{path} has version {before.get('version')}, but this LeafScout resumes version "
            f"{plan['version']}. Use the LeafScout that began the run, or start a new one."
        )
    if before.get("data_fingerprint") != plan["data_fingerprint"]:
        raise InputError(
            f"The run in {path.parent} was begun with other photos or labels "
            f"({', '.join(before.get('labels', []))}) than the ones given now "
            f"({', '.join(plan['labels'])}). Resume with the same data, or start a new run."
        )
    for key in ("recipe", "seed", "labels_complete", "teacher", "unlabelled"):
        if before.get(key) != plan.get(key):
            raise InputError(
                f"The run in {path.parent} was begun with another {key}. Resume with the options "
                "it was begun with, or start a new run."
            )


def read_plan(run: Path) -> dict[str, Any]:
    """The plan of a run.

    Raises:
        InputError: when the folder is not a run, or its plan is damaged.
    """
    path = run / "plan.json"
    if not path.is_file():
        raise InputError(f"{run} is not a run folder: it holds no plan.json.")
    try:
        plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged: it is not readable as JSON.") from error
    if not isinstance(plan, dict):
        raise InputError(f"{path} is damaged: it is not the plan of a run.")
    return plan


def fingerprint_data(table: LabelTable, hashes: Sequence[str]) -> str:
    """One hash of all photos with their labels; the order of the photos does not matter."""
    rows = sorted(
        f"{digest} {' '.join(np.array(table.labels)[row])}"
        for digest, row in zip(hashes, table.truth, strict=True)
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def write_splits(
    run: Path,
    table: LabelTable,
    splits: Sequence[str],
    groups: Sequence[int],
    hashes: Sequence[tuple[str, str]],
) -> None:
    """Write ``splits.csv``: photo, split, group, SHA-256, perceptual hash, labels.

    A run that goes on keeps its file; what is stored of its photos is stored in their order.

    Raises:
        InputError: when a run that goes on had other splits or its photos in another order.
    """
    rows = [
        {
            "image": table.names[index],
            "split": splits[index],
            "group": int(groups[index]),
            "sha256": hashes[index][0],
            "perceptual_hash": hashes[index][1],
            "labels": " ".join(np.array(table.labels)[table.truth[index]]) or "healthy",
        }
        for index in range(len(table.names))
    ]
    path = run / SPLITS
    if not path.exists():
        write_rows(path, rows)
        return
    if read_splits(run) != [(row["image"], row["split"]) for row in rows]:
        raise InputError(
            f"The run in {run} was begun with other splits, or with its photos in another order. "
            "Resume with the same data and options, or start a new run."
        )


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of equal keys as a CSV file that spreadsheets open safely, atomically."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: defuse(cell) for key, cell in row.items()} for row in rows)
    write_atomically(path, text.getvalue().encode())


def write_stage_outcomes(run: Path, outcomes: dict[str, dict[str, Any]]) -> None:
    """Write ``stages.json``: whether each stage after the first two was kept, and its scores."""
    write_atomically(run / "stages.json", _json(outcomes))


def save_model(
    run: Path,
    expert: Expert,
    scout: Scout,
    fitted: FittedRules,
    *,
    version: str,
    data_fingerprint: str,
) -> Path:
    """Write the ``model/`` of scout and expert.

    Returns:
        The model folder.
    """
    return write_model(
        run,
        {"expert": expert, "scout": scout},
        fitted,
        leafscout=version,
        expert=expert.backbone.name,
        scout=scout.backbone.name,
        scout_stride=scout.backbone.stride,
        place_stride=EXPERT_STRIDE if expert.backbone.fine is None else expert.backbone.fine.stride,
        data_fingerprint=data_fingerprint,
    )


def write_model(
    run: Path, networks: Mapping[str, nn.Module], fitted: FittedRules, **described: Any
) -> Path:
    """Write ``model/``: the weights first, the manifest with their hashes last.

    Args:
        run: the run folder.
        networks: name → network; each becomes ``model/NAME.safetensors``.
        fitted: the rules, and variants of them for comparisons.
        described: fields of the manifest that rules and weights do not say.

    Returns:
        The model folder.
    """
    folder = run / "model"
    folder.mkdir(exist_ok=True)
    files = {}
    for name, network in networks.items():
        file = folder / f"{name}.safetensors"
        save_tensors(file, network.state_dict(), {"network": name})
        files[file.name] = sha256_of(file)
    rules = fitted.rules
    manifest = Manifest(
        version=MANIFEST_VERSION,
        labels=rules.labels,
        tile_px=rules.tile_px,
        glance_px=rules.glance_px,
        pooling=rules.pooling,
        choice=ChoiceEntry(**vars(rules.choice)),
        glance_weights=rules.glance_weights,
        calibration_scale=rules.calibration.scale,
        calibration_shift=rules.calibration.shift,
        exclusive=rules.calibration.exclusive,
        thresholds=rules.thresholds,
        thresholds_fitted=fitted.thresholds_fitted,
        expert_macs=rules.expert_macs,
        scout_macs_per_px=rules.scout_macs_per_px,
        place_offset_px=rules.place_offset_px,
        familiarity=None
        if rules.familiarity is None
        else FamiliarityEntry(**vars(rules.familiarity)),
        files=files,
        **described,
    )
    variants = {
        name: {
            **vars(variant.choice),
            "glance_weights": variant.glance_weights,
            "calibration_scale": variant.calibration.scale,
            "calibration_shift": variant.calibration.shift,
            "exclusive": variant.calibration.exclusive,
            "thresholds": variant.thresholds,
        }
        for name, variant in fitted.variants.items()
    }
    write_atomically(run / "variants.json", _json(variants))
    write_atomically(folder / MANIFEST_NAME, seal_manifest(manifest))
    return folder


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()
