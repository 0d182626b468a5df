"""What training runs of one network share: learn, fit, see what photos look like, write."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import leafscout
from leafscout.diagnosis.calibrate import fit_calibration
from leafscout.errors import InputError
from leafscout.evaluation.thresholds import bagged_f1_thresholds, describe_unfitted
from leafscout.model import Rules
from leafscout.photos.labels import LabelTable
from leafscout.training.fit_rules import FittedRules
from leafscout.training.gate_stage import GateStage
from leafscout.training.learn_familiarity import TakeView, learn_familiarity
from leafscout.training.loop import LoopOptions, train_stage
from leafscout.training.progress import TrainingProgress
from leafscout.training.recogniser_stage import RecogniserStage
from leafscout.training.recovery import write_verdicts
from leafscout.training.run_folder import write_model, write_rows
from leafscout.training.verdicts import judge_expert
from leafscout.types import FloatArray


@dataclass(frozen=True, eq=False)
class OneNetwork:
    """How a family of one network is trained.

    Attributes:
        name: of its checkpoints and of its file of weights.
        time_frac: share of the time that is left when it begins to learn; the rest is for the
            rules.
        fit: rules of the trained network, given what the loop was told.
        take_view: a photo → what the network is shown of it.
        described: fields of the manifest that rules and weights do not say.
    """

    name: str
    time_frac: float
    fit: Callable[[LoopOptions], FittedRules]
    take_view: TakeView
    described: Mapping[str, Any]


def train_one_network(
    stage: GateStage | RecogniserStage,
    family: OneNetwork,
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
        family: how its kind is trained.
        out: an open run folder.
        time_s: wall time; None for no bound.
        data_fingerprint: of the photos and labels.
        progress: where to show it.
        keep_epochs: also keep the weights of every epoch.

    Returns:
        The run folder.
    """
    started_s = time.monotonic()
    options = LoopOptions(
        folder=out / "checkpoints" / family.name,
        seed=stage.seed,
        time_s=None if time_s is None else family.time_frac * time_s,
        device=stage.device,
        mixed_precision=stage.mixed_precision,
        on_epoch=lambda rows: write_rows(out / "history.csv", rows),
        keep_epochs=keep_epochs,
    )
    train_stage(stage, options, progress)
    fitted = learn_familiarity(
        family.fit(options), stage.train, stage.validation, family.take_view, progress
    )
    for sentence in describe_unfitted(stage.train.labels, fitted.thresholds_fitted):
        progress.say(sentence)
    write_model(
        out,
        {family.name: stage.network},
        fitted,
        leafscout=leafscout.__version__,
        data_fingerprint=data_fingerprint,
        **family.described,
    )
    progress.say(
        f"Trained in {time.monotonic() - started_s:.0f} s. The model is in {out / 'model'}."
    )
    return out


def fit_answers(
    rules: Rules, logits: FloatArray, validation: LabelTable
) -> tuple[Rules, tuple[bool, ...]]:
    """Fit calibration and thresholds to the pooled evidence of the validation photos.

    Args:
        rules: the others.
        logits: (photos, labels) evidence.
        validation: what is true of these photos.

    Returns:
        The rules with what was fitted, and for each label whether a photo has it.
    """
    truth = validation.truth
    calibration = fit_calibration(logits, truth, exclusive=rules.calibration.exclusive)
    fit = bagged_f1_thresholds(truth, calibration.apply(logits))
    thresholds = tuple(float(value) for value in fit.thresholds)
    fitted = tuple(bool(value) for value in fit.fitted)
    return replace(rules, calibration=calibration, thresholds=thresholds), fitted


def judge_network(
    logits: FloatArray, stage: GateStage | RecogniserStage, folder: Path
) -> list[str]:
    """What the network has not learnt, in words; written beside its checkpoints.

    Args:
        logits: (photos, labels) evidence of the validation photos.
        stage: which was trained.
        folder: of its checkpoints.
    """
    validation = stage.validation
    verdict = judge_expert(
        [row[None] for row in logits], validation.truth, validation.labels, "max", stage.seed,
        network="network",
    )  # fmt: skip
    write_verdicts(folder, stage.name, verdict)
    return verdict


def refuse_options(recipe: str, learns: str, options: Mapping[str, Any]) -> None:
    """Refuse what belongs to two networks and would silently do nothing here.

    Args:
        recipe: its name.
        learns: what it learns, in words.
        options: name on the command line → what was given.

    Raises:
        InputError: when one of them was given.
    """
    for name, value in options.items():
        if value is not None:
            raise InputError(
                f"The recipe {recipe!r} learns {learns} and takes no --{name}. "
                "Leave it out, or choose another recipe."
            )
