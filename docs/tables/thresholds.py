"""The table of ways to a threshold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tables.wording import origin


def threshold_table(result: dict[str, Any]) -> list[str]:
    """Ways to a threshold, in simulation."""
    lines = ["| thresholds | macro-F1 on new photos | spread |", "|---|---|---|"]
    for name, one in result["rows"].items():
        lines.append(f"| {name} | {one['macro_f1']:.3f} | {one['std']:.3f} |")
    lines += [
        "",
        (
            f"Simulated, {result['validation_photos']} validation photos, {result['rounds']} "
            f"rounds. {origin(result)}."
        ),
    ]
    return lines


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], list[str]]]] = {
    "thresholds": ("threshold_bagging", threshold_table),
}
"""Name of a table → its file in ``benchmarks/results`` and what turns that into lines."""
