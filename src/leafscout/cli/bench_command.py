"""``leafscout bench``: how long each step of a diagnosis takes, in each runtime."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from leafscout.cli.diagnose_command import find_photos
from leafscout.cli.options import AsJson, RunOrExported, Runtime, Threads
from leafscout.cli.screen import show_progress

if TYPE_CHECKING:
    from leafscout.inference.stage_times import BenchResult, Spread

PIPED_COLUMNS = 132


def bench(
    run: RunOrExported,
    photos: Annotated[
        list[str] | None,
        typer.Argument(
            help="Photos, folders of photos, or patterns; the run's validation photos by default.",
            show_default=False,
        ),
    ] = None,
    runtime: Runtime = None,
    threads: Threads = None,
    repeats: Annotated[int, typer.Option(min=1, help="Passes over the photos.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Time each step of a diagnosis: of a run's model, and of its exported ones."""
    from leafscout.inference.run_photos import find_run_photos
    from leafscout.inference.stage_times import bench_model, find_models

    models = find_models(run, runtime)
    paths = find_photos(photos) if photos else find_run_photos(run, "val", option="PHOTO")
    with show_progress("timing") as progress:
        results = [
            bench_model(model, paths, repeats=repeats, threads=threads, show=progress)
            for model in models
        ]
    if as_json:
        values = {
            "photos": len(paths),
            "repeats": repeats,
            "threads": threads,
            "models": [result.to_dict() for result in results],
        }
        typer.echo(json.dumps(values, indent=2))
    else:
        print_times(results, photos=len(paths), repeats=repeats)


def print_times(results: Iterable[BenchResult], *, photos: int, repeats: int) -> None:
    """Print the times of several models beside each other."""
    from rich.console import Console
    from rich.table import Table

    shown = list(results)
    table = Table(
        title=f"Milliseconds a photo, median of {photos} photos × {repeats}; the middle 80% in "
        "brackets",
        title_justify="left",
    )
    table.add_column("step")
    for result in shown:
        table.add_column(result.name, justify="right")
    for stage in dict.fromkeys(stage for result in shown for stage in result.stages):
        table.add_row(stage, *(_cell(result.stages.get(stage)) for result in shown))
    table.add_section()
    for group, words in (
        ("all", "whole photo"),
        ("tiles read", "… with tiles read"),
        ("early exit", "… with early exit"),
    ):
        table.add_row(words, *(_cell(result.groups.get(group)) for result in shown))
    table.add_row("processor time", *(_cell(result.processor) for result in shown))
    table.add_row("tiles read a photo", *(f"{result.tiles_read:.1f}" for result in shown))
    table.add_row("loading, once", *(_milliseconds(1e3 * result.load_s) for result in shown))
    # A pipe has no width of its own; a file of 80 columns would break every cell.
    Console(width=None if sys.stdout.isatty() else PIPED_COLUMNS).print(table)


def _cell(spread: Spread | None) -> str:
    if spread is None:
        return "–"
    low, high = _milliseconds(spread.low_ms), _milliseconds(spread.high_ms)
    return f"{_milliseconds(spread.median_ms)} \\[{low}, {high}]"


def _milliseconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"
