"""Early stopping: which epoch was the best, and when waiting for a better one ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from leafscout.errors import InputError


class EarlyStopping:
    """Remembers the best epoch and says when so many epochs have passed without a better one.

    A pure counter: the same scores give the same answers, and its state can be kept in a
    checkpoint.

    Args:
        patience: epochs in a row without a better score before training ends; at least 1.
        min_gain: an epoch is better only when its score is higher by more than this; 0 or more.

    Raises:
        InputError: when one of them is out of range.
    """

    def __init__(self, patience: int, min_gain: float = 0.0) -> None:
        if patience < 1:
            raise InputError(f"Expected a patience of at least 1 epoch, but got {patience}.")
        if not (math.isfinite(min_gain) and min_gain >= 0):
            raise InputError(f"Expected a least gain of 0 or more, but got {min_gain}.")
        self.patience = patience
        self.min_gain = min_gain
        self.best_epoch: int | None = None
        self.best_score = -math.inf
        self.best_loss = math.inf
        self.waited = 0

    @property
    def is_best(self) -> bool:
        """Whether the epoch of the last update was the best so far."""
        return self.best_epoch is not None and self.waited == 0

    @property
    def stopped(self) -> bool:
        """Whether the patience is used up."""
        return self.waited >= self.patience

    def update(self, epoch: int, score: float, loss: float = 0.0) -> bool:
        """Take note of an epoch.

        Args:
            epoch: its number; what ``best_epoch`` will name.
            score: higher is better; one that is not a number is never better.
            loss: where scores are equal, the epoch of the lower loss is better; a ``min_gain``
                leaves no room for that.

        Returns:
            True when training should stop.
        """
        higher = score > self.best_score + self.min_gain
        tied = self.min_gain == 0 and score == self.best_score and loss < self.best_loss
        if higher or tied:
            self.best_epoch, self.best_score, self.best_loss = epoch, score, loss
            self.waited = 0
        else:
            self.waited += 1
        return self.stopped

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` needs to go on; JSON-safe as Python writes JSON."""
        return {
            "best_epoch": self.best_epoch,
            "best_score": self.best_score,
            "best_loss": self.best_loss,
            "waited": self.waited,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state_dict`` was taken; patience and least gain stay as they are."""
        self.best_epoch = state["best_epoch"]
        self.best_score = state["best_score"]
        self.best_loss = state["best_loss"]
        self.waited = state["waited"]
