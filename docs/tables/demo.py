"""The table of the demo over its seeds."""

from __future__ import annotations

from typing import Any

from tables.wording import Tables, interval


def demo_table(result: dict[str, Any]) -> list[str]:
    """The demo, whole, for several seeds."""
    lines = [
        (
            "| seed | macro-AP | macro-F1 | pointing game (by chance) | tiles dropped: healthy, "
            "diseased | seconds: expert, scout, whole demo | CPU seconds |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for one in result["rows"]:
        seconds = ", ".join(f"{value:.0f}" for value in [*one["stage_s"].values(), one["wall_s"]])
        lines.append(
            f"| {one['seed']} | {interval(one['macro_ap'])} | {interval(one['macro_f1'])} | "
            f"{one['pointing_hits']} of {one['pointing_photos']} "
            f"({one['pointing_chance']:.0%}) | "
            f"{one['dropped_healthy']:.0%}, {one['dropped_diseased']:.0%} | {seconds} | "
            f"{one['cpu_s']:.0f} |"
        )
    lines += [
        "",
        (
            f"{result['train_photos']} rendered photos to learn from, {result['test_photos']} to "
            f"test on, another field each seed. `{result['command']}`; {result['date']}, commit "
            f"{result['commit']}; {result['machine']}; load before each seed "
            f"{', '.join(str(one['load_before']) for one in result['rows'])}."
        ),
    ]
    return lines


TABLES: Tables = {
    "demo": ("demo_seeds", demo_table),
    "demo_dropout": ("demo_seeds_best_tile_dropout", demo_table),
}
