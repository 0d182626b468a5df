"""Tables of the zoo: networks, runtimes, threads, and what the recipes took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tables.wording import Tables

WAYS = {
    "eager channels-last": "PyTorch",
    "onnxruntime fp32": "ONNX Runtime fp32",
    "onnxruntime int8": "int8",
    "openvino fp32": "OpenVINO fp32",
    "openvino bf16": "bf16",
    "openvino int8": "int8",
}
IN_LEAFSCOUT = {
    "mobilenetv2_100": "`mobile`: scout and expert; `full`: scout",
    "tf_efficientnetv2_s": "`full`: expert",
}


def describe_machine(result: dict[str, Any]) -> str:
    """Where the figures come from, as sentences."""
    commits = sorted({one["commit"] for one in result["networks"].values()})
    dates = sorted({one["date"] for one in result["networks"].values()})
    versions = ", ".join(
        f"{name} {result['versions'][name]}"
        for name in ("torch", "timm", "onnxruntime", "openvino")
    )
    return (
        f"`{result['command']}`; {', '.join(dates)}, commit {', '.join(commits)}; "
        f"{result['machine']}; {versions}."
    )


def zoo_table(result: dict[str, Any]) -> list[str]:
    """Milliseconds of a tile and of a glance, network by network."""
    lines = [
        (
            "| network | parameters | multiply-adds, tile | "
            + " | ".join(WAYS.values())
            + " | best, glance |"
        ),
        "|---|---|---|" + "---|" * len(WAYS) + "---|",
    ]
    for name, one in sorted(
        result["networks"].items(), key=lambda item: best_ms(item[1], "tile")[1]
    ):
        times = [f"{one['ms']['tile'][way]['median']:.1f}" for way in WAYS]
        way, glance_ms = best_ms(one, "glance")
        lines.append(
            f"| {name} | {one['parameters'] / 1e6:.1f} M | {one['macs']['tile'] / 1e9:.2f} G | "
            f"{' | '.join(times)} | {glance_ms:.1f} ({way}) |"
        )
    lines += [
        "",
        (
            "Processor milliseconds of one pass of a 384-px tile, one thread, medians of "
            f"{_rounds(result)} rounds in turns; the last column is a glance of 512×384 in the "
            f"fastest of these ways without bf16. Half of all rounds lie within "
            f"{_typical_spread(result):.0%} of the median for the typical cell and within "
            f"{_worst_spread(result):.0%} for the worst. A reference graph that took its turn "
            f"beside each network needed {_anchor_range(result)} ms: so far the machine drifted. "
            f"Random weights. {describe_machine(result)}"
        ),
    ]
    return lines


def recipes_table(result: dict[str, Any]) -> list[str]:
    """What the recipes took, and what would be faster without counting less."""
    lines = [
        (
            "| network of a recipe | tile, ms | faster, with nearly as many or more "
            "multiply-adds (tile ms, multiply-adds) |"
        ),
        "|---|---|---|",
    ]
    for name, role in IN_LEAFSCOUT.items():
        own = result["networks"][name]
        own_ms = best_ms(own, "tile")[1]
        others = [
            (best_ms(one, "tile")[1], other, one["macs"]["tile"])
            for other, one in result["networks"].items()
            if best_ms(one, "tile")[1] < own_ms
            and one["macs"]["tile"] >= 0.3 * own["macs"]["tile"]
            and one["package"] == "timm"
        ]
        listed = ", ".join(
            f"{other} ({ms:.1f}, {macs / 1e9:.2f} G)" for ms, other, macs in sorted(others)
        )
        lines.append(
            f"| {name}, {own['macs']['tile'] / 1e9:.2f} G ({role}) | {own_ms:.1f} | {listed} |"
        )
    lines += [
        "",
        (
            "Each at its fastest of ONNX Runtime and OpenVINO, fp32 and int8; listed are networks "
            "of timm, which LeafScout takes by name, with at least three tenths of the "
            "multiply-adds."
        ),
    ]
    return lines


def macs_table(result: dict[str, Any]) -> list[str]:
    """How well multiply-adds tell the time."""
    networks = list(result["networks"].values())
    macs = [one["macs"]["tile"] for one in networks]
    lines = [
        (
            "| way | rank correlation of multiply-adds and milliseconds | least and most "
            "multiply-adds a millisecond |"
        ),
        "|---|---|---|",
    ]
    for way in ("eager", *WAYS):
        times = [one["ms"]["tile"][way]["median"] for one in networks]
        rates = sorted(
            (macs_one / ms / 1e6, name)
            for macs_one, ms, name in zip(macs, times, result["networks"], strict=True)
        )
        (low, slow), (high, fast) = rates[0], rates[-1]
        lines.append(
            f"| {way} | {rank_correlation(macs, times):.2f} | {low:.0f} M ({slow}), "
            f"{high:.0f} M ({fast}) |"
        )
    return lines


def compile_table(result: dict[str, Any]) -> list[str]:
    """``torch.compile`` beside the runtimes."""
    lines = [
        "| network, tile | PyTorch | torch.compile | ONNX Runtime fp32 | OpenVINO fp32 |",
        "|---|---|---|---|---|",
    ]
    ways = ("eager channels-last", "compiled", "onnxruntime fp32", "openvino fp32")
    for name, one in result["networks"].items():
        if "compiled" in one["ms"]["tile"]:
            cells = [with_quartiles(one["ms"]["tile"][way]) for way in ways]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "Milliseconds: median, in brackets the middle half of the rounds."]
    return lines


def threads_table(result: dict[str, Any]) -> list[str]:
    """One thread against two."""
    ways = {key: words for key, words in WAYS.items() if key != "openvino bf16"}
    lines = [
        "| network, tile | threads | " + " | ".join(ways.values()) + " | load of the machine |",
        "|---|---|" + "---|" * (len(ways) + 1),
    ]
    for name, two in result["two_threads"].items():
        for threads, one in ((1, result["networks"][name]), (2, two)):
            cells = [f"{one['ms']['tile'][way]['median']:.1f}" for way in ways]
            lines.append(
                f"| {name} | {threads} | {' | '.join(cells)} | {one['load_average'][0]:.1f} |"
            )
    lines += [
        "",
        (
            "Milliseconds: processor time of one thread, wall time of two. The second core had "
            "other work meanwhile, as it would have with one process a core."
        ),
    ]
    return lines


def best_ms(one: dict[str, Any], size: str) -> tuple[str, float]:
    """The fastest exported way that keeps its promised precision, and its milliseconds."""
    ways = {
        way: one["ms"][size][way]["median"]
        for way in one["ms"][size]
        if way.startswith(("onnxruntime", "openvino")) and not way.endswith("bf16")
    }
    way = min(ways, key=lambda name: ways[name])
    return way, ways[way]


def with_quartiles(one: dict[str, float]) -> str:
    """A median with its quartiles."""
    return f"{one['median']:.1f} [{one['low_quartile']:.1f}, {one['high_quartile']:.1f}]"


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's, without ties."""
    ranks = [{value: rank for rank, value in enumerate(sorted(row))} for row in (one, other)]
    count = len(one)
    gaps = sum(
        (ranks[0][first] - ranks[1][second]) ** 2 for first, second in zip(one, other, strict=True)
    )
    return 1 - 6 * gaps / (count * (count**2 - 1))


def _cells(result: dict[str, Any]) -> list[dict[str, float]]:
    return [
        cell
        for one in result["networks"].values()
        for way, cell in one["ms"]["tile"].items()
        if way in WAYS
    ]


def _spreads(result: dict[str, Any]) -> list[float]:
    return sorted(
        max(one["high_quartile"] - one["median"], one["median"] - one["low_quartile"])
        / one["median"]
        for one in _cells(result)
    )


def _typical_spread(result: dict[str, Any]) -> float:
    spreads = _spreads(result)
    return spreads[len(spreads) // 2]


def _worst_spread(result: dict[str, Any]) -> float:
    return _spreads(result)[-1]


def _anchor_range(result: dict[str, Any]) -> str:
    values = [one["anchor_ms"]["median"] for one in result["networks"].values()]
    return f"{min(values):.1f} to {max(values):.1f}"


def _rounds(result: dict[str, Any]) -> str:
    return " or ".join(sorted({str(one["rounds"]) for one in result["networks"].values()}))


TABLES: Tables = {
    "zoo": ("zoo", zoo_table),
    "zoo_recipes": ("zoo", recipes_table),
    "zoo_macs": ("zoo", macs_table),
    "zoo_compile": ("zoo", compile_table),
    "zoo_threads": ("zoo", threads_table),
}
