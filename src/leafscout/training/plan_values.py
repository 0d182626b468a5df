"""What a plan is made of: wishes, choices with reasons, and the plan itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leafscout.evaluation.json_values import JsonValue
from leafscout.photos.labels import DEFAULT_HEALTHY_NAMES
from leafscout.training.plan_facts import DataFacts, MachineFacts
from leafscout.training.plan_times import UNCERTAINTY, ProbedTimes, TimeEstimate


@dataclass(frozen=True)
class PlanWishes:
    """What was asked for.

    Attributes:
        recipe: its name; None chooses one.
        overrides: single settings of the recipe; they win over what would be chosen.
        time_s: wall time for the whole run; None for no bound.
        threads: CPU threads of PyTorch; None for all cores.
        healthy_names: names that mean "no disease".
        complete: whether a label that is not named is known to be absent.
        photos_root: folder that the label file's photo names start from; None for its own.
        measure: whether to measure a few steps; without them there is no estimate.
    """

    recipe: str | None = None
    overrides: Mapping[str, Any] | None = None
    time_s: float | None = None
    threads: int | None = None
    healthy_names: Sequence[str] = DEFAULT_HEALTHY_NAMES
    complete: bool = True
    photos_root: Path | None = None
    measure: bool = True


@dataclass(frozen=True)
class PlannedChoice(JsonValue):
    """One setting of a plan.

    Attributes:
        name: the setting.
        value: what was chosen.
        reason: why, in a sentence.
    """

    name: str
    value: str
    reason: str


@dataclass(frozen=True)
class TrainingPlan(JsonValue):
    """What ``leafscout train`` should do, and why.

    Attributes:
        recipe: its name.
        overrides: what the plan changes of it; ``choose_recipe`` takes both.
        threads: CPU threads of PyTorch.
        choices: every setting with its reason.
        data: what there is to learn from.
        machine: what there is to compute with.
        time_s: wall time that was asked for, if any.
        probed: what was measured; None without an estimate.
        estimate: how long it takes; None without an estimate.
        notes: what the user should know before it starts.
        interpretation: how the labels were understood.
    """

    recipe: str
    overrides: dict[str, Any]
    threads: int
    choices: tuple[PlannedChoice, ...]
    data: DataFacts
    machine: MachineFacts
    time_s: float | None
    probed: ProbedTimes | None
    estimate: TimeEstimate | None
    notes: tuple[str, ...]
    interpretation: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values, with the total time written out."""
        values = super().to_dict()
        if self.estimate is not None:
            values["estimate"] |= {
                "total_s": self.estimate.total_s,
                "shortest_s": self.estimate.shortest_s,
                "uncertainty": UNCERTAINTY,
            }
        return values


def describe_duration(seconds: float) -> str:
    """Seconds as people say them: ``40 s``, ``12 min``, ``1 h 30 min``; rounded up."""
    whole = max(1, int(-(-seconds // 1)))
    if whole < 100:
        return f"{whole} s"
    minutes = -(-whole // 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
