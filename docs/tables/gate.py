"""The tables of the integrated variant: what dropping tokens costs, saves and is pulled by."""

from __future__ import annotations

from typing import Any

from tables.wording import Tables

NAMES = {
    "dense": "dense: no gate",
    "no_cost": "learnt gate, λ = 0",
    "cost_0.05": "learnt gate, λ = 0.05",
    "learnt": "**learnt gate, λ = 0.2**",
    "cost_1": "learnt gate, λ = 1",
    "magnitude": "magnitude of early features, same share",
    "random": "random, same share",
    "straight_through": "learnt gate, λ = 0.2, without noise",
    "hinge": "learnt gate, hinge on the mean share",
}


def _share(spread: dict[str, float]) -> str:
    return _value(spread, "{:.1%}")


def _value(spread: dict[str, float], form: str = "{:.3f}") -> str:
    """Mean (lowest to highest over the seeds)."""
    mean, low, high = (form.format(spread[key]) for key in ("mean", "low", "high"))
    return mean if low == high else f"{mean} ({low} to {high})"


def _points(spread: dict[str, float]) -> str:
    mean, low, high = (100 * spread[key] for key in ("mean", "low", "high"))
    return f"{mean:+.1f}" if low == high else f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def gate_table(result: dict[str, Any]) -> list[str]:
    """Rows over their seeds."""
    lines = [
        (
            "| | seeds | macro AUC | points of AUC to dense | macro F1 | tokens kept: healthy, "
            "diseased photos | lesion tokens kept | multiply-adds, share of dense |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        kept = f"{row['kept_healthy']['mean']:.1%}, {row['kept_diseased']['mean']:.1%}"
        points = "" if row["row"] == "dense" else _points(row["macro_auc_minus_dense"])
        lines.append(
            f"| {NAMES[row['row']]} | {len(row['seeds'])} | {_value(row['macro_auc'])} | {points} "
            f"| {_value(row['macro_f1'])} | {kept} | {_share(row['lesion_tokens_kept'])} "
            f"| {_share(row['macs_share'])} |"
        )
    return [*lines, "", _origin(result)]


def time_table(result: dict[str, Any]) -> list[str]:
    """Wall time of the network, dense and dropping, photo by photo in turns."""
    lines = [
        "| seed | dense, ms | with the gate, ms | ratio | healthy | diseased |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one['seed']} | {one['dense_ms']:.1f} | {one['gated_ms']:.1f} | {one['ratio']:.2f} | "
        f"{one['ratio_healthy']:.2f} | {one['ratio_diseased']:.2f} |"
        for one in result["times"]
    ]
    return [*lines, "", "Medians over the test photos, one core, from pixels to evidence."]


def gradient_table(result: dict[str, Any]) -> list[str]:
    """The pull of the photo loss on gates, epoch by epoch."""
    lines = [
        (
            "| phase | seed | epoch | bags | slope on lesion tokens | slope on the others | "
            "ratio of sizes | lesion tokens kept |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    phases = {"start": "no price yet", "learnt": "with the price"}
    for phase, words in phases.items():
        for seed, rows in result["slopes"].get(phase, {}).items():
            lines += [
                f"| {words} | {seed} | {row['epoch']} | {row['bags']} | {row['lesion']:.1e} | "
                f"{row['other']:.1e} | {row['ratio']:.1f} | {row['lesion_tokens_kept']:.1%} |"
                for row in rows
            ]
    return lines


def spots_table(result: dict[str, Any]) -> list[str]:
    """Painted spots, the last epoch of each phase and every epoch of the first seed."""
    rows = result["rows"]
    last = {(row["seed"], row["phase"]): row["epoch"] for row in rows}
    lines = [
        (
            "| seed | phase | epoch | macro-AP | tokens kept: healthy, diseased photos | kept: "
            "spot tokens, others | slope on spot tokens | slope on others: mean, mean size |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["seed"] and row["epoch"] != last[row["seed"], row["phase"]]:
            continue
        lines.append(
            f"| {row['seed']} | {row['phase']} | {row['epoch']} | {row['macro_ap']:.2f} | "
            f"{row['kept_healthy']:.1%}, {row['kept_diseased']:.1%} | "
            f"{row['kept_spot']:.1%}, {row['kept_other']:.1%} | {row['slope_spot']:.1e} | "
            f"{row['slope_other']:.1e}, {row['size_other']:.1e} |"
        )
    return [*lines, "", _single_origin(result)]


def compute_table(result: dict[str, Any]) -> list[str]:
    """What a share of kept tokens costs."""
    lines = [
        "| tokens kept | multiply-adds, share of dense | CPU ms a photo, share of dense |",
        "|---|---|---|",
    ]
    dense = result["rows"][0]["cpu_ms"]
    lines += [
        f"| {row['share']:.0%} ({row['tokens']}) | {row['macs_share']:.1%} | {row['cpu_ms']:.1f}, "
        f"{row['cpu_ms'] / dense:.0%} |"
        for row in result["rows"]
    ]
    return [*lines, "", _single_origin(result)]


def _single_origin(result: dict[str, Any]) -> str:
    return (
        f"`{result['command']}`; {result['date']}, commit {result['commit'][:10]}; "
        f"{result['machine']}, a busy machine."
    )


def _origin(result: dict[str, Any]) -> str:
    return (
        f"Means over the seeds, in brackets the lowest and highest. `{result['command']}`; "
        f"{result['date']}, commits {', '.join(result['commits'])}; {result['machine']}."
    )


TABLES: Tables = {
    "gate_spots": ("token_gate_spots", spots_table),
    "gate_compute": ("token_gate_compute", compute_table),
    "gate": ("token_gate", gate_table),
    "gate_time": ("token_gate", time_table),
    "gate_gradients": ("token_gate", gradient_table),
}
