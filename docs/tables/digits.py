"""Tables of megapixel digits: what each method answers, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from tables.wording import Tables

NAMES = {
    "resized": "canvas resized, one network",
    "all_tiles": "all tiles, transformer",
    "random_tiles": "16 random tiles",
    "patch_selection": "patch selection, 16 tiles",
    "gated_attention": "all tiles, gated attention",
    "leafscout": "**LeafScout**",
    "leafscout_evidence": "LeafScout, its scout taught by the expert as well",
    "leafscout_long_scout": "LeafScout, its scout learns longer",
    "leafscout_grid": "LeafScout, tiles of the grid",
    "all_tiles_long": "all tiles, transformer, three times as long",
    "patch_selection_long": "patch selection, three times as long",
    "leafscout_more_epochs": "LeafScout, two and a half times the epochs",
    "leafscout_longest": "LeafScout, fifteen times the epochs",
    "all_tiles_longest": "all tiles, transformer, fifteen times the epochs",
    "all_tiles_low_rate": "all tiles, transformer, a sixth of the learning rate",
    "gated_attention_low_rate": "all tiles, gated attention, a sixth of the learning rate",
    "patch_selection_low_rate": "patch selection, a sixth of the learning rate",
    "all_tiles_slow": "all tiles, transformer, fifteen times the epochs, a sixth of the rate",
    "patch_selection_longest": "patch selection, fifteen times the epochs",
    "all_tiles_evidence": "all tiles, evidence pooled as in LeafScout",
    "patch_selection_evidence": "patch selection, evidence pooled as in LeafScout",
}
TASKS = ("majority", "max", "top", "multi")
MEGA = 1e6


def accuracy_table(result: dict[str, Any]) -> list[str]:
    """Accuracy of each method on each size, over its seeds."""
    lines = [
        (
            "| canvas (strokes), learnt from | method | seeds | majority | max | top | multi | "
            "digits in opened tiles | tiles opened: with digits, noise alone | "
            "noise said to be noise | epochs | seconds of learning |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for _, group in groupby(result["cells"], key=_which):
        seeds = list(group)
        first = seeds[0]
        reads_tiles = first["row"] != "resized"
        accuracies = " | ".join(_spread(one[task] for one in seeds) for task in TASKS)
        recall = _spread(one["digit_recall"] for one in seeds) if reads_tiles else "–"
        opened = (
            f"{_mean(one['opened_full'] for one in seeds):.1f}, "
            f"{_mean(one['opened_empty'] for one in seeds):.1f}"
            if reads_tiles
            else "–"
        )
        lines.append(
            f"| {first['side_px']}² ({first['strokes']}), {first['canvases']} | "
            f"{NAMES[first['row']]} | {len(seeds)} | {accuracies} | {recall} | {opened} | "
            f"{_mean(one['quiet'] for one in seeds):.2f} | {first['epochs']} | "
            f"{_mean(one['train_cpu_s'] for one in seeds):.0f} |"
        )
    test = result["test"]
    lines += [
        "",
        (
            f"Mean over the seeds, least to most in brackets; {test['full']} test canvases with "
            f"digits and {test['empty']} of noise alone, a quarter as many of noise as with digits "
            "to learn from. Seconds are of one core. "
            f"`{result['command']}`; {result['date']}; trained at {_commits(result['cells'])}; "
            f"digits of {result['cells'][0]['digits']}; {result['machine']}."
        ),
    ]
    return lines


def cost_table(result: dict[str, Any]) -> list[str]:
    """What one canvas costs each method."""
    lines = [
        (
            "| canvas | method | tiles read (of all) | million multiply-adds: with digits, noise "
            "alone | ms: with digits, noise alone | MB to answer | MB to learn |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    order = list(NAMES)
    for one in sorted(result["costs"], key=lambda row: (row["side_px"], order.index(row["row"]))):
        full, empty = one["full"], one["empty"]
        learn = one["learning_peak_mb"]
        tiles = f"{full['tiles']}" if full == empty else f"{full['tiles']}, {empty['tiles']}"
        lines.append(
            f"| {one['side_px']}² | {NAMES[one['row']]} | {tiles} (of {one['tiles_total']}) | "
            f"{full['macs'] / MEGA:.1f}, {empty['macs'] / MEGA:.1f} | "
            f"{full['wall_ms']:.1f}, {empty['wall_ms']:.1f} | {_megabytes(full['peak_mb'])} | "
            f"{_megabytes(learn)} |"
        )
    lines += [
        "",
        (
            "One canvas in memory, one thread, median of 15; memory beyond what the process held "
            "before, in which small amounts hide, and to learn from one canvas. "
            "Blank tiles are counted and read here: photos have none. "
            "Patch selection reads every tile once to score it. "
            f"`{result['command']}`; {result['date']}; {result['machine']}."
        ),
    ]
    return lines


def published_table(result: dict[str, Any]) -> list[str]:
    """What public logs say about patch selection, beside ours at the same size."""
    lines = [
        "| canvas (strokes), learnt from | method | majority | max | top | multi |",
        "|---|---|---|---|---|---|",
    ]
    for one in result["published"]:
        size = f"{one['side_px']}² ({one['strokes']})"
        told = " | ".join(f"{value:.2f}" for value in one["accuracies"])
        lines.append(f"| {size}, {one['canvases']} | patch selection, published | {told} |")
        fitting = [
            cell
            for cell in result["cells"]
            if cell["side_px"] == one["side_px"] and cell["canvases"] <= one["canvases"]
        ]
        # As many canvases as were published, or as many as were tried.
        most = max((cell["canvases"] for cell in fitting), default=0)
        for row in ("leafscout", "leafscout_evidence", "leafscout_more_epochs"):
            ours = [c for c in fitting if (c["row"], c["canvases"]) == (row, most)]
            if ours:
                told = " | ".join(_spread(cell[task] for cell in ours) for task in TASKS)
                lines.append(f"| {size}, {most} | {NAMES[row]} | {told} |")
    lines += [
        "",
        (
            "Published: from public training logs, on another generator's canvases and with "
            "another network; not measured here, and no fair race."
        ),
    ]
    return lines


def _which(cell: dict[str, Any]) -> tuple[int, int, str, int]:
    return cell["side_px"], cell["canvases"], cell["row"], cell["epochs"]


def _megabytes(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 1 else "below 1"


def _mean(values: Iterable[float]) -> float:
    every = list(values)
    return sum(every) / len(every)


def _spread(values: Iterable[float]) -> str:
    every = list(values)
    mean = f"{_mean(every):.2f}"
    return mean if len(every) == 1 else f"{mean} ({min(every):.2f} to {max(every):.2f})"


def _commits(cells: list[dict[str, Any]]) -> str:
    found = sorted({one["commit"][:10] for one in cells})
    return f"commit{'s' if len(found) > 1 else ''} {', '.join(found)}"


TABLES: Tables = {
    "digits_accuracy": ("megapixel_digits", accuracy_table),
    "digits_cost": ("megapixel_digits", cost_table),
    "digits_published": ("megapixel_digits", published_table),
}
