"""What the training loop trains, and what it is told: the protocols between loop and stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from leafscout.training.recipes import StageSettings
from leafscout.types import Photo


@dataclass(frozen=True)
class Validation:
    """How good a network is on the validation photos.

    Attributes:
        score: what the best epoch is chosen by; higher is better.
        loss: mean loss.
        macro_ap: mean average precision over the labels that can be validated, 0..1.
        figures: name → value of whatever else belongs into the history.
    """

    score: float
    loss: float
    macro_ap: float
    figures: Mapping[str, float] = field(default_factory=dict)


class Stage(Protocol):
    """What the loop trains: a network, its photos, the loss of one photo, its validation."""

    name: str
    settings: StageSettings
    paths: list[Path]

    @property
    def network(self) -> nn.Module:
        """The network that is trained."""
        ...

    def prepare(self) -> None:
        """Put the network into training mode."""
        ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameters and learning rates for the optimiser."""
        ...

    def loss(self, index: int, photo: Photo, epoch: int) -> Tensor:
        """The loss of one training photo."""
        ...

    def validate(self) -> Validation:
        """Judge the network on the validation photos."""
        ...


@runtime_checkable
class NotingStage(Protocol):
    """A stage that keeps something in mind from step to step, beside its network."""

    def notes(self) -> dict[str, Any]:
        """What was noted so far, JSON-safe, for a checkpoint."""
        ...

    def load_notes(self, notes: Mapping[str, Any]) -> None:
        """Go on from what ``notes`` gave."""
        ...


@runtime_checkable
class BatchStage(Stage, Protocol):
    """A stage whose photos go through the network several at once.

    Attributes:
        photos_at_once: at most; the gradients of a step's batches are added up.
    """

    photos_at_once: int

    def batch_loss(self, photos: Sequence[tuple[int, Photo]], epoch: int) -> Tensor:
        """The mean loss of some training photos, given with their indices."""
        ...

    def rate(self, share_done: float, history: Sequence[Mapping[str, Any]]) -> float:
        """The learning rate as a share of its peak."""
        ...

    def describe_batch(self) -> str:
        """What the progress line says beside the loss."""
        ...

    def notes(self) -> dict[str, Any]:
        """What was noted of this epoch so far, JSON-safe, for a checkpoint."""
        ...

    def load_notes(self, notes: Mapping[str, Any]) -> None:
        """Go on from what ``notes`` gave."""
        ...


@dataclass(frozen=True)
class LoopOptions:
    """What the loop needs beside the stage.

    Attributes:
        folder: where the checkpoints ``last`` and ``best`` are kept.
        seed: order of photos and everything random follow from it.
        time_s: wall time for this stage; None for no bound.
        device: where the network lives.
        mixed_precision: use bfloat16 where it is safe.
        on_epoch: called with all rows of history after each epoch.
        keep_epochs: also keep the weights of every epoch, in ``epochs`` below ``folder``.
    """

    folder: Path
    seed: int
    time_s: float | None
    device: torch.device
    mixed_precision: bool
    on_epoch: Callable[[list[dict[str, Any]]], None]
    keep_epochs: bool = False
