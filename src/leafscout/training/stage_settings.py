"""Which stages a training has, how the later ones learn, and how single settings are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

from leafscout.errors import InputError, describe_unknown

STAGES = {
    "expert": "learns from photo labels which tiles matter",
    "scout": "learns from the glance to predict the expert's evidence",
    "joint": "both are fine-tuned on tiles that the scout chooses",
    "alternate": "the expert is fine-tuned on what the scout chooses, then the scout on the expert",
}
"""Stages of a training. The first two come first; the others may follow, in any number."""


TIME_SHARES = {"expert": 0.6, "scout": 0.34, "joint": 0.3, "alternate": 0.4}
"""Time of the stages beside each other."""

REST_SHARE = 0.06
"""Time for what follows the last stage."""


class JointChoices(Protocol):
    """The fields of a recipe that decide how stages after the first two learn."""

    @property
    def stages(self) -> tuple[str, ...]: ...  # noqa: D102 — described in ``Recipe``
    @property
    def scout_target(self) -> str: ...  # noqa: D102
    @property
    def joint_epochs(self) -> int: ...  # noqa: D102
    @property
    def joint_rate(self) -> float: ...  # noqa: D102
    @property
    def joint_weighted(self) -> float: ...  # noqa: D102
    @property
    def joint_fresh(self) -> float: ...  # noqa: D102


def time_frac(stages: Sequence[str], index: int) -> float:
    """Share of the time that is left when a stage begins that it may take."""
    later = sum(TIME_SHARES[stage] for stage in stages[index + 1 :])
    return TIME_SHARES[stages[index]] / (TIME_SHARES[stages[index]] + later + REST_SHARE)


def read_stages(stages: str | Sequence[str]) -> tuple[str, ...]:
    """Names of stages, given one by one or with commas between them.

    Raises:
        InputError: for an unknown stage, or an order in which nothing can be learnt.
    """
    given = stages.split(",") if isinstance(stages, str) else stages
    names = tuple(name.strip() for name in given)
    for name in names:
        if name not in STAGES:
            raise InputError(describe_unknown("stage", name, STAGES, nearest=1))
    if names[:1] != ("expert",):
        raise InputError(
            f"Expected the stages to begin with expert, but got {', '.join(names) or 'none'}: "
            "scout and joint stages learn from an expert. Use --stages expert,scout or "
            "expert,scout,joint."
        )
    if names[1:2] != ("scout",):
        raise InputError(
            f"Expected the stage scout right after expert, but got {', '.join(names)}: a model "
            "needs a scout, and later stages read what it chooses. Use --stages expert,scout or "
            "expert,scout,joint."
        )
    again = [name for name in names[2:] if name in ("expert", "scout")]
    if again:
        raise InputError(
            f"The stage {again[0]} comes twice in {', '.join(names)}. To train expert and scout "
            "in turn, use --stages expert,scout,alternate."
        )
    return names


def check_joint(recipe: JointChoices) -> None:
    """Check how the stages after the first two learn.

    Raises:
        InputError: for a value out of range.
    """
    if recipe.joint_epochs < 1 or not 0.0 < recipe.joint_rate <= 1.0:
        raise InputError(
            "Expected joint_epochs from 1 and joint_rate above 0 and up to 1, but got "
            f"{recipe.joint_epochs} and {recipe.joint_rate}."
        )
    if recipe.joint_weighted < 0 or recipe.joint_fresh < 0:
        raise InputError(
            "Expected joint_weighted and joint_fresh from 0, but got "
            f"{recipe.joint_weighted} and {recipe.joint_fresh}."
        )
    if "joint" in recipe.stages and recipe.joint_fresh > 0 and recipe.scout_target != "probability":
        raise InputError(
            "In the stage joint the scout learns the expert's probabilities, but it learnt "
            f"scout_target={recipe.scout_target!r} before. Leave that as it is, or set "
            "joint_fresh=0."
        )


def read_value(name: str, value: Any, like: Any) -> Any:
    """A setting's value, of the kind that the setting has.

    Args:
        name: of the setting.
        value: given by a program, or on the command line, where yes and no are words.
        like: its value before.

    Raises:
        InputError: when the value is of another kind.
    """
    word = value.strip().lower() if isinstance(value, str) else value
    if isinstance(like, bool):
        return _read_truth(name, value, word)
    if isinstance(like, (int, float)):
        return _read_number(name, value, word, whole=isinstance(like, int))
    if isinstance(like, str) and not isinstance(value, str):
        raise InputError(f"Expected {name} to be a word, but got {value!r}.")
    return value


def _read_truth(name: str, value: Any, word: Any) -> bool:
    known = {True: True, "true": True, "yes": True, False: False, "false": False, "no": False}
    if word not in known:
        raise InputError(f"Expected {name} to be yes or no, but got {value!r}.")
    return known[word]


def _read_number(name: str, value: Any, word: Any, *, whole: bool) -> int | float:
    try:
        number = math.nan if isinstance(word, bool) else float(word)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise InputError(f"Expected {name} to be a number, but got {value!r}.")
    if not whole:
        return number
    if not math.isfinite(number) or number != int(number):
        raise InputError(f"Expected {name} to be a whole number, but got {value!r}.")
    return int(number)
