"""leafscout compare: which of several evaluated runs is better, and is the difference real?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from leafscout.cli.options import AsJson, Seed


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run folders, the reference first.", show_default=False),
    ],
    html: Annotated[
        Path | None, typer.Option(help="Write a page with a forest plot to this file.")
    ] = None,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Say which run is better on the same photos, and whether the difference is real.

    All runs must have been evaluated on the same photos with `leafscout evaluate`.
    """
    from leafscout.inference.compare_runs import compare_runs
    from leafscout.reports.comparison_page import write_comparison_page

    found = compare_runs(runs, seed=seed).to_dict()
    if html is not None:
        write_comparison_page(html, found)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))
        return
    _print_comparison(found)
    if html is not None:
        typer.echo(f"Page: {html}")


def _print_comparison(found: dict[str, Any]) -> None:
    from leafscout.reports.comparison_page import describe_row

    console = Console()
    for other in found["others"]:
        table = Table(
            title=f"{_plain(other['name'])} against {_plain(found['reference'])}, "
            f"{found['photos']} photos",
            title_justify="left",
        )
        table.add_column("figure", overflow="fold")
        for heading in ("photos", "reference", "run", "difference (95%)", "p"):
            table.add_column(heading, justify="right")
        table.add_column("verdict")
        for figure in other["figures"]:
            row = describe_row(figure)
            table.add_row(
                _plain(row["figure"]), row["photos"], row["reference"], row["model"],
                row["difference"], row["p"], row["verdict"],
            )  # fmt: skip
        console.print(table)
        for sentence in other["sentences"]:
            console.print(sentence, markup=False, highlight=False, soft_wrap=True)
        console.print()
    for note in found["notes"]:
        console.print(note, markup=False, highlight=False, soft_wrap=True, style="dim")


def _plain(text: str) -> str:
    # A label is the user's text: square brackets in it are no markup.
    return text.replace("[", r"\[")
