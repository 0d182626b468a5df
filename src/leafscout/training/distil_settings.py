"""What can be chosen when an expert learns from a teacher, and which values make sense."""

from __future__ import annotations

import math
from typing import Protocol

from leafscout.errors import InputError, describe_unknown

DISTIL_MODES = {
    "none": "from the photos' labels alone",
    "offline": "from a finished run, which stays as it is",
    "mutual": "two experts from each other, while both learn",
    "self": "from an expert of the same kind that was trained just before",
}
"""Whom an expert learns from beside the photos' labels."""

TEACHER_KINDS = {
    "expert": "the expert of a run, on all tiles: soft labels at every level, and features",
    "photo": "the network on the resized photo that an evaluation with baselines trains: soft "
    "labels of photos alone",
}
"""What of a run teaches."""

SOFT_LEVELS = ("photo", "tile", "place")
"""Whose evidence the teacher's soft labels speak of."""

FEATURE_CHOICES = ("none", "cosine", "mse")


class DistilChoices(Protocol):
    """The fields of a recipe that decide how an expert learns from a teacher."""

    @property
    def distil_mode(self) -> str: ...  # noqa: D102 — described in ``Recipe``
    @property
    def distil_levels(self) -> str: ...  # noqa: D102
    @property
    def distil_temperature(self) -> float: ...  # noqa: D102
    @property
    def distil_soft_weight(self) -> float: ...  # noqa: D102
    @property
    def distil_features(self) -> str: ...  # noqa: D102
    @property
    def distil_feature_weight(self) -> float: ...  # noqa: D102
    @property
    def distil_attention_weight(self) -> float: ...  # noqa: D102


def check_teacher_kind(kind: str) -> None:
    """Refuse what is no key of ``TEACHER_KINDS``.

    Raises:
        InputError: saying which there are.
    """
    if kind not in TEACHER_KINDS:
        raise InputError(describe_unknown("teacher kind", kind, TEACHER_KINDS))


def read_levels(levels: str) -> tuple[str, ...]:
    """Levels of soft labels, with ``+`` between their names.

    Raises:
        InputError: for an unknown level, one that comes twice, or none.
    """
    names = tuple(name.strip() for name in levels.split("+"))
    wrong = [name for name in names if name not in SOFT_LEVELS]
    if wrong or len(set(names)) != len(names):
        raise InputError(
            f"Expected distil_levels to be one or more of {', '.join(SOFT_LEVELS)} with + between "
            f"them, such as tile or photo+tile, but got {levels!r}."
        )
    return names


def check_distil(chosen: DistilChoices) -> None:
    """Refuse settings that mean nothing, saying what was expected.

    Raises:
        InputError: unknown names, values out of range, or settings that do not go together.
    """
    if chosen.distil_mode not in DISTIL_MODES:
        raise InputError(describe_unknown("distil_mode", chosen.distil_mode, DISTIL_MODES))
    if chosen.distil_features not in FEATURE_CHOICES:
        raise InputError(
            describe_unknown("distil_features", chosen.distil_features, FEATURE_CHOICES)
        )
    levels = read_levels(chosen.distil_levels)
    if chosen.distil_mode == "mutual" and "photo" in levels:
        raise InputError(
            "Two experts that teach each other read the tiles that one of them learns from, not "
            "whole photos: soft labels of photos need a finished teacher. Use distil_levels tile "
            "or place, or distil_mode offline."
        )
    if not (math.isfinite(chosen.distil_temperature) and chosen.distil_temperature > 0):
        raise InputError(
            f"Expected --temperature to be above 0, but got {chosen.distil_temperature}."
        )
    if not 0.0 <= chosen.distil_soft_weight <= 1.0:
        raise InputError(
            f"Expected --soft-weight from 0 to 1, but got {chosen.distil_soft_weight}."
        )
    for name in ("distil_feature_weight", "distil_attention_weight"):
        if not (math.isfinite(getattr(chosen, name)) and getattr(chosen, name) >= 0):
            raise InputError(f"Expected {name} from 0, but got {getattr(chosen, name)}.")
