"""The tables of the fault tests: what was done to LeafScout, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tables.wording import Tables

Tests = dict[str, dict[str, Any]]


def faults_table(result: dict[str, Any]) -> list[str]:
    """What was planted, what was found, and the worst that happened."""
    lines = ["| what was done | what came of it | date, commit |", "|---|---|---|"]
    for name, words in _describe(result["tests"]):
        one = result["tests"][name]
        lines.append(f"| {words[0]} | {words[1]} | {one['date']}, {one['commit']} |")
    return [*lines, "", f"`{result['command']}`; {result['machine']}."]


def removal_table(result: dict[str, Any]) -> list[str]:
    """Which protection was taken away, and how the test noticed."""
    lines = ["| test | taken away | what then happened |", "|---|---|---|"]
    lines += [
        f"| {name} | {one['without']} | {one['noticed'].replace('|', '/')} |"
        for name, one in result["tests"].items()
        if "without" in one
    ]
    return lines


def _describe(tests: Tests) -> Iterator[tuple[str, tuple[str, str]]]:
    for name, words in _WORDS.items():
        if name in tests:
            yield name, words(tests[name])


def _outcomes(one: dict[str, Any]) -> str:
    return ", ".join(f"{count:,} {code}" for code, count in one["outcomes"].items())


def _damaged(one: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{one['files']:,} damaged photos of 16 kinds, on the way of a diagnosis",
        (
            f"{one['deaths']} processes died, {one['wrong']} files broke a limit or lacked a code; "
            f"{_outcomes(one)}; at most {one['most_cpu_s']:.1f} s of processor time and "
            f"{one['peak_mb']:.0f} MB in all"
        ),
    )


def _bombs(one: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{one['files']} bombs of a gigapixel, a gigabyte or more",
        (
            f"{one['files'] - one['wrong']} refused within the limits; at most "
            f"{1000 * one['most_cpu_s']:.0f} ms of processor time "
            f"({1000 * one['most_wall_s']:.0f} ms on the clock of a busy machine) and "
            f"{one['most_growth_mb']:.1f} MB of growth"
        ),
    )


def _cuts(one: dict[str, Any]) -> tuple[str, str]:
    return (
        f"photos of {one['files']} kinds cut at {one['cuts']:,} places in all",
        f"{one['cuts'] - one['wrong']:,} called truncated, {one['wrong']} not",
    )


def _labels(one: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{one['planted']} faults planted in label files, one at a time",
        f"{one['found']} named by `check` with their row",
    )


def _copies(one: dict[str, Any]) -> tuple[str, str]:
    return (
        (
            f"{one['copies']} copies across splits among {one['photos']} photos: the same file, "
            "resized, recompressed, flipped, rotated"
        ),
        (
            f"{one['exact_found']:.1%} of the same files and {one['near_found']:.1%} of the others "
            f"found; {one['false_alarm_share']:.2%} of different photos taken for copies"
        ),
    )


def _real_copies(one: dict[str, Any]) -> tuple[str, str]:
    done, came = _copies(one)
    return done.replace("photos:", "real photos of leaves on one background:"), came


def _names(one: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{one['labels']} naughty names as labels: training, evaluation, report, diagnosis",
        (
            f"{one['wrong']} places in {one['pages']} pages, {one['tables']} tables and all output "
            f"where a name was more than a name; {one['not_in_report']} names missing from the "
            "report"
        ),
    )


def _bytes(one: dict[str, Any]) -> tuple[str, str]:
    return (
        f"every one of {one['bytes']:,} bytes of a small model flipped in turn, twice",
        f"{one['flips'] - one['missed']:,} of {one['flips']:,} flips noticed",
    )


def _watched(one: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{one['models']} models loaded under an audit hook, one of them of pickles",
        (
            f"{one['files_outside']} files opened outside model, photo and Python's libraries, "
            f"{one['programs_started']} programs started; code of a pickle ran: "
            f"{'yes' if one['code_ran'] else 'no'}"
        ),
    )


_WORDS: dict[str, Callable[[dict[str, Any]], tuple[str, str]]] = {
    "damaged photos": _damaged,
    "bombs": _bombs,
    "photos cut short": _cuts,
    "faults in label files": _labels,
    "copies across splits": _copies,
    "copies of real photos": _real_copies,
    "naughty names": _names,
    "flipped bytes of a model": _bytes,
    "loading, watched": _watched,
}

TABLES: Tables = {
    "faults": ("reliability", faults_table),
    "protections_removed": ("reliability", removal_table),
}
