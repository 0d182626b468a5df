"""Tables of the field at a quarter of its side: accuracy, cost, what is kept, by lesion size."""

from __future__ import annotations

from typing import Any

from tables.wording import Tables, interval, name_of

ROWS = {
    "base": "as it was set up",
    "surer_scout": "surer scout: learns three times as long, and the order of pairs",
    "higher_threshold": "the same, and a higher threshold",
    "strict_borders": "surer scout, strict borders: a place counts for the tile that holds most",
}
"""Row of the benchmark → what it is."""


def accuracy_table(result: dict[str, Any]) -> list[str]:
    """Glance and focus against its alternatives on the same photos, seed by seed."""
    lines = [
        "| model | seed | macro-AP | macro-AUC | macro-F1 | ours minus this: AUC | F1 |",
        "|---|---|---|---|---|---|---|",
    ]
    first = [one for one in result["cells"] if one["row"] == "base"]
    lines += [
        f"| **glance and focus** | {one['seed']} | {_macro(one['evaluation'])} | | |"
        for one in first
    ]
    for name in first[0]["evaluation"]["baselines"]:
        for one in first:
            other = one["evaluation"]["baselines"].get(name)
            if other is None:
                continue
            less = other["model_minus_baseline"]
            lines.append(
                f"| {name_of(name)} | {one['seed']} | {_macro(other)} | "
                f"{interval(less['macro_auc'], 3)} | {interval(less['macro_f1'], 3)} |"
            )
    return [*lines, "", _origin(result)]


def best_cost_table(result: dict[str, Any]) -> list[str]:
    """The same of the settings that did best."""
    cells = [one for one in result["cells"] if one["row"] == "strict_borders"]
    lines = cost_table({**result, "cells": cells})
    named = [line.replace(ROWS["strict_borders"], "**glance and focus**") for line in lines]
    return [*named, "", _origin(result)]


def cost_table(result: dict[str, Any]) -> list[str]:
    """What it costs, and whether what matters is kept."""
    lines = [
        (
            "| | seed | multiply-adds of all tiles: healthy, diseased photos | tiles dropped: "
            "healthy, diseased | healthy photos that exit early | diseased photos that keep a "
            "lesion tile | hits among 5 tiles | pointing game | less all tiles: AUC | F1 |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in result["cells"]:
        cost, found = one["evaluation"]["cost"], one["evaluation"]["localisation"]
        healthy, diseased = cost["healthy"], cost["diseased"]
        pointing = found["pointing"]
        less = one["evaluation"]["baselines"]["all_tiles"]["model_minus_baseline"]
        lines.append(
            f"| {ROWS[one['row']]} | {one['seed']} | "
            f"{healthy['macs_ratio']:.1%}, {diseased['macs_ratio']:.1%} | "
            f"{healthy['drop_rate']:.1%}, {diseased['drop_rate']:.1%} | "
            f"{healthy['early_exit']:.0%} | {found['lesion_kept']:.1%} | "
            f"{found['hits_at_k'][str(result['hits_at'])]:.2f} | "
            f"{pointing['hits']} of {pointing['photos']} | "
            f"{interval(less['macro_auc'], 3)} | {interval(less['macro_f1'], 3)} |"
        )
    return lines


def size_table(result: dict[str, Any]) -> list[str]:
    """What the scout sees of lesions of one size."""
    words = {
        "base": "first",
        "surer_scout": "surer scout",
        "strict_borders": "and strict borders",
    }
    rows = [row for row in words if any(c["row"] == row for c in result["cells"])]
    heads = [f"{what}: {words[row]}" for row in rows for what in ("hits among 5", "keep one")]
    lines = [
        f"| lesions | in a whole photo | by chance | {' | '.join(heads)} |",
        "|---" * (3 + len(heads)) + "|",
    ]
    for size in result["cells"][0]["sizes"]:
        cells = []
        for row in rows:
            seen = [one["sizes"][size] for one in result["cells"] if one["row"] == row]
            cells += [_each(seen, "hits"), _each(seen, "lesion_kept")]
        chance = result["cells"][0]["sizes"][size]["by_chance"]
        lines.append(f"| {size} px | {4 * int(size)} px | {chance:.2f} | {' | '.join(cells)} |")
    return [
        *lines,
        "",
        f"{result['shown_photos']} photos a size; one figure for each seed.",
    ]


def misses_table(result: dict[str, Any]) -> list[str]:
    """Which tiles the scout takes for those with a lesion."""
    lines = [
        "| | lesions | seeds | on a lesion | beside a lesion tile | elsewhere |",
        "|---|---|---|---|---|---|",
    ]
    names = dict.fromkeys(one["row"] for one in result["rows"])
    for name in names:
        mine = [one for one in result["rows"] if one["row"] == name]
        for size in mine[0]["sizes"]:
            totals = [sum(one["sizes"][size].values()) for one in mine]
            shares = [
                ", ".join(
                    f"{one['sizes'][size][where] / total:.1%}"
                    for one, total in zip(mine, totals, strict=True)
                )
                for where in ("lesion", "beside", "elsewhere")
            ]
            seeds = ", ".join(str(one["seed"]) for one in mine)
            lines.append(f"| {ROWS[name]} | {size} px | {seeds} | {' | '.join(shares)} |")
    return [
        *lines,
        "",
        (
            f"Of each of {result['photos']} photos a size the best {result['hits_at']} tiles, or "
            f"as many as show a lesion. `{result['command']}`; {result['date']}, commit "
            f"{result['commit']}; {result['machine']}."
        ),
    ]


def _macro(scored: dict[str, Any]) -> str:
    macro = scored["labels"]["macro"]
    return " | ".join(interval(macro[key], 3) for key in ("ap", "auc", "f1"))


def _each(seen: list[dict[str, float]], key: str) -> str:
    return ", ".join(f"{one[key]:.2f}" for one in seen)


def _origin(result: dict[str, Any]) -> str:
    photos = result["photos"]
    return (
        f"{photos['train']} photos to learn from, {photos['val']} to validate, {photos['test']} to "
        f"test; 95% bootstrap intervals, paired for differences. `{result['command']}`; "
        f"{result['date']}, commit {result['commit']}; {result['machine']}."
    )


TABLES: Tables = {
    "quarter_field": ("quarter_field", accuracy_table),
    "quarter_cost": ("quarter_field", cost_table),
    "quarter_cost_best": ("quarter_field", best_cost_table),
    "quarter_sizes": ("quarter_field", size_table),
    "quarter_misses": ("quarter_field_misses", misses_table),
}
