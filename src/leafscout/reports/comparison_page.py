"""Runs compared, as one HTML page that opens offline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leafscout.reports.diagnosis_records import open_atomically
from leafscout.reports.forest import Gap, draw_forest
from leafscout.reports.pages import open_templates, png_uri

Json = Mapping[str, Any]

QUALITY = {"macro_ap": "macro-AP", "macro_f1": "macro-F1", "ap": "AP", "f1": "F1"}
COST = {"macs_share": "multiply-adds, share of all", "tiles_read": "tiles read a photo"}
"""Figures and how the page names them; quality is better when higher, cost when lower."""

VERDICT_WORDS = {
    "better": "better",
    "worse": "worse",
    "open": "no difference shown",
    "same": "the same",
    "too few photos": "too few photos",
}


def write_comparison_page(path: Path, comparison: Json) -> Path:
    """Write what ``leafscout compare`` found as a page with a forest plot.

    Args:
        path: the page.
        comparison: the ``to_dict()`` of a ``RunComparison``.

    Returns:
        The path.

    Raises:
        InputError: when the page cannot be written, or matplotlib is missing.
    """
    png = draw_comparison(comparison)
    text = (
        open_templates()
        .get_template("comparison_page.html.j2")
        .render(
            comparison=comparison,
            rows=[
                {"run": other["name"], **describe_row(figure)}
                for other in comparison["others"]
                for figure in other["figures"]
            ],
            forest=png_uri(png),
        )
    )
    with open_atomically(path) as file:
        file.write(text)
    return path


def draw_comparison(comparison: Json) -> bytes:
    """The forest plot of a comparison: averages and labels of every run, as a PNG."""
    gaps = [
        Gap(
            name=describe_row(figure)["figure"],
            group=other["name"],
            value=_number(figure["difference"]["value"]),
            low=_number(figure["difference"]["low"]),
            high=_number(figure["difference"]["high"]),
            sure=figure["verdict"] in ("better", "worse"),
            text=VERDICT_WORDS[figure["verdict"]],
        )
        for other in comparison["others"]
        for figure in _in_order(other["figures"])
        if figure["figure"] in QUALITY
    ]
    title = f"Against {comparison['reference']}, {comparison['photos']} photos"
    return draw_forest(title, "better to the right of 0", gaps)


def describe_row(figure: Json) -> dict[str, str]:
    """One figure of a comparison as the texts of a table row.

    Args:
        figure: the ``to_dict()`` of a ``FigureDifference``.

    Returns:
        The texts: figure, photos, reference, run, difference, p, verdict.
    """
    gap = figure["difference"]
    digits = 2 if figure["figure"] == "tiles_read" else 3
    words = (QUALITY | COST)[figure["figure"]]
    verdict = VERDICT_WORDS[figure["verdict"]]
    if figure["figure"] in COST:
        verdict = {"better": "less", "worse": "more"}.get(verdict, verdict)

    def show(value: float | None, sign: str = "") -> str:
        return "–" if value is None else f"{value:{sign}.{digits}f}"

    interval = (
        "" if gap["low"] is None else f" ({show(gap['low'], '+')} to {show(gap['high'], '+')})"
    )
    return {
        "figure": f"{words} of {figure['label']}" if figure["label"] else words,
        "photos": str(figure["positives"]),
        "reference": show(gap["value_b"]),
        "model": show(gap["value_a"]),
        "difference": show(gap["value"], "+") + interval,
        "p": "–" if figure["p_corrected"] is None else f"{figure['p_corrected']:.3f}",
        "verdict": verdict,
    }


def _in_order(figures: Sequence[Json]) -> list[Json]:
    """Averages first, then each label with its figures together."""
    labels = list(dict.fromkeys(figure["label"] for figure in figures))
    return sorted(figures, key=lambda figure: labels.index(figure["label"]))


def _number(value: float | None) -> float:
    return math.nan if value is None else value
