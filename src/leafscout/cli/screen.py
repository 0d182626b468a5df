"""What commands show while they work, and the figures they print."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table


@contextmanager
def show_progress(title: str, *, redirect: bool = True) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, where that is a terminal; call it with photos done and wanted.

    ``redirect`` moves printed lines above the bar, to standard error with it: not for a command
    whose standard output is read by another program.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=redirect,
    ) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def print_evaluation(figures: Mapping[str, Any]) -> None:
    """Print the main figures of ``EvaluationSummary.to_dict()`` as tables."""
    console = Console()
    for note in figures["notes"]:
        console.print(note, markup=False, style="yellow", soft_wrap=True)
    labels = figures["labels"]
    table = Table(
        title=f"{labels['photos']} photos, 95% intervals in brackets", title_justify="left"
    )
    table.add_column("label", overflow="fold")
    for heading in ("photos with it", "average precision", "F1", "precision", "recall"):
        table.add_column(heading, justify="right")
    for row in (*labels["rows"], labels["healthy"]):
        table.add_row(_plain(row["label"]), str(row["positives"]), *_cells(row))
    table.add_section()
    for row in (labels["macro"], labels["macro_with_healthy"]):
        table.add_row(_plain(row["name"]), "", *_cells(row))
    console.print(table)
    for line in _facts(figures):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _facts(figures: Mapping[str, Any]) -> Iterator[str]:
    place = figures["localisation"]
    if place is not None and place["pointing"] is not None:
        pointing = place["pointing"]
        yield (
            f"Pointing game: the strongest place lies on a lesion in {pointing['hits']} of "
            f"{pointing['photos']} diseased photos."
        )
    cost = figures["cost"] or {}
    for group in (cost[name] for name in ("healthy", "diseased") if name in cost):
        # A network that looks once at the whole photo leaves nothing out.
        if group["photos"] and group["tiles_total"] > 1:
            yield (
                f"Cost on {group['photos']} {group['name']} photos: {group['drop_rate']:.1%} of "
                f"the tiles never read, {group['macs_ratio']:.1%} of the multiply-adds of reading "
                "all."
            )
    for name, baseline in figures["baselines"].items():
        for metric, gap in baseline["model_minus_baseline"].items():
            yield f"Against {name}, {metric}: {_number(gap, '+.3f')}"
    for name, other in figures["alternatives"].items():
        for metric, gap in other["alternative_minus_model"].items():
            yield f"With {name} instead, {metric}: {_number(gap, '+.3f')}"


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [_number(row[name], ".3f") for name in ("ap", "f1", "precision", "recall")]


def _number(estimate: Mapping[str, Any], form: str) -> str:
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if value is None or not math.isfinite(value):
        return "–"
    if low is None or high is None:
        return f"{value:{form}}"
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def _plain(text: str) -> str:
    # A label is the user's text: square brackets in it are no markup.
    return text.replace("[", r"\[")
