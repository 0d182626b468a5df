"""Tables of a trained model made smaller: exported, rounded, pruned."""

from __future__ import annotations

from typing import Any

from tables.speed import describe_machine
from tables.wording import Tables


def parity_table(result: dict[str, Any]) -> list[str]:
    """How real exports compared with their runs."""
    lines = [
        (
            "| run | exported | other labels | other tiles read | largest change of a "
            "probability | cosine of logits | layers in fp32: scout, expert | size, of the "
            "run's weights |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in result["rows"]:
        kept = one["fp32_layers"]
        layers = f"{kept['scout']}, {kept['expert']}" if kept else "all"
        lines.append(
            f"| {one['run'].removeprefix('runs/')} | {one['runtime']} {one['precision']} | "
            f"{one['decisions_changed']} of {one['photos']} | {one['choices_changed']} | "
            f"{one['max_prob_change']:.2g} | {one['logit_cosine']:.5f} | {layers} | "
            f"{one['bytes_frac']:.0%} |"
        )
    lines += [
        "",
        (
            "On each run's validation photos, with default settings: at most 2% of the photos may "
            "get other labels in int8. Both networks have 52 layers that can be rounded. "
            f"{describe_machine(result)}"
        ),
    ]
    return lines


def exported_table(result: dict[str, Any]) -> list[str]:
    """A trained model in every runtime: how right, and how dear."""
    lines = [
        (
            "| model | macro-AP | macro-F1 | other labels than PyTorch | largest change of a "
            "probability | healthy photo, ms | diseased photo, ms | MB |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in result["models"].items():
        lines.append(
            f"| {name} | {one['macro_ap']:.3f} | {one['macro_f1']:.3f} | "
            f"{one['decisions_changed']} of {one['photos']} | {one['prob_change_max']:.2g} | "
            f"{_spread(one['healthy']['cpu_ms'])} | {_spread(one['diseased']['cpu_ms'])} | "
            f"{one['megabytes']:.1f} |"
        )
    first = next(iter(result["models"].values()))
    lines += [
        "",
        (
            f"{first['photos']} test photos of a coffee fold ({first['healthy']['photos']} "
            f"healthy, {first['diseased']['photos']} diseased; tiles read of a diseased one: "
            f"{first['diseased']['tiles_read_mean']:.1f} on average), from the file to the "
            "diagnosis, processor time of one thread: median over photos, in brackets the middle "
            f"half. {describe_machine(result)}"
        ),
    ]
    return lines


def command_table(result: dict[str, Any]) -> list[str]:
    """``leafscout diagnose`` for one photo, as a user calls it."""
    lines = [
        (
            "| model | one healthy photo: processor s, peak MB | one diseased photo: processor s, "
            "peak MB |"
        ),
        "|---|---|---|",
    ]
    for name, one in result["models"].items():
        cells = [
            f"{one['command'][kind]['cpu_s']:.2f}, {one['command'][kind]['peak_mb']:.0f}"
            for kind in ("healthy", "diseased")
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "A fresh process each time, start of Python included."]
    return lines


def _spread(one: dict[str, float]) -> str:
    return f"{one['median']:.0f} [{one['low_quartile']:.0f}, {one['high_quartile']:.0f}]"


def int8_table(result: dict[str, Any]) -> list[str]:
    """Ways of rounding."""
    lines = [
        (
            "| way | other labels: validation, test | other tiles: validation, test | mean change "
            "of the largest probability: validation, test | cosine of logits, test | size |"
        ),
        "|---|---|---|---|---|---|",
    ]
    for name, one in result["ways"].items():
        val, test = one["val"], one["test"]
        lines.append(
            f"| {name} | {val['decisions_changed']} of {val['photos']}, "
            f"{test['decisions_changed']} of {test['photos']} | {val['choices_changed']}, "
            f"{test['choices_changed']} | {val['prob_change_mean']:.3f}, "
            f"{test['prob_change_mean']:.3f} | {test['logit_cosine']:.4f} | "
            f"{one['bytes_frac']:.0%} |"
        )
    lines += [
        "",
        (
            f"Against the fp32 graphs; ranges from {result['calibration_photos']} training photos "
            f"and {result['calibration_tiles']} of their tiles. {describe_machine(result)}"
        ),
    ]
    return lines


def compression_table(result: dict[str, Any]) -> list[str]:
    """Pruning and low rank without training."""
    lines = [
        (
            "| expert | statistics | multiply-adds | MB (zipped) | tile, ms | other labels: "
            "validation, test | macro-F1, test |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    first = next(iter(result["variants"].values()))
    for name, one in result["variants"].items():
        for how in ("as it is", "statistics anew"):
            cell = one[how]
            val, test = cell["val"], cell["test"]
            lines.append(
                f"| {name} | {how.removeprefix('statistics ')} | "
                f"{one['macs'] / first['macs']:.0%} | {one['megabytes']:.1f} "
                f"({one['megabytes_zipped']:.1f}) | {_spread(one['tile_cpu_ms'])} | "
                f"{val['decisions_changed']} of {val['photos']}, "
                f"{test['decisions_changed']} of {test['photos']} | "
                f"{cell['test_macro_f1']:.3f} |"
            )
    lines += [
        "",
        (
            f"{result['expert']}, ONNX Runtime fp32, one thread; nothing was trained. "
            f"{describe_machine(result)}"
        ),
    ]
    return lines


TABLES: Tables = {
    "export_parity": ("export_parity", parity_table),
    "exported": ("exported_coffee", exported_table),
    "exported_command": ("exported_coffee", command_table),
    "int8_ways": ("int8_ways", int8_table),
    "compression": ("compression", compression_table),
}
