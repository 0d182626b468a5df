"""The table of promises that were kept."""

from __future__ import annotations

from typing import Any

from tables.wording import Tables, origin


def promise_table(result: dict[str, Any]) -> list[str]:
    """How often a promise held, beside what happens without the tests."""
    lines = [
        (
            "| promised loss at most | with confidence | calibration photos (needed) | "
            "promises made | held | must not be below | held without the tests | "
            "true loss, median |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in result["rows"]:
        loss = one["median_true_loss"]
        lines.append(
            f"| {one['alpha']:.0%} | {one['confidence']:.0%} | {one['photos']} "
            f"({one['photos_needed']}) | {one['promises_made_share']:.0%} | "
            f"{one['coverage']:.1%} | {one['coverage_not_below']:.1%} | "
            f"{one['coverage_without_tests']:.0%} | {'–' if loss is None else f'{loss:.1%}'} |"
        )
    pool = result["pool"]
    lines += [
        "",
        (
            f"{result['resamples']} draws of calibration photos from a simulated pool of "
            f"{pool['photos']:,} diseased photos at {pool['settings']} settings of the choice; "
            "*must not be below* is the confidence less its binomial error over these draws. "
            f"{origin(result)}; {result['machine']}."
        ),
    ]
    return lines


TABLES: Tables = {
    "promise": ("promise_coverage", promise_table),
}
