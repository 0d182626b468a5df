"""The tables of the scout's learning and of the choice of tiles."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from tables.wording import Tables

ROWS = {
    "base": "probability as target, values alone (the default)",
    "longer": "the default, half as long again",
    "in_proportion": "the default, places at borders in proportion",
    "activation": "activation as target",
    "rank": "rank as target",
    "pairwise": "and the order of pairs",
    "listwise": "and the shares of a photo's evidence",
    "out_of_fold_heads": "evidence out of fold, last layers alone (4 folds)",
    "out_of_fold": "evidence out of fold, whole experts (2 folds)",
    "quarter_of_tiles": "a random quarter of the tiles",
    "weighted_softmax": "then tuned: score-weighted path, softmax",
    "weighted_sigmoid": "then tuned: score-weighted path, sigmoid",
    "reinforce": "then tuned: REINFORCE",
    "reinforce_alone": "from nothing: REINFORCE alone",
    "reinforce_no_baseline": "from nothing: REINFORCE alone, no baseline",
    "many_scales": "glances of 40% to 100% of the size",
    "glance_112": "a glance of 112 px",
    "glance_320": "a glance of 320 px",
}
SIZES = (8, 12, 16, 24, 40, 64)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean and standard deviation over seeds."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def _source(result: dict[str, Any]) -> str:
    seeds = ", ".join(map(str, result["seeds"]))
    return (
        f"Mean and standard deviation over seeds {seeds}. `{result['command']}`; "
        f"{result['date']}, commit {result['commit']}; {result['machine']}."
    )


def learning_table(result: dict[str, Any]) -> list[str]:
    """What targets, losses and evidence do to the scout."""
    columns = (
        "hits_at_5",
        "lesion_tiles_kept",
        "photos_kept",
        "tiles_read_healthy",
        "spearman_all",
        "spearman_in_photo",
        "mse_of_constant_frac",
        "cpu_s",
    )
    lines = [
        (
            "| the scout learns | hits among 5 | lesion tiles kept | diseased photos kept | tiles "
            "read, healthy | Spearman, all tiles | Spearman, in a photo | squared error / constant "
            "| CPU s |"
        ),
        "|---" * (len(columns) + 1) + "|",
    ]
    for row, words in ROWS.items():
        cells = [cell for cell in result["cells"] if cell["row"] == row]
        if cells:
            values = [
                spread([cell[column] for cell in cells], 0 if column == "cpu_s" else 2)
                for column in columns
            ]
            which = ", ".join(str(cell["seed"]) for cell in cells)
            seeds = "" if len(cells) == len(result["seeds"]) else f" (seed {which})"
            lines.append(f"| {words}{seeds} | {' | '.join(values)} |")
    expert = result["experts"]
    chance = result["cells"][0]["chance_hits_at_5"]
    lines += [
        "",
        (
            f"By chance {chance:.2f} of the hits; the expert itself, all tiles read, has "
            f"{spread([c['expert_hits_at_5'] for c in result['cells'] if c['row'] == 'base'])}. "
            f"The experts' macro-AUC is {spread([one['macro_auc'] for one in expert])}, their "
            f"tile-AUC {spread([one['tile_auc'] for one in expert])}. "
            f"{_compare(result['cells'])} {_source(result)}"
        ),
    ]
    return lines


def _compare(cells: list[dict[str, Any]]) -> str:
    """Rank correlation of each row against the default, seed by seed."""
    values = {(cell["row"], cell["seed"]): cell["spearman_all"] for cell in cells}
    rows = []
    for row, words in ROWS.items():
        seeds = sorted(seed for name, seed in values if name == row)
        if row != "base" and len(seeds) > 1:
            changes = [f"{values[row, seed] - values['base', seed]:+.2f}" for seed in seeds]
            rows.append(f"{words}: {', '.join(changes)}")
    return f"Spearman, all tiles, against the default, seed by seed. {'; '.join(rows)}."


def sizes_table(result: dict[str, Any]) -> list[str]:
    """Hits by the size of lesions, for several glances."""
    names = {"glance_112": 112, "base": 208, "glance_320": 320, "many_scales": 208}
    lines = [
        "| glance | " + " | ".join(f"{size} px" for size in SIZES) + " |",
        "|---" * (len(SIZES) + 1) + "|",
    ]
    for row, side in names.items():
        cells = [cell for cell in result["cells"] if cell["row"] == row]
        if cells:
            values = [spread([cell[f"hits_at_5_{size}px"] for cell in cells]) for size in SIZES]
            more = ", learnt at many scales" if row == "many_scales" else ""
            lines.append(f"| {side} px{more} | {' | '.join(values)} |")
    first = result["cells"][0]
    chance = [f"{first[f'chance_{size}px']:.2f}" for size in SIZES]
    lines += [f"| by chance | {' | '.join(chance)} |", "", _source(result)]
    return lines


METHODS = {
    "one_glance": "one glance, one threshold",
    "mean_of_2": "mean of 2 mirrored glances",
    "mean_of_4": "mean of 4",
    "loudest_of_4": "the loudest of 4",
    "optimistic_2": "mean and spread of 2",
    "optimistic_4": "mean and spread of 4",
    "uncertain_4": "places for the most spread of 4",
    "mean_of_3_scouts": "mean of three scouts (seeds 0 to 2)",
    "optimistic_3_scouts": "mean and spread of three scouts",
    "uncertain_3_scouts": "places for the most spread of three scouts",
}


def uncertain_table(result: dict[str, Any]) -> list[str]:
    """Faint lesions kept at equal mean tiles, and at equal mean multiply-adds."""
    rows = result["rows"]
    budgets = sorted({row["tiles_read"] for row in rows})
    lines = [
        "| tiles are ranked by | "
        + " | ".join(f"{count} tiles" for count in budgets)
        + " | "
        + " | ".join(f"multiply-adds of {count} tiles" for count in budgets)
        + " |",
        "|---" * (2 * len(budgets) + 1) + "|",
    ]
    measured = {row["method"] for row in rows}
    for method, words in METHODS.items():
        if method not in measured:
            continue
        values = [
            spread([r[key] for r in rows if r["method"] == method and r["tiles_read"] == count], 3)
            for key in ("kept", "kept_equal_macs")
            for count in budgets
        ]
        lines.append(f"| {words} | {' | '.join(values)} |")
    cost = result["glance_cost_in_tiles"]
    lines += [
        "",
        (
            "Share of the lesion tiles that are read. A further glance is counted as "
            f"{cost:.2f} tiles, its cost in the recipe `full`. {_source(result)}"
        ),
    ]
    return lines


def peaks_table(result: dict[str, Any]) -> list[str]:
    """Lesions that lie whole in a tile read."""
    rows = result["rows"]
    lines = [
        (
            "| lesions | tiles read | whole in one tile: grid | placed | of those that the grid "
            "cuts: grid | placed |"
        ),
        "|---|---|---|---|---|---|",
    ]
    for size in sorted({row["size_px"] for row in rows}):
        for count in sorted({row["tiles_read"] for row in rows}):
            mine = [r for r in rows if r["size_px"] == size and r["tiles_read"] == count]
            values = [
                spread([r[key] for r in mine if r["placement"] == name])
                for key in ("whole", "whole_of_cut")
                for name in ("grid", "placed")
            ]
            number, cut = mine[0]["lesions"], mine[0]["cut_by_grid"]
            lines.append(
                f"| {number} of {size} px, {cut} of them cut | {count} | {' | '.join(values)} |"
            )
    lines += [
        "",
        f"Whole means at least {result['whole_means']:.0%} of its box. {_source(result)}",
    ]
    return lines


def closer_table(result: dict[str, Any]) -> list[str]:
    """Recall and cost of the scout against the photo's area."""
    rows = result["rows"]
    names = {
        "one_glance": "one fine glance",
        "coarse_only": "one coarse glance",
        "closer_second": "coarse, then closer",
    }
    lines = [
        "| megapixels | " + " | ".join(names.values()) + " |",
        "|---" * (len(names) + 1) + "|",
    ]  # fmt: skip
    for size in sorted({row["megapixels"] for row in rows}):
        values = []
        for name in names:
            mine = [r for r in rows if r["megapixels"] == size and r["glances"] == name]
            hits = [
                spread([r["hits"] for r in mine if r["tiles_read"] == count])
                for count in sorted({r["tiles_read"] for r in mine})
            ]
            values.append(f"{'; '.join(hits)}; {mine[0]['scout_mmacs']:,.0f} M")
        lines.append(f"| {size} | {' | '.join(values)} |")
    counts = [str(count) for count in sorted({row["tiles_read"] for row in rows})]
    lines += [
        "",
        (
            f"Hits among {' and among '.join(counts)} tiles, and the scout's multiply-adds. "
            f"{result['canvases']} photos a size. The coarse glance has "
            f"{result['coarse_frac']:.0%} of the fine one's side; {result['regions']} regions are "
            f"looked at again. {_source(result)}"
        ),
    ]
    return lines


def answers_table(result: dict[str, Any]) -> list[str]:
    """Macro-AUC of the expert's loudest tile, on and off the grid."""
    rows = result["answers"]
    counts = sorted({row["tiles_read"] for row in rows})
    lines = [
        "| tiles | " + " | ".join(f"{count} read" for count in counts) + " |",
        "|---" * (len(counts) + 1) + "|",
    ]
    for name, words in (("grid", "of the grid"), ("placed", "placed on peaks")):
        values = [
            spread(
                [r["macro_auc"] for r in rows if r["placement"] == name and r["tiles_read"] == n],
                3,
            )
            for n in counts
        ]
        lines.append(f"| {words} | {' | '.join(values)} |")
    return [*lines, "", f"Macro-AUC of the loudest tile read. {_source(result)}"]


TABLES: Tables = {
    "scout_learning": ("scout", learning_table),
    "scout_sizes": ("scout", sizes_table),
    "scout_uncertain": ("scout_uncertain", uncertain_table),
    "scout_peaks": ("scout_peaks", peaks_table),
    "scout_answers": ("scout_peaks", answers_table),
    "scout_closer": ("scout_closer", closer_table),
}
