"""A forest plot: differences with their intervals, one below the other, around a line at 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from leafscout.reports.figures import (
    FAINT,
    INK,
    PALETTE,
    TEXT_PT,
    dress_axes,
    encode_png,
    new_figure,
    plain_text,
)


@dataclass(frozen=True)
class Gap:
    """A difference on its row.

    Attributes:
        name: what differs.
        group: whose difference it is; groups have colours, and a legend where there are several.
        value: the difference; NaN leaves the row empty.
        low: lower end of its interval.
        high: upper end of its interval.
        sure: drawn filled; otherwise hollow and in grey.
        text: written at the right border.
    """

    name: str
    group: str
    value: float
    low: float
    high: float
    sure: bool
    text: str


def draw_forest(title: str, x_label: str, gaps: Sequence[Gap]) -> bytes:
    """Draw differences with intervals; rows of the same name stand together.

    Args:
        title: one short line.
        x_label: what a difference means.
        gaps: at least one.

    Returns:
        A PNG.
    """
    names = list(dict.fromkeys(gap.name for gap in gaps))
    groups = list(dict.fromkeys(gap.group for gap in gaps))
    figure = new_figure(9.0, 1.5 + (0.26 + 0.2 * len(groups)) * len(names) + 0.3 * len(groups))
    axes = figure.add_subplot()
    dress_axes(axes, title, x_label, "")
    axes.axvline(0.0, color=INK, linewidth=1.2)
    ends = [abs(x) for gap in gaps for x in (gap.value, gap.low, gap.high) if math.isfinite(x)]
    reach = 1.08 * max([*ends, 0.02])
    # The right third is left to the words.
    axes.set_xlim(-reach, 2.1 * reach)
    axes.set_xticks([tick for tick in axes.get_xticks() if abs(tick) <= reach])
    axes.set_ylim(len(names) - 0.45, -0.6)
    axes.set_yticks(range(len(names)), [plain_text(name) for name in names])
    step = 0.7 / len(groups)
    for gap in gaps:
        place = groups.index(gap.group)
        row = names.index(gap.name) + (place - (len(groups) - 1) / 2) * step
        colour = PALETTE[place % len(PALETTE)]
        axes.text(1.12 * reach, row, plain_text(gap.text, 60), va="center", color=INK,
                  fontsize=TEXT_PT - 1)  # fmt: skip
        if not math.isfinite(gap.value):
            continue
        line = colour if gap.sure else FAINT
        axes.plot([gap.low, gap.high], [row, row], color=line, linewidth=2.0)
        axes.plot([gap.value], [row], marker="o", markersize=7, markeredgecolor=colour,
                  markeredgewidth=1.6, color=colour if gap.sure else "white")  # fmt: skip
    if len(groups) > 1:
        handles = [
            axes.plot([], [], marker="o", linestyle="", color=PALETTE[k % len(PALETTE)])[0]
            for k in range(len(groups))
        ]
        figure.legend(
            handles,
            [plain_text(group, 48) for group in groups],
            loc="outside lower center",
            ncols=min(3, len(groups)),
            frameon=False,
            fontsize=TEXT_PT,
            labelcolor=INK,
        )
    return encode_png(figure)
