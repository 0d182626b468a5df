"""What all methods share when they learn to read megapixel digits: loss, steps, answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from megapixel_looking import CanvasSet, join_bag
from megapixel_networks import TileReader
from megapixel_tasks import CHOICES, Answers

BATCH = 8
RATE = 3e-3
SET_WEIGHT = 5.0
"""Of the set of digits in the loss: its mean over ten digits is small beside the other tasks."""


@dataclass(frozen=True)
class Sizes:
    """How long the methods learn.

    Attributes:
        epochs: of a network that reads tiles or the resized canvas.
        scout_epochs: of LeafScout's scout by itself, then with the expert's evidence.
        first_epochs: of LeafScout's expert before the scout learns from it, where it does; the
            rest of ``epochs`` comes after.
        on_grid: LeafScout opens tiles of the grid in place of tiles around its peaks.
        rate: highest learning rate of methods that read tiles of the grid.
    """

    epochs: int
    scout_epochs: tuple[int, int] = (3, 0)
    first_epochs: int = 0
    on_grid: bool = False
    rate: float = RATE


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a method says about canvases.

    Attributes:
        answers: to the tasks.
        opened: per canvas, (tiles, 2) corners of the tiles that were read.
    """

    answers: Answers
    opened: list[NDArray[np.int64]]


Method = Callable[[CanvasSet, CanvasSet, int, Sizes], Callable[[CanvasSet], Outcome]]
"""Training canvases, validation canvases, seed and sizes → what answers for other canvases."""


def loss_of(logits: Tensor, choices: Tensor, present: Tensor) -> Tensor:
    """Cross-entropy of the three questions, where there are digits, and of the set.

    Args:
        logits: (canvases, 4, 10).
        choices: (canvases, 3) digits; −1 on canvases of noise.
        present: (canvases, 10) 0 or 1.
    """
    full = choices[:, 0] >= 0
    total = SET_WEIGHT * F.binary_cross_entropy_with_logits(logits[:, -1], present)
    if full.any():
        for task in range(len(CHOICES)):
            total = total + F.cross_entropy(logits[full, task], choices[full, task])
    return total


def read_answers(logits: Tensor) -> Answers:
    """(canvases, 4, 10) logits → answers."""
    return Answers(
        logits[:, : len(CHOICES)].argmax(dim=2).numpy(), (logits[:, len(CHOICES)] > 0).numpy()
    )


def draw_batches(count: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    order = rng.permutation(count)
    yield from (order[start : start + BATCH] for start in range(0, count - BATCH // 2, BATCH))


@dataclass
class Trainer:
    """AdamW with one cosine over all steps."""

    network: nn.Module
    steps: int
    rate: float = RATE
    done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._optimizer = torch.optim.AdamW(self.network.parameters(), self.rate, weight_decay=1e-3)

    def step(self, loss: Tensor) -> None:
        """Learn from one loss."""
        progress = self.done / max(1, self.steps)
        warm = min(1.0, (self.done + 1) / 20)
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate * warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, progress)))
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self._optimizer.step()
        self.done += 1


def count_steps(count: int, epochs: int) -> int:
    return epochs * math.ceil(count / BATCH)


@torch.no_grad()
def answer_from_tiles(
    reader: TileReader, data: CanvasSet, parts: Iterator[tuple[np.ndarray, np.ndarray]]
) -> Outcome:
    reader.eval()
    rows, opened = [], []
    for tiles, corners in parts:
        opened.append(corners)
        bag = join_bag([(tiles, corners)])
        rows.append(reader(bag.tiles, bag.middles_px, data.side_px, bag.mask))
    return Outcome(read_answers(torch.cat(rows)), opened)
