"""Tables of whole-photo recognisers trained part by part on small apple photos."""

from __future__ import annotations

from statistics import mean
from typing import Any

from tables.wording import Tables

Record = dict[str, Any]

NAMES = {
    "swin_bce": "Swin",
    "swin_focal": "Swin, focal loss",
    "swin_arcface": "Swin, ArcFace",
    "swin_psa_bce": "Swin, polarised attention",
    "swin_psa_focal": "Swin, polarised attention, focal loss",
    "swin_psa_arcface": "Swin, polarised attention, ArcFace",
    "eva": "EVA",
    "eva_stn": "EVA, spatial transformer",
    "eva_taught": "EVA, taught MobileNetV2's features",
    "eva_taught_hidden": "EVA, taught them at hidden places",
    "efficientnet": "EfficientNet",
    "efficientnet_g16": "EfficientNet, groups of 16",
    "mobile": "MobileNetV2, pretrained",
    "mobile_focal": "the same, focal loss",
    "mobile_arcface": "the same, ArcFace",
    "mobile_psa": "the same, polarised attention",
    "mobile_psa_arcface": "the same, polarised attention, ArcFace",
    "mobile_stn": "the same, spatial transformer",
    "mobile_stn_slow": "the same, spatial transformer at a tenth of the rate",
    "mobile_arcface_margin_0": "the same, ArcFace with margin 0",
    "mobile_arcface_margin_02": "the same, ArcFace with margin 0.2",
    "mobile_arcface_scale_10": "the same, ArcFace with margin 0.2 and a scale from 10",
    "mobile_arcface_scale_64": "the same, ArcFace with margin 0.2 and a scale from 64",
    "mobile_hue_0": "the same, no hue jitter",
    "mobile_hue_02": "the same, hue jitter 0.2",
    "glance_and_focus": "glance and focus, recipe tiny",
    "glance_and_focus_mobile": "glance and focus, MobileNetV2, pretrained",
}
"""Cells in words."""


def _spread(rows: list[Record], figure: str) -> str:
    low = min(row[figure]["low"] for row in rows)
    high = max(row[figure]["high"] for row in rows)
    return f"{mean(row[figure]['value'] for row in rows):.2f} ({low:.2f} to {high:.2f})"


def _mean(rows: list[Record], figure: str) -> float:
    return mean(row[figure] for row in rows)


def _signed(values: list[float]) -> str:
    return ", ".join(f"{value:+.3f}" for value in values)


def _source(result: Record, words: str) -> list[str]:
    commits = ", ".join(one[:10] for one in result["commits"])
    return [
        "",
        f"{words} `{result['command']}`; {result['date']}, commit {commits}; {result['machine']}.",
    ]


def cells_table(result: Record) -> list[str]:
    """Every cell: averages, the weakest label, how labels differ, and what it costs."""
    lines = [
        (
            "| model | seeds | macro-F1 | micro-F1 | macro-AP | micro-AP | weakest label, F1 | "
            "spread of F1, of AUC over labels | weights | multiply-adds | CPU time of a photo |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in result["cells"].items():
        weakest = sorted({row["weakest_label"] for row in rows})
        figures = ("macro_f1", "micro_f1", "macro_ap", "micro_ap")
        averages = " | ".join(_spread(rows, figure) for figure in figures)
        lines.append(
            f"| {NAMES[name]} | {len(rows)} | {averages} | {', '.join(weakest)} "
            f"{_mean(rows, 'weakest_f1'):.2f} | {_mean(rows, 'f1_spread'):.2f}, "
            f"{_mean(rows, 'auc_spread'):.2f} | {rows[0]['parameters'] / 1e6:.2f} M | "
            f"{_mean(rows, 'macs') / 1e6:.0f} M | {_mean(rows, 'cpu_ms'):.0f} ms |"
        )
    split = result["splits"]
    words = (
        f"Trained on {split['train']} photos of {result['photo_px']} px, {result['epochs']} epochs "
        f"at most, thresholds from {split['val']} others, tested on {result['test_photos']}. Mean "
        "of the seeds; in brackets from the lowest to the highest end of their 95% bootstrap "
        "intervals. Spread: standard deviation over the labels."
    )
    return lines + _source(result, words)


def parts_table(result: Record) -> list[str]:
    """Pairs of cells that differ in one part alone."""
    lines = [
        "| part | pairs | macro-F1, with minus without | macro-AP, the same | AP, pair by pair |",
        "|---|---|---|---|---|",
    ]
    for words, found in result["parts"].items():
        cells = []
        for figure in ("macro_f1", "macro_ap"):
            low, high = found[figure]["interval"]
            cells.append(f"{found[figure]['mean']:+.3f} ({low:+.3f} to {high:+.3f})")
        each = _signed(found["macro_ap"]["each"])
        lines.append(f"| {words} | {found['pairs']} | {' | '.join(cells)} | {each} |")
    words = "The same seed, photos and test in a pair; 95% paired bootstrap over photos."
    return lines + _source(result, words)


def counts_table(result: Record) -> list[str]:
    """How good answers are by the number of diseases that a photo shows."""
    lines = [
        (
            "| model | healthy: all right | one disease: all right | one disease: F1 | "
            "several: all right | several: F1 |"
        ),
        "|---|---|---|---|---|---|",
    ]
    photos: dict[int, int] = {}
    for name, rows in result["cells"].items():
        found: dict[tuple[int, str], float] = {}
        for count in (0, 1, 2):
            parts = [_of_count(row["by_count"], count) for row in rows]
            photos[count] = sum(one["photos"] for one in parts[0])
            for figure in ("exact_match", "f1"):
                values = [_weighted(one, figure) for one in parts]
                if None not in values:
                    found[count, figure] = mean(value for value in values if value is not None)
        cells = [(0, "exact_match"), (1, "exact_match"), (1, "f1"), (2, "exact_match"), (2, "f1")]
        shown = [f"{found[cell]:.2f}" if cell in found else "–" for cell in cells]
        lines.append(f"| {NAMES[name]} | {' | '.join(shown)} |")
    words = (
        f"Of {photos[0]} healthy test photos, {photos[1]} with one disease and {photos[2]} with "
        "several; F1 over all pairs of photo and label; mean of the seeds."
    )
    return lines + _source(result, words)


def _of_count(rows: list[Record], count: int) -> list[Record]:
    """Rows of photos with so many diseases; 2 stands for several."""
    return [row for row in rows if min(row["count"], 2) == count]


def _weighted(rows: list[Record], figure: str) -> float | None:
    known = [row for row in rows if row[figure] is not None]
    photos = sum(row["photos"] for row in known)
    return sum(row[figure] * row["photos"] for row in known) / photos if photos else None


TABLES: Tables = {
    "recogniser_grid": ("recogniser_grid", cells_table),
    "recogniser_grid_parts": ("recogniser_grid", parts_table),
    "recogniser_grid_counts": ("recogniser_grid", counts_table),
}
