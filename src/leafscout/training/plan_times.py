"""How long a training takes: what was measured for a photo, times what there is to do."""

from __future__ import annotations

import math
from dataclasses import dataclass

from leafscout.evaluation.json_values import JsonValue
from leafscout.training.plan_facts import DataFacts
from leafscout.training.stage_settings import time_frac

EXPERT_TIME_FRAC, SCOUT_TIME_FRAC = (time_frac(("expert", "scout"), stage) for stage in (0, 1))
"""Shares of the time that is left when the stage begins, where no stage comes after these two."""

UNCERTAINTY = 2.0
"""The measured time lies between the estimate divided and multiplied by this, on a quiet machine
and where no stage stops early."""

MARGIN = 0.9
"""Share of the wanted time that the estimate may fill."""


@dataclass(frozen=True)
class ProbedTimes(JsonValue):
    """Seconds for one photo, measured with the real networks on the real photos.

    Attributes:
        start_s: once, for reading labels, building networks and fitting the last rules.
        fingerprint_s: fingerprint.
        warm_start_s: features of all tiles and fitting new layers on them; 0 from scratch.
        expert_learn_s: one step of the expert.
        expert_look_s: the expert over all tiles, without gradients.
        scout_learn_s: one step of the scout.
        scout_look_s: the scout, without gradients.
        glance_s: decoding the photo for its glance.
        rules_s: scout and expert over all tiles, at full precision.
        memory_bytes: peak memory of the probe.
        probe_s: how long the measuring took.
        photos: how many photos it used.
    """

    start_s: float
    fingerprint_s: float
    warm_start_s: float
    expert_learn_s: float
    expert_look_s: float
    scout_learn_s: float
    scout_look_s: float
    glance_s: float
    rules_s: float
    memory_bytes: int
    probe_s: float
    photos: int


@dataclass(frozen=True)
class TimeEstimate(JsonValue):
    """How long each part takes, in seconds.

    Attributes:
        before_s: start, fingerprints and warm start.
        expert_epoch_s: one epoch of the expert with its validation.
        evidence_s: the expert over every tile of every photo, once.
        scout_epoch_s: one epoch of the scout with its validation.
        after_s: fitting the rules.
        expert_epochs: of the plan.
        scout_epochs: of the plan.
    """

    before_s: float
    expert_epoch_s: float
    evidence_s: float
    scout_epoch_s: float
    after_s: float
    expert_epochs: int
    scout_epochs: int

    @property
    def total_s(self) -> float:
        """All of it, where no stage stops early."""
        return (
            self.before_s
            + self.expert_epochs * self.expert_epoch_s
            + self.evidence_s
            + self.scout_epochs * self.scout_epoch_s
            + self.after_s
        )

    @property
    def shortest_s(self) -> float:
        """The least time that holds one epoch of each stage within its share of the time."""
        until_scout = self.before_s + self.expert_epoch_s + self.evidence_s
        return (
            max(
                self.before_s + self.expert_epoch_s / EXPERT_TIME_FRAC,
                until_scout + self.scout_epoch_s / SCOUT_TIME_FRAC,
                until_scout + self.scout_epoch_s + self.after_s,
            )
            / MARGIN
        )


def estimate_times(
    probed: ProbedTimes, data: DataFacts, expert_epochs: int, scout_epochs: int
) -> TimeEstimate:
    """Scale what was measured for a photo to the whole training."""
    train, validation = data.train, data.validation
    return TimeEstimate(
        before_s=probed.start_s + probed.fingerprint_s * data.photos + probed.warm_start_s * train,
        expert_epoch_s=probed.expert_learn_s * train + probed.expert_look_s * validation,
        evidence_s=probed.expert_look_s * (train + validation) + probed.glance_s * validation,
        scout_epoch_s=probed.scout_learn_s * train + probed.scout_look_s * validation,
        after_s=probed.rules_s * validation,
        expert_epochs=expert_epochs,
        scout_epochs=scout_epochs,
    )


def fit_epochs(estimate: TimeEstimate, time_s: float | None) -> tuple[int, int] | None:
    """As many epochs of expert and scout as the time holds, at most those of the estimate.

    Each stage gets the share of the time left that training gives it.

    Args:
        estimate: with the recipe's epochs.
        time_s: for the whole run; None for no bound.

    Returns:
        Epochs of expert and scout; None when the time does not hold one epoch of each.
    """
    if time_s is None:
        return estimate.expert_epochs, estimate.scout_epochs
    if time_s < estimate.shortest_s:
        return None
    left_s = MARGIN * time_s - estimate.before_s
    expert_s = min(
        EXPERT_TIME_FRAC * left_s,
        left_s - estimate.evidence_s - estimate.scout_epoch_s - estimate.after_s,
    )
    expert = min(estimate.expert_epochs, max(1, math.floor(expert_s / estimate.expert_epoch_s)))
    left_s -= expert * estimate.expert_epoch_s + estimate.evidence_s
    scout_s = min(SCOUT_TIME_FRAC * left_s, left_s - estimate.after_s)
    scout = min(estimate.scout_epochs, max(1, math.floor(scout_s / estimate.scout_epoch_s)))
    return expert, scout
