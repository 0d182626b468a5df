"""Plots of megapixel digits: accuracy against the side of the canvas, and against cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

NAMES = {
    "resized": "canvas resized",
    "all_tiles": "all tiles, transformer",
    "random_tiles": "16 random tiles",
    "patch_selection": "patch selection, 16 tiles",
    "gated_attention": "all tiles, gated attention",
    "leafscout": "LeafScout",
}
COLOURS = ("#999999", "#0072b2", "#e69f00", "#cc79a7", "#56b4e9", "#009e73")
"""Okabe & Ito's colours, told apart without red and green."""


def plot_results(result: dict[str, Any], path: Path) -> None:
    """Draw both plots into one SVG.

    Args:
        result: cells and costs, as ``report`` joins them.
        path: where the picture goes.
    """
    import matplotlib as mpl

    mpl.use("svg")
    # A fixed salt and no date: the same figures give the same file.
    mpl.rcParams.update({"svg.hashsalt": "megapixel digits", "font.size": 9})
    from matplotlib import pyplot as plt

    figure, (by_side, by_cost) = plt.subplots(1, 2, figsize=(9.5, 3.8))
    for (row, name), colour in zip(NAMES.items(), COLOURS, strict=True):
        sides, means = _accuracy_by_side(result["cells"], row)
        if sides:
            by_side.plot(sides, means, "o-", color=colour, label=name, markersize=4)
        macs = {one["side_px"]: one["full"]["macs"] / 1e6 for one in result["costs"]
                if one["row"] == row}  # fmt: skip
        points = [(macs[side], mean) for side, mean in zip(sides, means, strict=True)
                  if side in macs]  # fmt: skip
        if points:
            by_cost.plot(*zip(*points, strict=True), "o-", color=colour, markersize=4)
    by_side.set(xscale="log", xlabel="side of the canvas (px)", ylabel="accuracy, majority")
    by_side.set_xticks([500, 750, 1500, 3000], ["500", "750", "1500", "3000"])
    by_side.minorticks_off()
    by_cost.set(xscale="log", xlabel="million multiply-adds, a canvas with digits")
    for axes in (by_side, by_cost):
        axes.set_ylim(0, 1.02)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="lower center", ncol=3, frameon=False)
    figure.tight_layout(rect=(0, 0.14, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _accuracy_by_side(cells: list[dict[str, Any]], row: str) -> tuple[list[int], list[float]]:
    most = max(one["canvases"] for one in cells)
    mine = [one for one in cells if one["row"] == row and one["canvases"] == most]
    sides = sorted({one["side_px"] for one in mine})
    means = [
        float(np.mean([one["majority"] for one in mine if one["side_px"] == side]))
        for side in sides
    ]
    return sides, means
