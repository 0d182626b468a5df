"""Figures of how photos lie in a model's features, from what a study of them holds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.reports.figures import (
    FAINT,
    INK,
    LEAF,
    MOST_DRAWN,
    PALETTE,
    TEXT_PT,
    dress_axes,
    encode_png,
    new_figure,
    plain_text,
)
from leafscout.reports.report_figures import DrawnFigure

Json = Mapping[str, Any]

HEALTHY = "healthy"
COLUMNS = 4
"""Panels in a row of histograms."""


def draw_feature_study(study: Json) -> list[DrawnFigure]:
    """Draw every view of a study: flat views, centres, angles.

    Args:
        study: the ``to_dict()`` of a ``leafscout.inference.feature_run.FeatureStudy``.
    """
    figures = []
    for view in study["views"]:
        figures += [
            _draw_flat(view),
            _draw_angles(view),
            _draw_centres(view, study["labels"]),
        ]
    return figures


def _draw_flat(view: Json) -> DrawnFigure:
    shares = [100 * share for share in view["variance_shares"]]
    panels = [
        (
            "Principal components",
            (f"first, {shares[0]:.0f}% of the spread", f"second, {shares[1]:.0f}%"),
            np.array(view["by_variance"]),
        )
    ]
    if view["by_neighbours"] is not None:
        panels.append(
            ("Neighbours kept together (t-SNE)", ("", ""), np.array(view["by_neighbours"]))
        )
    kinds = [" + ".join(names) or HEALTHY for names in view["truth"]]
    colours = _choose_colours(kinds)
    figure = new_figure(5.0 * len(panels), 5.2)
    handles = {}
    for place, (title, (x_label, y_label), places) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), place)
        dress_axes(axes, title, x_label, y_label)
        axes.tick_params(labelbottom=False, labelleft=False)
        # The commonest below, so that rare ones are not hidden.
        for kind, _ in Counter(kinds).most_common():
            inside = np.array([one == kind for one in kinds])
            handles[kind] = axes.scatter(
                places[inside, 0], places[inside, 1], s=26, alpha=0.8, linewidths=0.4,
                edgecolors="white", color=colours.get(kind, FAINT),
            )  # fmt: skip
    legend = figure.legend(
        [handles[kind] for kind in colours],
        [plain_text(kind, 36) for kind in colours],
        loc="outside lower center", ncols=3, frameon=False, fontsize=TEXT_PT,
    )  # fmt: skip
    for entry in legend.get_texts():
        entry.set_color(INK)
    others = len(set(kinds) - set(colours))
    caption = f"{len(kinds)} photos by {view['of']}; what lies together, the network finds alike."
    if len(panels) > 1:
        caption += (
            " t-SNE keeps neighbours together; the sizes of its groups and the gaps between them "
            "mean nothing."
        )
    if others:
        caption += f" Grey: {others} rarer combinations of diseases."
    return DrawnFigure(f"feature_map_{view['view']}", "features", caption, encode_png(figure))


def _choose_colours(kinds: Sequence[str]) -> dict[str, str]:
    """Healthy photos in green, and the commonest combinations of diseases in the other colours."""
    common = [kind for kind, _ in Counter(kinds).most_common() if kind != HEALTHY]
    palette = [colour for colour in PALETTE if colour != "#009E73"]
    colours = dict(zip(common, palette, strict=False))
    return ({HEALTHY: LEAF} if HEALTHY in kinds else {}) | colours


def _draw_angles(view: Json) -> DrawnFigure:
    entries = view["angles"][:MOST_DRAWN]
    columns = min(COLUMNS, len(entries))
    rows = math.ceil(len(entries) / columns)
    figure = new_figure(3.4 * columns, 2.7 * rows)
    for place, entry in enumerate(entries, start=1):
        axes = figure.add_subplot(rows, columns, place)
        dress_axes(axes, entry["label"], "degrees from its centre", "share of photos")
        edges = np.array(entry["edges_deg"])
        for name, colour in (("negative", FAINT), ("positive", PALETTE[1])):
            counts = np.array(entry[name], dtype=np.float64)
            if counts.sum():
                axes.stairs(counts / counts.sum(), edges, fill=True, color=colour, alpha=0.6)
        axes.set_xlim(*_used_range(entry))
    caption = (
        f"Angles between the features of photos ({view['of']}) and the direction in which a "
        "label's evidence grows; orange: photos with the label, grey: those without. The less the "
        "two overlap, the better the label is told."
    )
    return DrawnFigure(f"feature_angles_{view['view']}", "features", caption, encode_png(figure))


def _used_range(entry: Json) -> tuple[float, float]:
    edges = np.array(entry["edges_deg"])
    used = np.flatnonzero(np.array(entry["positive"]) + np.array(entry["negative"]))
    if not used.size:
        return float(edges[0]), float(edges[-1])
    step = float(edges[1] - edges[0])
    return float(edges[used[0]]) - step, float(edges[used[-1] + 1]) + step


def _draw_centres(view: Json, labels: Sequence[str]) -> DrawnFigure:
    names = [plain_text(label) for label in labels[:MOST_DRAWN]]
    cosines = _numbers(view["centre_cosines"])[: len(names), : len(names)]
    figure = new_figure(2.8 + 0.75 * len(names), 2.0 + 0.6 * len(names))
    axes = figure.add_subplot()
    dress_axes(axes, "Cosines of centres", "", "")
    axes.grid(visible=False)
    axes.imshow(np.ma.masked_invalid(cosines), cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
    for side in axes.spines.values():
        side.set_visible(False)
    for row, column in np.ndindex(*cosines.shape):
        if math.isfinite(cosines[row, column]):
            axes.text(
                column, row, f"{cosines[row, column]:.2f}", ha="center", va="center",
                color="white" if abs(cosines[row, column]) > 0.6 else INK, fontsize=TEXT_PT,
            )  # fmt: skip
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
    axes.set_yticks(range(len(names)), names)
    caption = (
        "How alike the directions are in which the evidence of two labels grows: at 1 the network "
        "cannot tell them apart, at 0 they have nothing to do with each other, below 0 one speaks "
        "against the other."
    )
    return DrawnFigure(f"feature_centres_{view['view']}", "features", caption, encode_png(figure))


def _numbers(rows: Sequence[Sequence[float | None]]) -> NDArray[np.float64]:
    return np.array([[math.nan if value is None else value for value in row] for row in rows])
