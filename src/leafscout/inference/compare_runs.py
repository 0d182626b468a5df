"""Compare evaluated runs on the photos they share: which is better, and is the difference real."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.evaluation.differences import (
    BETTER,
    FAMILIES,
    OPEN,
    SAME,
    WORSE,
    FigureDifference,
    compare_answers,
)
from leafscout.evaluation.json_values import JsonValue
from leafscout.inference.answer_table import (
    check_same_photos,
    read_answers,
    read_groups,
    read_notes,
)

FIGURE_WORDS = {
    "macro_ap": "macro-AP",
    "macro_f1": "macro-F1",
    "ap": "AP",
    "f1": "F1",
    "macs_share": "share of all multiply-adds",
    "tiles_read": "tiles read a photo",
}
"""Figures as they are named to people."""


@dataclass(frozen=True)
class RunAgainstReference(JsonValue):
    """One run against the reference.

    Attributes:
        name: of the run.
        figures: averages, labels, costs.
        sentences: what they say, in words, the verdict first.
    """

    name: str
    figures: tuple[FigureDifference, ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class RunComparison(JsonValue):
    """Runs compared on the same photos.

    Attributes:
        reference: name of the run that the others are compared with.
        photos: how many they share.
        grouped: whether photos of one group were drawn together.
        labels: the diseases.
        others: the other runs.
        notes: how it was compared.
    """

    reference: str
    photos: int
    grouped: bool
    labels: tuple[str, ...]
    others: tuple[RunAgainstReference, ...]
    notes: tuple[str, ...]


def compare_runs(runs: Sequence[Path], *, seed: int = 0, resamples: int = 2000) -> RunComparison:
    """Compare runs that were evaluated on the same photos; the first is the reference.

    Args:
        runs: two run folders or more.
        seed: of the bootstrap.
        resamples: of the bootstrap, at least.

    Returns:
        The differences, other - reference, with intervals and words.

    Raises:
        InputError: fewer than two runs, one that was not evaluated or whose table is damaged, or
            runs that were evaluated on other photos, labels or truth.
    """
    if len(runs) < 2:
        raise InputError(
            f"Expected at least two runs to compare, but got {len(runs)}. Name the reference "
            "first, then the others."
        )
    tables = [read_answers(run) for run in runs]
    reference, *others = tables
    for table in others:
        check_same_photos(reference, table)
    names = _name_runs(runs)
    groups = read_groups(reference)
    found = compare_answers(
        reference.truth, reference.labels, reference.answers, [one.answers for one in others],
        groups=groups, seed=seed, resamples=resamples,
    )  # fmt: skip
    return RunComparison(
        reference=names[0],
        photos=len(reference.images),
        grouped=groups is not None,
        labels=reference.labels,
        others=tuple(
            RunAgainstReference(name, figures, _say(name, names[0], figures, len(reference.images)))
            for name, figures in zip(names[1:], found, strict=True)
        ),
        notes=(
            *(
                f"{name}: {note}"
                for name, run in zip(names, runs, strict=True)
                for note in read_notes(run)
            ),
            *_note(found, groups),
        ),
    )


def _name_runs(runs: Sequence[Path]) -> list[str]:
    """The folders' own names, or whole paths where two share one."""
    short = [run.resolve().name for run in runs]
    long = [str(run) for run in runs]
    names = [b if short.count(a) > 1 else a for a, b in zip(short, long, strict=True)]
    return [
        f"{name} ({index + 1})" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    ]


def _say(
    name: str, reference: str, figures: tuple[FigureDifference, ...], photos: int
) -> tuple[str, ...]:
    averages = [one for one in figures if FAMILIES[one.figure] == "average"]
    verdicts = {one.verdict for one in averages}
    if verdicts == {SAME}:
        head = f"{name} and {reference} are equally good: their averages never differ."
    elif BETTER in verdicts and WORSE in verdicts:
        head = f"{name} is better than {reference} in one average and worse in the other."
    elif BETTER in verdicts:
        head = f"{name} is better than {reference}."
    elif WORSE in verdicts:
        head = f"{name} is worse than {reference}."
    else:
        head = f"No difference can be shown between {name} and {reference} on {photos} photos."
    told = [describe_figure(one) for one in averages]
    told += [
        describe_figure(one)
        for one in figures
        if FAMILIES[one.figure] == "label" and one.verdict in (BETTER, WORSE)
    ]
    told += [describe_figure(one) for one in figures if FAMILIES[one.figure] == "cost"]
    return (head, *told)


def describe_figure(one: FigureDifference) -> str:
    """A sentence about one figure, such as ``macro-AP: better, +0.030 (+0.010 to +0.050).``."""
    words = FIGURE_WORDS[one.figure]
    title = f"{words} of {one.label}" if one.label else words
    change = format_change(one)
    gap = one.difference
    if one.verdict == SAME:
        return f"{title}: the same on every draw of photos."
    if one.verdict != OPEN:
        if FAMILIES[one.figure] == "cost":
            verdict = "less" if one.verdict == BETTER else "more"
            return f"{title}: {verdict}, {change}."
        return f"{title}: {one.verdict}, {change}."
    text = f"{title}: no difference can be shown, {change}"
    if gap.low > 0 or gap.high < 0:
        text += "; the interval leaves out 0, but not once several comparisons are allowed for"
    return f"{text}."


def format_change(one: FigureDifference) -> str:
    """The difference with its interval, such as ``+0.030 (+0.010 to +0.050)``."""
    gap = one.difference
    if not np.isfinite([gap.value, gap.low, gap.high]).all():
        return "–"
    digits = 2 if one.figure == "tiles_read" else 3
    return f"{gap.value:+.{digits}f} ({gap.low:+.{digits}f} to {gap.high:+.{digits}f})"


def _note(
    found: list[tuple[FigureDifference, ...]], groups: NDArray[np.int64] | None
) -> tuple[str, ...]:
    tested = {
        family: sum(
            not math.isnan(one.p) for row in found for one in row if FAMILIES[one.figure] == family
        )
        for family in ("average", "label", "cost")
    }
    units = "photos" if groups is None else "groups of photos"
    counts = (
        f"{tested['average']} of averages, {tested['label']} of single labels and "
        f"{tested['cost']} of costs"
    )
    return (
        f"Differences are run - reference, with 95% intervals of a paired bootstrap over {units}.",
        f"Verdicts allow for several comparisons (Holm): {counts}. The intervals do not.",
        "Only the photos vary here: training again with another seed would differ as well.",
    )
