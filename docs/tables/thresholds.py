"""The table of ways to a threshold."""

from __future__ import annotations

from typing import Any

from tables.wording import Tables, origin


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


TABLES: Tables = {
    "thresholds": ("threshold_bagging", threshold_table),
}
