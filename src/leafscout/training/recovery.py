"""When a training goes wrong: how the loop notices it, what it tries, and what it writes down.

A loss or gradient that is no number, or a loss that runs away, sends the stage back to the
beginning of an epoch that was good, with a lower learning rate. Too little memory makes the stage
do less at a time. Both are noted in the stage's journal, and read from there into the run's report.
"""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from leafscout.training.checkpoint import write_atomically

JOURNAL = "journal.jsonl"
"""In a stage's checkpoint folder: one JSON object a line for each event."""

VERDICTS = "verdicts.jsonl"
"""Beside it: what the stage has not learnt."""

MOST_RETURNS = 3
"""Returns to a good state in one stage; after so many it is not the learning rate."""

LOWER_RATE = 0.3
"""Learning rate after a return, as a share of that before."""

WINDOW_STEPS = 10
LEAST_STEPS = 5
RUNAWAY = 10.0
"""So many times the loss of the first steps, on average over the window, is no longer learning."""

JUMP = 10_000.0
"""The same of a single step."""

LEAST_REFERENCE = 1.0
"""A stage that starts nearly perfect is not measured by its first losses."""

PHOTOS_NAMED = 8


class StepError(Exception):
    """A step whose result must not be kept.

    Args:
        what: what happened, as the end of a sentence about the stage's loss.
        photos: names of the photos of the step.
    """

    def __init__(self, what: str, photos: Sequence[str]) -> None:
        super().__init__(what)
        self.what = what
        self.photos = tuple(photos)


@dataclass
class LossWatch:
    """Watches a stage's losses for one that runs away; its fields go into checkpoints.

    Attributes:
        steps: seen so far, up to the window.
        mean: of the losses, running over ``WINDOW_STEPS``.
        reference: mean of the first steps; it stays as it is once the window is full.
    """

    steps: int = 0
    mean: float = 0.0
    reference: float = 0.0

    def look(self, loss: float, photos: Sequence[str]) -> None:
        """Take note of a step's loss.

        Raises:
            StepError: when it is no number, or far above what the stage began with.
        """
        if not math.isfinite(loss):
            raise StepError(f"became {loss}", photos)
        level = max(self.reference, LEAST_REFERENCE)
        if self.steps and loss > JUMP * level:
            raise StepError(f"jumped to {loss:.3g}", photos)
        new = self.steps < WINDOW_STEPS
        self.steps = min(self.steps + 1, WINDOW_STEPS)
        self.mean += (loss - self.mean) / self.steps
        if new:
            # Bounded: a loss that runs away at once must not become what others are measured by.
            usual = loss if self.steps == 1 else min(loss, RUNAWAY * level)
            self.reference += (usual - self.reference) / self.steps
        if self.steps >= LEAST_STEPS and self.mean > RUNAWAY * level:
            raise StepError(
                f"ran away to {self.mean:.3g} on average, from {self.reference:.3g} at first",
                photos,
            )

    def is_well(self) -> bool:
        """Whether the loss is so low that this is a state to come back to."""
        return self.mean <= 0.5 * RUNAWAY * max(self.reference, LEAST_REFERENCE)


@runtime_checkable
class HalvingStage(Protocol):
    """A stage that can do less at a time."""

    def halve(self) -> str | None:
        """Halve what is in memory at a time, in training and validation.

        Returns:
            What it does now, as the end of a sentence; None where nothing is left to halve.
        """
        ...


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the processor or of the GPU was too small."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    signs = ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def give_memory_back(error: BaseException, device: torch.device) -> None:
    """Let go of what the failed attempt held, so that a smaller one finds room."""
    traceback.clear_frames(error.__traceback__)
    if device.type == "cuda":
        torch.cuda.empty_cache()


def describe_return(name: str, epoch: int, trouble: StepError, rate: float, count: int) -> str:
    """What happened and what is tried now, for people."""
    return (
        f"The loss of the {name} {trouble.what} in epoch {epoch}, at {_list(trouble.photos)}. "
        f"Back to the last good state, with {rate:.3g} of the learning rate "
        f"(return {count} of at most {MOST_RETURNS})."
    )


def describe_end(name: str, epoch: int, trouble: StepError) -> str:
    """What to look at, when lower rates did not help."""
    return (
        f"The loss of the {name} {trouble.what} in epoch {epoch}, and {MOST_RETURNS} returns to "
        "the last good state, each with a lower learning rate, did not help. Look at the photos "
        f"of that step and at their labels: {_list(trouble.photos)}. The last good checkpoint is "
        "kept. Begin a new run with another --seed or recipe, or without these photos."
    )


def describe_halving(name: str, epoch: int, smaller: str) -> str:
    """What is done now that memory was too small."""
    return f"There was not enough memory for the {name} in epoch {epoch}: it {smaller}."


def _list(photos: Sequence[str]) -> str:
    if not photos:
        return "the validation photos"
    some = ", ".join(photos[:PHOTOS_NAMED])
    more = len(photos) - PHOTOS_NAMED
    return f"{some} and {more} more" if more > 0 else some


def write_events(path: Path, events: Sequence[dict[str, Any]]) -> None:
    """Write events as JSON lines, whole, atomically; nothing where there are none."""
    if not events:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(event, ensure_ascii=False) for event in events]
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode())


def write_verdicts(folder: Path, stage: str, sentences: Sequence[str]) -> None:
    """Write what a stage has not learnt beside its checkpoints.

    Args:
        folder: of its checkpoints.
        stage: its name.
        sentences: of ``leafscout.training.verdicts``.
    """
    events = [{"stage": stage, "event": "not learnt", "words": words} for words in sentences]
    write_events(folder / VERDICTS, events)
