"""Train a recogniser of whole photos: the same run folder, with one network and one look."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leafscout.diagnosis.calibrate import Calibration
from leafscout.glance.choose import ChoiceRule
from leafscout.glance.view import take_square
from leafscout.losses.distillation import detach_projection
from leafscout.manifest import RecogniserEntry
from leafscout.model import Rules
from leafscout.networks import count_macs
from leafscout.photos.loader import load_photos
from leafscout.recogniser_model import RecogniserModel
from leafscout.recogniser_networks import TorchPhotoNetwork, build_recogniser_network
from leafscout.recognisers.whole_photo import Recogniser
from leafscout.training.fit_rules import FittedRules
from leafscout.training.loop import LoopOptions
from leafscout.training.one_network_run import (
    OneNetwork,
    fit_answers,
    judge_network,
    refuse_options,
    train_one_network,
)
from leafscout.training.progress import TrainingProgress
from leafscout.training.recogniser_recipe import RecogniserRecipe
from leafscout.training.recogniser_stage import STAGE_NAME, RecogniserStage

RECOGNISER_TIME_FRAC = 0.95
"""Share of the time that is left when the network begins to learn; the rest is for the rules."""


def build_run_network(
    recipe: RecogniserRecipe, labels: int, seed: int, *, weights: Path | None, fresh: bool
) -> Recogniser:
    """A network of a recipe, its new weights drawn from the seed.

    Args:
        recipe: what it is made of.
        labels: number of diseases.
        seed: of the weights that are not loaded.
        weights: local file of the encoder's weights.
        fresh: whether it will learn; a checkpoint fills one that has begun already.

    Raises:
        InputError: see ``leafscout.recogniser_networks.build_recogniser_network``.
    """
    torch.manual_seed(seed)
    return build_recogniser_network(
        recipe.shape(),
        labels,
        pretrained=recipe.pretrained and fresh,
        weights=weights if fresh else None,
    )


def train_recogniser(
    stage: RecogniserStage,
    out: Path,
    *,
    time_s: float | None,
    data_fingerprint: str,
    progress: TrainingProgress,
    keep_epochs: bool = False,
) -> Path:
    """Train the network, fit its rules and write the model folder.

    Args:
        stage: the network with its photos.
        out: an open run folder.
        time_s: wall time; None for no bound.
        data_fingerprint: of the photos and labels.
        progress: where to show it.
        keep_epochs: also keep the weights of every epoch.

    Returns:
        The run folder.
    """
    recipe, stride = stage.recipe, stage.network.encoder.stride

    def fit(options: LoopOptions) -> FittedRules:
        detach_projection(stage.network)
        return fit_recogniser_rules(stage, progress, options.folder)

    family = OneNetwork(
        name=STAGE_NAME,
        time_frac=RECOGNISER_TIME_FRAC,
        fit=fit,
        take_view=lambda photo: take_square(photo, recipe.photo_px),
        described={
            "expert": recipe.encoder,
            "scout": recipe.encoder,
            "scout_stride": stride,
            "place_stride": stride,
            "recogniser": RecogniserEntry(
                spatial_transformer=recipe.spatial_transformer,
                polarised=recipe.polarised,
                head=recipe.head,
                features=recipe.features,
                margin=recipe.margin,
                easy_margin=recipe.easy_margin,
                scale=recipe.scale,
            ),
        },
    )
    return train_one_network(
        stage, family, out, time_s=time_s, data_fingerprint=data_fingerprint, progress=progress,
        keep_epochs=keep_epochs,
    )  # fmt: skip


def first_rules(recipe: RecogniserRecipe, labels: tuple[str, ...], macs: int) -> Rules:
    """The rules before anything is fitted.

    Args:
        recipe: for the size of the photo.
        labels: names of the diseases.
        macs: multiply-adds of one look.
    """
    count = len(labels)
    return Rules(
        labels=labels,
        tile_px=recipe.photo_px,
        glance_px=recipe.photo_px,
        pooling="max",
        choice=ChoiceRule(threshold_prob=0.0, max_tiles=1),
        glance_weights=(0.0,) * count,
        calibration=Calibration((1.0,) * count, (0.0,) * count),
        thresholds=(0.5,) * count,
        expert_macs=macs,
        scout_macs_per_px=0.0,
    )


def fit_recogniser_rules(
    stage: RecogniserStage, progress: TrainingProgress, folder: Path
) -> FittedRules:
    """Fit calibration and thresholds on the validation photos, along the path that is deployed.

    Args:
        stage: with the trained network.
        progress: where to show it, and labels that were not learnt.
        folder: of the checkpoints, where such labels are written down too.
    """
    side, validation = stage.recipe.photo_px, stage.validation
    macs = count_macs(stage.network, side, side)
    model = RecogniserModel(
        TorchPhotoNetwork(stage.network.eval(), stage.device),
        first_rules(stage.recipe, stage.train.labels, macs),
    )
    logits = []
    with progress.task("fitting the rules", total=len(validation.paths)) as task:
        for _, photo in load_photos(validation.paths, range(len(validation.paths))):
            logits.append(model.forward(photo)[0].focus_logits)
            task.advance()
    for sentence in judge_network(np.stack(logits), stage, folder):
        progress.say(sentence)
    rules, fitted = fit_answers(model.rules, np.stack(logits), validation)
    return FittedRules(rules=rules, thresholds_fitted=fitted, variants={})


def check_recogniser_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse what belongs to two networks and would silently do nothing here.

    Args:
        name: of the recipe.
        options: name on the command line → what was given.

    Raises:
        InputError: when one of them was given.
    """
    refuse_options(name, "one network from photos with labels", options)
