"""Train and ask the resized-photo baseline of an evaluation."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leafscout.diagnosis.calibrate import fit_calibration
from leafscout.evaluation.summary import BaselineAnswers
from leafscout.evaluation.thresholds import bagged_f1_thresholds
from leafscout.focus.expert import EXPERT_STRIDE
from leafscout.inference.run_photos import read_own_parts
from leafscout.networks import bfloat16_helps, choose_device
from leafscout.nn.backbones import build_backbone
from leafscout.photos.labels import LabelTable
from leafscout.training.gated_recipe import GATED_FAMILY
from leafscout.training.loop import LoopOptions, train_stage
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import choose_recipe, recipe_from_dict
from leafscout.training.recogniser_recipe import RECOGNISER_FAMILY
from leafscout.training.resized_baseline import ResizedPhotoNetwork, ResizedPhotoStage
from leafscout.training.run_folder import write_rows


def answer_with_resized_photo(
    run: Path,
    plan: dict[str, Any],
    table: LabelTable,
    labels: tuple[str, ...],
    side_px: int,
    seed: int,
    progress: TrainingProgress,
    weights: Path | None = None,
) -> BaselineAnswers:
    """Train one network on the resized photos of the run's own splits, and ask it.

    It gets the expert's backbone, the same photos, augmentation and loop, at most the wall time
    that the run's two stages took together, and its own calibration and thresholds.

    Args:
        run: the run folder; checkpoints go to ``checkpoints/resized_photo_SIDEpx``.
        plan: of the run.
        table: photos to answer for.
        labels: the model's labels.
        side_px: long side of the resized photo.
        seed: of its training.
        progress: where to show it.
        weights: local file of pretrained weights, where the run was given one.

    Returns:
        Its probabilities and thresholds.

    Raises:
        InputError: when the photos that the run was trained on are no longer there.
    """
    given = plan["recipe"]
    # Models of one network have no expert, so the recipe tiny says what the baseline is built of.
    alone = given.get("family") in (GATED_FAMILY, RECOGNISER_FAMILY)
    recipe = choose_recipe("tiny") if alone else recipe_from_dict(given)
    train, validation = read_own_parts(run, plan, labels, why="The baseline learns from")
    device = choose_device()
    torch.manual_seed(seed)
    folder = run / "checkpoints" / f"resized_photo_{side_px}px"
    fresh = not (folder / "last.safetensors").exists()
    backbone = build_backbone(
        recipe.expert,
        stride=EXPERT_STRIDE,
        pretrained=recipe.pretrained and fresh,
        weights=weights if fresh else None,
    )
    network = ResizedPhotoNetwork(backbone, len(labels)).to(device)
    network = network.to(memory_format=torch.channels_last)
    stage = ResizedPhotoStage(
        network, recipe, train, validation, side_px, seed, device, bfloat16_helps(device)
    )
    rows: list[dict[str, Any]] = []
    options = LoopOptions(
        folder=folder,
        seed=seed,
        time_s=_training_seconds(run),
        device=device,
        mixed_precision=bfloat16_helps(device),
        on_epoch=lambda history: rows.__setitem__(slice(None), history),
    )
    train_stage(stage, options, progress)
    write_rows(folder / "history.csv", rows)
    validation_logits = stage.predict(validation.paths)
    calibration = fit_calibration(validation_logits, validation.truth)
    thresholds = bagged_f1_thresholds(
        validation.truth, calibration.apply(validation_logits)
    ).thresholds
    probs = calibration.apply(stage.predict(table.paths))
    return BaselineAnswers(probs.astype(np.float64), thresholds)


def _training_seconds(run: Path) -> float:
    with (run / "history.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    longest: dict[str, float] = {}
    for row in rows:
        longest[row["stage"]] = max(longest.get(row["stage"], 0.0), float(row["seconds"]))
    return sum(longest.values())
