"""How far a stage has come: what is kept in its checkpoints, and the way back to a good state."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from leafscout.training.checkpoint import load_checkpoint
from leafscout.training.early_stopping import EarlyStopping
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import StageSettings
from leafscout.training.recovery import (
    JOURNAL,
    LOWER_RATE,
    MOST_RETURNS,
    HalvingStage,
    LossWatch,
    StepError,
    describe_end,
    describe_return,
    write_events,
)
from leafscout.training.stage import BatchStage, LoopOptions, NotingStage, Stage


@dataclass
class StageState:
    """What a stage's checkpoints hold beside weights and optimiser; JSON-safe as a dict."""

    epoch: int = 0
    step: int = 0  # steps done in this epoch
    elapsed_s: float = 0.0
    stopping: dict[str, Any] = field(default_factory=dict)  # of EarlyStopping
    loss_sum: float = 0.0
    learning_rate: float = 0.0  # of the last step
    finished: bool = False
    notes: dict[str, Any] = field(default_factory=dict)  # of a NotingStage
    watch: LossWatch = field(default_factory=LossWatch)
    returns: int = 0  # to a good state
    rate_scale: float = 1.0  # after these
    halvings: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)


def read_state(progress: dict[str, Any]) -> StageState:
    """What a checkpoint says; earlier ones kept the best epoch's figures one by one."""
    if "best_score" in progress:
        stopping = {
            "best_epoch": None,
            "best_score": progress.pop("best_score"),
            "best_loss": progress.pop("best_loss"),
            "waited": progress.pop("epochs_since_best"),
        }
        progress["stopping"] = stopping
    watch = LossWatch(**progress.pop("watch", {}))
    return StageState(**progress, watch=watch)


def restore(path: Path, stage: Stage, optimizer: torch.optim.Optimizer) -> StageState:
    """Fill network, optimiser and stage from a checkpoint; the rest is returned."""
    state = read_state(load_checkpoint(path, stage.network, optimizer))
    if isinstance(stage, NotingStage) and state.notes:
        stage.load_notes(state.notes)
    return state


def count_waiting(state: StageState, settings: StageSettings) -> EarlyStopping:
    """Early stopping as far as it had come."""
    stopping = EarlyStopping(max(settings.patience, 1))
    if state.stopping:
        stopping.load_state_dict(state.stopping)
    return stopping


def return_to_good(
    error: StepError,
    stage: Stage,
    optimizer: torch.optim.Optimizer,
    state: StageState,
    options: LoopOptions,
    progress: TrainingProgress,
) -> StageState:
    """The beginning of the last epoch that was well, with a lower rate from there.

    Never a state in the middle of an epoch: where those lie depends on the clock, and a run that
    was stopped in between would end otherwise.
    """
    if state.returns >= MOST_RETURNS:
        words = describe_end(stage.name, state.epoch + 1, error)
        note_event(state, stage, options, progress, "given up", words)
        raise FloatingPointError(words) from error
    good = options.folder / "good.safetensors"
    back = restore(good if good.exists() else options.folder / "last.safetensors", stage, optimizer)
    back.returns, back.rate_scale = state.returns + 1, LOWER_RATE * state.rate_scale
    back.halvings, back.events = state.halvings, state.events
    words = describe_return(stage.name, state.epoch + 1, error, back.rate_scale, back.returns)
    event = {"epoch": state.epoch + 1, "step": state.step + 1, "photos": list(error.photos)}
    note_event(back, stage, options, progress, "went back", words, **event)
    options.on_epoch(back.history)
    return back


def do_less(stage: Stage) -> str | None:
    """Halve what is in memory at a time; what is done now, or None where nothing is left."""
    if isinstance(stage, HalvingStage):
        return stage.halve()
    if isinstance(stage, BatchStage) and stage.photos_at_once > 1:
        stage.photos_at_once //= 2
        return f"takes {stage.photos_at_once} photos at a time from here on"
    return None


def note_event(
    state: StageState,
    stage: Stage,
    options: LoopOptions,
    progress: TrainingProgress,
    event: str,
    words: str,
    **details: Any,
) -> None:
    """Say what happened, and write it into the stage's journal."""
    progress.say(words)
    state.events.append({"stage": stage.name, "event": event, **details, "words": words})
    write_events(options.folder / JOURNAL, state.events)
