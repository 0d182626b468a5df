"""Which figures a run report shows, from what the run folder says."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from leafscout.reports.figures import (
    Bar,
    Curve,
    Panel,
    draw_bars,
    draw_binary_matrices,
    draw_heat_table,
    draw_matrix,
    draw_panels,
)

Json = Mapping[str, Any]


@dataclass(frozen=True)
class HistoryRow:
    """One epoch of training; NaN where a figure was not measured.

    Attributes:
        stage: what was trained.
        epoch: from 1, of this stage.
        train_loss: of the training photos.
        val_loss: of the validation photos.
        val_macro_ap: of the validation photos.
        more: further figures by the name of their column, such as ``train_f1``.
    """

    stage: str
    epoch: int
    train_loss: float
    val_loss: float
    val_macro_ap: float
    more: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DrawnFigure:
    """A figure of the report.

    Attributes:
        name: file name without its ending.
        section: ``labels``, ``curves``, ``confusion``, ``cost``, ``data``, ``features`` or
            ``training``.
        caption: what it shows and how to read it.
        png: the picture.
    """

    name: str
    section: str
    caption: str
    png: bytes


EPOCH_FIGURES = {
    "f1": "macro F1",
    "map": "mean AP",
    "acc": "all labels right",
    "label_acc": "labels right",
}
"""Figures of an epoch that some histories hold of training and validation, and their names."""


def draw_evaluation(evaluation: Json) -> list[DrawnFigure]:
    """Draw all that an evaluation holds.

    Args:
        evaluation: the content of ``evaluation.json``; parts that are missing are left out.
    """
    figures = []
    labels = evaluation.get("labels") or {}
    if labels.get("rows"):
        figures += [_draw_label_bars(labels), _draw_label_counts(labels)]
        figures.append(_draw_figure_table(labels))
    if evaluation.get("together"):
        figures.append(_draw_together(evaluation["together"]))
    curves = evaluation.get("precision_recall") or []
    # One order for all curves, so that a label keeps its colour; the weakest labels come first
    # and keep a colour where colours run out.
    order = {entry["label"]: _number(entry["ap"]) for entry in curves}
    for key, draw in _CURVE_FIGURES.items():
        entries = evaluation.get(key) or []
        if entries:
            figures.append(draw(sorted(entries, key=lambda entry: order.get(entry["label"], 0.0))))
    if evaluation.get("taken_for"):
        figures.append(_draw_taken_for(evaluation["taken_for"]))
    if evaluation.get("binary"):
        figures.append(_draw_binary(evaluation["binary"]))
    if evaluation.get("cost"):
        figures.append(_draw_cost(evaluation["cost"]))
    return figures


def draw_history(rows: Sequence[HistoryRow]) -> DrawnFigure:
    """Draw losses and validation macro AP over the epochs of all stages, one after the other."""
    starts = [
        index for index, row in enumerate(rows) if index == 0 or row.stage != rows[index - 1].stage
    ]
    ends = [*starts[1:], len(rows)]
    marks = tuple((start + 0.5, rows[start].stage) for start in starts)

    def trace(name: str, values: Sequence[float], *, dashed: bool = False) -> list[Curve]:
        return [
            Curve(name, range(start + 1, end + 1), values[start:end], dots=True, dashed=dashed)
            for start, end in zip(starts, ends, strict=True)
        ]

    losses = trace("training loss", [row.train_loss for row in rows])
    losses += trace("validation loss", [row.val_loss for row in rows], dashed=True)
    ap = trace("validation macro AP", [row.val_macro_ap for row in rows])
    panels = [Panel("Loss", "epoch", "loss", tuple(losses), unit_square=False, marks=marks)]
    if any(math.isfinite(row.val_macro_ap) for row in rows):
        panels.append(
            Panel("Validation macro AP", "epoch", "AP", tuple(ap), unit_square=False, marks=marks)
        )
    for name, title in EPOCH_FIGURES.items():
        curves = [
            curve
            for column, words in ((f"train_{name}", "training"), (f"val_{name}", "validation"))
            if any(math.isfinite(row.more.get(column, math.nan)) for row in rows)
            for curve in trace(
                f"{words} {title}",
                [row.more.get(column, math.nan) for row in rows],
                dashed=words == "validation",
            )
        ]
        if curves:
            panels.append(
                Panel(title, "epoch", title, tuple(curves), unit_square=False, marks=marks)
            )
    caption = (
        "Epochs of all stages, one after the other; a vertical line marks where a stage begins. "
        "Losses of different stages measure different things."
    )
    return DrawnFigure("training", "training", caption, draw_panels(panels))


def draw_tile_histograms(content: Json) -> DrawnFigure:
    """Draw how many tiles reach a probability, in photos with each label and without it.

    Args:
        content: of ``tile_histograms.json``.
    """
    edges = content["edges"]
    panels = []
    for stage in content["stages"]:
        curves = [
            Curve(row["label"], edges[:-1], _shares_from(row[key]), dashed=key == "absent")
            for row in stage["labels"]
            for key in ("present", "absent")
        ]
        title = f"Tiles, by the {stage['stage']}"
        panels.append(Panel(title, "probability", "share of tiles at or above", tuple(curves)))
    caption = (
        "Tiles of the validation photos. Solid: photos that have the label, where few tiles should "
        "reach far to the right. Dashed: photos without it, where none should."
    )
    return DrawnFigure("tile_probabilities", "training", caption, draw_panels(panels))


def _shares_from(counts: Sequence[int]) -> list[float]:
    """Share of all that lies in each bin or in one further right; NaN of nothing."""
    total = sum(counts)
    if not total:
        return [math.nan] * len(counts)
    return [sum(counts[start:]) / total for start in range(len(counts))]


def _draw_label_bars(labels: Json) -> DrawnFigure:
    rows = [*labels["rows"], labels["healthy"]]
    groups = [
        (title, [_estimate_bar(row["label"], row[key]) for row in rows])
        for key, title in (("ap", "Average precision"), ("f1", "F1"), ("recall", "Recall"))
    ]
    caption = "Each label with its 95% interval (dark line): the fewer photos, the longer the line."
    return DrawnFigure("per_label", "labels", caption, draw_bars(groups, limit=1.0))


def _draw_figure_table(labels: Json) -> DrawnFigure:
    names = {"precision": "Precision", "recall": "Recall", "f1": "F1", "ap": "AP", "auc": "AUC",
             "accuracy": "Accuracy"}  # fmt: skip
    rows = [*labels["rows"], labels["healthy"]]
    values = [[_number(row[key]["value"]) for key in names] for row in rows]
    png = draw_heat_table(
        "Every label and every figure",
        [row["label"] for row in rows],
        list(names.values()),
        np.array(values, dtype=np.float64),
    )
    caption = "All columns come from one set of thresholds. The darker, the higher."
    return DrawnFigure("label_figures", "labels", caption, png)


def _draw_together(entry: Json) -> DrawnFigure:
    photos = np.array(entry["photos"], dtype=np.float64)
    png = draw_matrix(
        "Photos that have both labels", entry["labels"], entry["labels"], photos,
        axes_names=("and", "photos with"),
    )  # fmt: skip
    caption = (
        "On the diagonal, photos with the label; beside it, those that have the other label, too. "
        f"{entry['none']} photos have no label."
    )
    return DrawnFigure("labels_together", "data", caption, png)


def _draw_label_counts(labels: Json) -> DrawnFigure:
    rows = sorted([*labels["rows"], labels["healthy"]], key=lambda row: -int(row["positives"]))
    bars = [Bar(row["label"], float(row["positives"]), text=str(row["positives"])) for row in rows]
    caption = "A photo with several labels counts for each of them."
    title = f"Photos with each label, of {labels['photos']}"
    return DrawnFigure("label_counts", "data", caption, draw_bars([(title, bars)]))


def _draw_precision_recall(entries: Sequence[Json]) -> DrawnFigure:
    curves = tuple(
        Curve(
            f"{entry['label']}  AP {_number(entry['ap']):.2f}",
            [0.0, *_numbers(entry["recall"])],
            [_number(entry["precision"][0]), *_numbers(entry["precision"])],
            stepped=True,
        )
        for entry in entries
    )
    panel = Panel("Precision and recall", "recall", "precision", curves)
    caption = "Up and right is better; the area under a line is its average precision (AP)."
    return DrawnFigure("precision_recall", "curves", caption, draw_panels([panel]))


def _draw_confidence(entries: Sequence[Json]) -> DrawnFigure:
    panels = [
        Panel(
            title,
            "threshold",
            title,
            tuple(
                Curve(entry["label"], _numbers(entry["thresholds"]), _numbers(entry[key]))
                for entry in entries
            ),
        )
        for key, title in (("f1", "F1"), ("precision", "Precision"), ("recall", "Recall"))
    ]
    caption = "What another threshold would give: higher thresholds find less and err less often."
    return DrawnFigure("confidence", "curves", caption, draw_panels(panels))


def _draw_reliability(entries: Sequence[Json]) -> DrawnFigure:
    curves = tuple(
        Curve(
            f"{entry['label']}  ECE {_number(entry['ece']):.2f}"
            f" (chance {_number(entry['ece_if_perfect']):.2f})",
            [_number(part["mean_prob"]) for part in entry["bins"]],
            [_number(part["share"]) for part in entry["bins"]],
            dots=True,
        )
        for entry in entries
    )
    panel = Panel("Reliability", "probability given", "share that has it", curves, diagonal=True)
    caption = (
        "On the dotted line, probabilities mean what they say. "
        "“Chance” is the error that perfect probabilities would show on as many photos."
    )
    return DrawnFigure("reliability", "curves", caption, draw_panels([panel]))


_CURVE_FIGURES: Mapping[str, Callable[[Sequence[Json]], DrawnFigure]] = {
    "precision_recall": _draw_precision_recall,
    "calibration": _draw_reliability,
    "confidence": _draw_confidence,
}


def _draw_taken_for(entry: Json) -> DrawnFigure:
    png = draw_matrix(
        "Which label is taken for which",
        entry["truths"],
        entry["answers"],
        np.array(entry["photos"], dtype=np.float64),
    )
    caption = (
        "Each true label of a photo counts once: under its own name if it was found, else under "
        "the wrong labels named instead, in equal shares, or under (missed) if there was none. "
        "Wrong labels of photos in which nothing was missed stand in the row (added)."
    )
    return DrawnFigure("taken_for", "confusion", caption, png)


def _draw_binary(entries: Sequence[Json]) -> DrawnFigure:
    tables = [
        (
            entry["label"],
            np.array(
                [
                    [entry["true_positives"], entry["false_negatives"]],
                    [entry["false_positives"], entry["true_negatives"]],
                ],
                dtype=np.float64,
            ),
        )
        for entry in entries
    ]
    caption = "Photos that have a label (upper row) or not, by whether it was found (left)."
    return DrawnFigure("confusion", "confusion", caption, draw_binary_matrices(tables))


def _draw_cost(cost: Json) -> DrawnFigure:
    groups = [cost["healthy"], cost["diseased"]]
    total = _number(cost["everyone"]["tiles_total"])
    rows = [(f"{group['name']} photos", _number(group["tiles_read"])) for group in groups]
    rows.append(("reading every tile", total))
    tiles = [Bar(name, value, text=f"{value:.1f}") for name, value in rows]
    macs = [
        Bar("", 100 * share, text=f"{100 * share:.1f}%")
        for share in (_number(group["macs_ratio"]) for group in groups)
    ]
    macs.append(Bar("", 100.0, text="100%"))
    caption = "Means over photos. The scout's own compute is counted."
    png = draw_bars([("Tiles read in a photo", tiles), ("Multiply-adds", macs)])
    return DrawnFigure("cost", "cost", caption, png)


def _estimate_bar(name: str, entry: Json) -> Bar:
    return Bar(name, _number(entry["value"]), _number(entry["low"]), _number(entry["high"]))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [_number(value) for value in values]
