"""Train the integrated variant: the same run folder, with one network instead of two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leafscout.diagnosis.calibrate import Calibration
from leafscout.gated_model import GatedModel
from leafscout.gated_networks import TorchTokenNetwork, build_gated_transformer
from leafscout.glance.choose import ChoiceRule
from leafscout.glance.view import take_glance
from leafscout.manifest import GateEntry
from leafscout.model import Rules
from leafscout.photos.labels import LabelTable
from leafscout.photos.loader import load_photos
from leafscout.recognisers.gated_transformer import GatedTransformer
from leafscout.training.fit_rules import FittedRules
from leafscout.training.gate_stage import GateStage
from leafscout.training.gated_recipe import GatedRecipe
from leafscout.training.loop import LoopOptions
from leafscout.training.one_network_run import (
    OneNetwork,
    fit_answers,
    judge_network,
    refuse_options,
    train_one_network,
)
from leafscout.training.progress import TrainingProgress
from leafscout.types import FloatArray

GATED_TIME_FRAC = 0.9
"""Share of the time that is left when the network begins to learn; the rest is for the rules."""

KEEP_PROB = 0.5
"""A token is kept where keeping is likelier than not, as in training."""

STAGE = "gated"


def build_network(recipe: GatedRecipe, labels: int, seed: int) -> GatedTransformer:
    """A fresh network of a recipe, its weights drawn from the seed."""
    torch.manual_seed(seed)
    return build_gated_transformer(
        recipe.stem,
        labels,
        token_px=recipe.token_px,
        width=recipe.width,
        early_blocks=recipe.early_blocks,
        later_blocks=recipe.later_blocks,
        num_heads=recipe.num_heads,
    )


def train_gated(
    stage: GateStage,
    out: Path,
    *,
    time_s: float | None,
    data_fingerprint: str,
    progress: TrainingProgress,
) -> Path:
    """Train the network, fit its rules and write the model folder.

    Args:
        stage: the network with its photos.
        out: an open run folder.
        time_s: wall time; None for no bound.
        data_fingerprint: of the photos and labels.
        progress: where to show it.

    Returns:
        The run folder.
    """
    recipe = stage.recipe

    def fit(options: LoopOptions) -> FittedRules:
        model = GatedModel(
            TorchTokenNetwork(stage.network, stage.device),
            first_rules(recipe, stage.train.labels),
        )
        return fit_gated_rules(
            model,
            stage.validation,
            progress,
            judge=lambda logits: judge_network(logits, stage, options.folder),
        )

    family = OneNetwork(
        name=STAGE,
        time_frac=GATED_TIME_FRAC,
        fit=fit,
        take_view=lambda photo: take_glance(photo, recipe.view_px).pixels,
        described={
            "expert": recipe.stem,
            "scout": recipe.stem,
            "scout_stride": recipe.token_px,
            "place_stride": recipe.token_px,
            "gate": GateEntry(
                width=recipe.width,
                early_blocks=recipe.early_blocks,
                later_blocks=recipe.later_blocks,
                num_heads=recipe.num_heads,
            ),
        },
    )
    return train_one_network(
        stage, family, out, time_s=time_s, data_fingerprint=data_fingerprint, progress=progress
    )


def first_rules(recipe: GatedRecipe, labels: tuple[str, ...]) -> Rules:
    """The rules before anything is fitted."""
    count = len(labels)
    return Rules(
        labels=labels,
        tile_px=recipe.token_px,
        glance_px=recipe.view_px,
        pooling=recipe.pooling,
        # No quota: what the gate is sure of decides, however much that is.
        choice=ChoiceRule(threshold_prob=KEEP_PROB, max_tiles=1_000_000),
        glance_weights=(0.0,) * count,
        calibration=Calibration((1.0,) * count, (0.0,) * count, recipe.exclusive),
        thresholds=(0.5,) * count,
        expert_macs=0,
        scout_macs_per_px=0.0,
    )


def fit_gated_rules(
    model: GatedModel,
    validation: LabelTable,
    progress: TrainingProgress,
    *,
    judge: Callable[[FloatArray], list[str]] | None = None,
) -> FittedRules:
    """Fit calibration and thresholds on the path that is deployed, and again with all tokens.

    Args:
        model: the trained network with its first rules.
        validation: photos used for nothing but validation.
        progress: where to show it.
        judge: (photos, labels) evidence → sentences that are shown beside.
    """
    gated, dense = [], []
    with progress.task("fitting the rules", total=len(validation.paths)) as task:
        for _, photo in load_photos(validation.paths, range(len(validation.paths))):
            gated.append(model.forward(photo)[0].focus_logits)
            dense.append(model.forward(photo, read_all=True)[0].focus_logits)
            task.advance()
    for sentence in [] if judge is None else judge(np.stack(gated)):
        progress.say(sentence)
    rules, fitted = fit_answers(model.rules, np.stack(gated), validation)
    everything = ChoiceRule(threshold_prob=0.0, max_tiles=1_000_000)
    return FittedRules(
        rules=rules,
        thresholds_fitted=fitted,
        variants={
            "all_tiles": fit_answers(
                replace(model.rules, choice=everything), np.stack(dense), validation
            )[0]
        },
    )


def check_gated_options(options: Mapping[str, Any]) -> None:
    """Refuse what belongs to two networks and would silently do nothing here.

    Args:
        options: name on the command line → what was given.

    Raises:
        InputError: when one of them was given.
    """
    refuse_options("gated", "one network from scratch", options)
