"""Tables of speed and memory: from a file on disk to a diagnosis."""

from __future__ import annotations

from typing import Any

from tables.wording import Tables

TUNED, DEAR = "a tuned", "a"
TARGETS: tuple[tuple[str, str, str, float], ...] = (
    ("e", "a", "a healthy photo, against all tiles in eager PyTorch", 500),
    ("d", "a", "five tiles of the large expert, against the same", 40),
    ("d small", "a", "five tiles of a small expert, against the same", 150),
    ("e", "a tuned", "a healthy photo, against all tiles tuned", 150),
    ("d", "a tuned", "five tiles of the large expert, against the same", 11),
    ("e", "b tuned", "a healthy photo, against the resized photo tuned", 6),
    ("d small", "b tuned", "five tiles of a small expert, against the same", 1),
)
"""Group, baseline, words, and how many times faster it was to be."""


def describe_machine(result: dict[str, Any]) -> str:
    """Where the figures come from, as sentences."""
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return (
        f"`{result['command']}`; commit {result['commit']}; {result['machine']}, load "
        f"{result['load_average'][0]} when it ended; {versions}."
    )


def chains_table(result: dict[str, Any]) -> list[str]:
    """Every way from a file to an answer."""
    lines = [
        "| way | processor ms [middle half] | peak memory, MB | ready after, s | PyTorch |",
        "|---|---|---|---|---|",
    ]
    for name, one in result["variants"].items():
        cpu = one["cpu_ms"]
        lines.append(
            f"| {name} | {cpu['median']:,.0f} [{cpu['low_quartile']:,.0f}, "
            f"{cpu['high_quartile']:,.0f}] | {one['peak_mb']:,.0f} | {one['setup_s']:.1f} | "
            f"{'yes' if one['torch_imported'] else 'no'} |"
        )
    setting, sizes = result["setting"], [size / 1e6 for size in result["photos"].values()]
    lines += [
        "",
        (
            f"{len(sizes)} rendered photos of {setting['photo_px_hw'][1]}×"
            f"{setting['photo_px_hw'][0]} px, files of {min(sizes):.1f} to {max(sizes):.1f} MB; "
            f"one thread, {result['rounds']} rounds in turns, each way in a process of its own. "
            f"Scout {setting['scout']}, glance {setting['glance_px']} px; expert "
            f"{setting['expert']}, small {setting['small_expert']}"
            f"{_smallest(setting)}; tiles of {setting['tile_px']} px. Random weights. "
            f"{describe_machine(result)}"
        ),
    ]
    return lines


def _smallest(setting: dict[str, Any]) -> str:
    return f", smallest {setting['least_expert']}" if "least_expert" in setting else ""


def targets_table(result: dict[str, Any]) -> list[str]:
    """What was to be reached, and what was."""
    lines = [
        "| what | to be reached | measured, times faster | by | reached |",
        "|---|---|---|---|---|",
    ]
    variants = result["variants"]
    for group, base, words, wanted in TARGETS:
        name, other = _fastest(variants, group), _fastest(variants, base)
        if name is None or other is None:
            continue
        own, dear = variants[name]["cpu_ms"], variants[other]["cpu_ms"]
        times = dear["median"] / own["median"]
        low, high = (
            dear["low_quartile"] / own["high_quartile"],
            dear["high_quartile"] / own["low_quartile"],
        )
        lines.append(
            f"| {words} | {wanted:g} | {_times(times)} ({_times(low)} to {_times(high)}) | {name} "
            f"| {'yes' if times >= wanted else 'no'} |"
        )
    healthy, dear_name = _least_memory(variants), _fastest(variants, "a")
    if dear_name is not None:
        share = healthy[1] / variants[dear_name]["peak_mb"]
        lines.append(
            f"| peak memory of five tiles exported, share of all tiles in PyTorch | 25% | "
            f"{share:.0%} | {healthy[0]} | {'yes' if share <= 0.25 else 'no'} |"
        )
    lines += ["", "In brackets: the middle halves of both, set against each other at their worst."]
    return lines


def _times(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}"


def _group(name: str) -> str:
    for start, group in (
        ("a tuned", "a tuned"), ("b tuned", "b tuned"), ("d small", "d small"),
    ):  # fmt: skip
        if name.startswith(start):
            return group
    return name[0]


def _fastest(variants: dict[str, Any], group: str) -> str | None:
    names = [name for name in variants if _group(name) == group]
    return min(names, key=lambda name: variants[name]["cpu_ms"]["median"], default=None)


def _least_memory(variants: dict[str, Any]) -> tuple[str, float]:
    rows = [(one["peak_mb"], name) for name, one in variants.items() if _group(name) == "d"]
    peak_mb, name = min(rows)
    return name, peak_mb


def stages_table(result: dict[str, Any]) -> list[str]:
    """Where the time of the exported models goes."""
    names = [name for name in result["variants"] if name.startswith(("d", "e"))]
    stages = list(
        dict.fromkeys(
            stage for name in names for stage in result["variants"][name]["stages_cpu_ms"]
        )
    )
    lines = ["| way | " + " | ".join(stages) + " |", "|---|" + "---|" * len(stages)]
    for name in names:
        times = result["variants"][name]["stages_cpu_ms"]
        cells = [f"{times[stage]:.1f}" if stage in times else "–" for stage in stages]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "Processor milliseconds, medians."]
    return lines


def decode_table(result: dict[str, Any]) -> list[str]:
    """What decoding costs."""
    lines = ["| way | processor ms [middle half] |", "|---|---|"]
    for name, one in result["ways"].items():
        low, high = one["cpu_ms_quartiles"]
        lines.append(f"| {name} | {one['cpu_ms']:.1f} [{low:.1f}, {high:.1f}] |")
    even = result["break_even"]["glance 500"]
    lines += [
        "",
        (
            "Photos of 12 megapixels, one thread. Decoding small first, and in full only when "
            "tiles are read, costs less than one full decode when more than "
            f"{even['wins_from_exit_rate']:.0%} of the photos exit early. "
            f"{describe_machine(result)}"
        ),
    ]
    return lines


def growth_table(result: dict[str, Any]) -> list[str]:
    """How time and memory grow with the photo."""
    lines = [
        (
            "| way | megapixels | file, MB | tiles read of all | processor ms | decoding | "
            "networks | peak memory, MB |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in result["rows"]:
        stages = one["stages_cpu_ms"]
        networks = stages.get("scout", 0.0) + stages.get("expert", 0.0)
        decoding = sum(stages.get(stage, 0.0) for stage in ("open", "decode small", "read tiles"))
        lines.append(
            f"| {one['variant']} | {one['megapixels']:.0f} | {one['file_mb']:.1f} | "
            f"{one['tiles_read']} of {one['tiles_total']} | {one['cpu_ms']['median']:.0f} | "
            f"{decoding:.0f} | {networks:.0f} | {one['peak_mb']:.0f} |"
        )
    lines += ["", f"One thread. {describe_machine(result)}"]
    return lines


def folder_table(result: dict[str, Any]) -> list[str]:
    """A folder of photos on all cores."""
    lines = [
        "| way | photos a minute, least to most of the passes | peak memory, all processes, MB |",
        "|---|---|---|",
    ]
    for name, one in result["ways"].items():
        rates = one["photos_a_minute"]
        scaled = " (scaled up)" if any(row["scaled_up"] for row in one["runs"]) else ""
        lines.append(
            f"| {name} | {min(rates):.1f} to {max(rates):.1f}{scaled} | {one['peak_mb']:,.0f} |"
        )
    lines += [
        "",
        (
            f"{result['photos']} photos, {result['different_photos']} of them different, nine of "
            f"ten healthy; the dear ways answered a few, scaled up. {describe_machine(result)}"
        ),
    ]
    return lines


TABLES: Tables = {
    "speed_chains": ("file_to_diagnosis", chains_table),
    "speed_targets": ("file_to_diagnosis", targets_table),
    "speed_stages": ("file_to_diagnosis", stages_table),
    "speed_decode": ("decode_speed", decode_table),
    "speed_growth": ("growth", growth_table),
    "speed_folder": ("folder_throughput", folder_table),
}
