"""How figures are written in tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

Tables: TypeAlias = dict[str, tuple[str, Callable[[dict[str, Any]], list[str]]]]
"""Name of a table → its file in ``benchmarks/results`` and what turns that into lines."""

MODEL_NAMES = {
    "fusion_off": "glance and focus, fusion off",
    "glance_only": "the glance alone",
    "all_tiles": "the expert on all tiles",
    "all_tiles_fused": "the expert on all tiles, fused with the glance",
}


def interval(estimate: dict[str, float], digits: int = 2) -> str:
    """A value with its 95% interval."""
    return (
        f"{estimate['value']:.{digits}f} ({estimate['low']:.{digits}f} to "
        f"{estimate['high']:.{digits}f})"
    )


def name_of(model: str) -> str:
    """A model's name in words."""
    if model.startswith("resized_photo_"):
        return f"one network on the photo resized to {model.removeprefix('resized_photo_')}"
    return MODEL_NAMES[model]


def origin(result: dict[str, Any]) -> str:
    """Where figures come from, as a sentence."""
    return (
        f"`{result['command']}`; {result['date']}, commit {result['commit'][:10]}, "
        f"seed {result['seed']}"
    )
