"""Learning rates over a training: a warm-up and half a cosine, or steps down where it stands still.

Nothing here knows an optimiser: a schedule says which rate comes next, and the loop sets it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from leafscout.errors import InputError

WARMUP_START = 0.05
"""Of the peak rate, at the first step of a warm-up."""


def cosine_share(share_done: float, warmup_frac: float = 0.0, floor: float = 0.0) -> float:
    """Learning rate as a share of its peak: linear warm-up, then half a cosine.

    In closed form, so that a training that was stopped goes on with the very same rates. Without
    a warm-up, after ``epoch`` of ``epochs``, it is PyTorch's ``CosineAnnealingLR`` (Loshchilov and
    Hutter 2017, without restarts).

    Args:
        share_done: of the training, 0..1; beyond 1 the rate stays at its end.
        warmup_frac: share of the training during which the rate rises, 0 up to below 1.
        floor: share of the peak at the end, 0..1.
    """
    if share_done < warmup_frac:
        return WARMUP_START + (1.0 - WARMUP_START) * share_done / warmup_frac
    rest = min(1.0, (share_done - warmup_frac) / (1.0 - warmup_frac))
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * rest))


class PlateauRate:
    """Lowers the learning rate where the score no longer rises.

    Equal to PyTorch's ``ReduceLROnPlateau``, but without an optimiser, and its state can be kept
    in a checkpoint.

    Args:
        rate: to begin with, above 0.
        factor: what the rate is multiplied by, above 0 and below 1.
        patience: epochs in a row without a better score that pass; the next one lowers the rate.
        threshold: what counts as better; ``relative`` to the best score or ``absolute``.
        threshold_mode: see ``threshold``.
        cooldown: epochs after a step down that are not counted.
        least_rate: the rate never falls below it.
        mode: ``max`` for scores, ``min`` for losses.

    Raises:
        InputError: when a value is out of range.
    """

    def __init__(
        self,
        rate: float,
        *,
        factor: float = 0.1,
        patience: int = 5,
        threshold: float = 1e-4,
        threshold_mode: Literal["relative", "absolute"] = "relative",
        cooldown: int = 0,
        least_rate: float = 0.0,
        mode: Literal["max", "min"] = "max",
    ) -> None:
        if not 0 < factor < 1:
            raise InputError(f"Expected a factor above 0 and below 1, but got {factor}.")
        if not rate > 0:
            raise InputError(f"Expected a learning rate above 0, but got {rate}.")
        if patience < 0 or cooldown < 0:
            raise InputError(
                f"Expected a patience and a cooldown of 0 or more epochs, but got {patience} and "
                f"{cooldown}."
            )
        self.rate = rate
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.least_rate = least_rate
        self.mode = mode
        self.best = -math.inf if mode == "max" else math.inf
        self.waited = 0
        self.cooling = 0
        self.reductions = 0

    def update(self, score: float) -> bool:
        """Take note of an epoch's score; afterwards ``rate`` is that of the next epoch.

        Returns:
            True when the rate was lowered.
        """
        if self._is_better(score):
            self.best, self.waited = score, 0
        else:
            self.waited += 1
        if self.cooling > 0:
            self.cooling -= 1
            self.waited = 0
        if self.waited <= self.patience:
            return False
        self.waited, self.cooling = 0, self.cooldown
        lower = max(self.rate * self.factor, self.least_rate)
        # As PyTorch: a step too small to matter is not taken.
        if self.rate - lower <= 1e-8:
            return False
        self.rate = lower
        self.reductions += 1
        return True

    def _is_better(self, score: float) -> bool:
        sign = 1.0 if self.mode == "max" else -1.0
        if self.threshold_mode == "absolute":
            return sign * score > sign * self.best + self.threshold
        return sign * score > sign * self.best * (1.0 + sign * self.threshold)

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` needs to go on."""
        return {
            "rate": self.rate,
            "best": self.best,
            "waited": self.waited,
            "cooling": self.cooling,
            "reductions": self.reductions,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state_dict`` was taken."""
        self.rate = state["rate"]
        self.best = state["best"]
        self.waited = state["waited"]
        self.cooling = state["cooling"]
        self.reductions = state["reductions"]
