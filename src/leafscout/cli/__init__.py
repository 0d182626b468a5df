"""The command line, where each command imports what it needs when it runs: help comes at once."""

from __future__ import annotations

from typing import Annotated

import typer

import leafscout
from leafscout.cli import (
    audit_commands,
    bench_command,
    compare,
    data_commands,
    demo_command,
    diagnose_command,
    explain_command,
    export_command,
    features_command,
    plan,
    run_commands,
)
from leafscout.cli.failures import PatientGroup

app = typer.Typer(
    name="leafscout",
    cls=PatientGroup,
    help="Plant disease in field photos: glance at the whole photo, focus on the few tiles that "
    "matter. Photo-level labels are all it learns from.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"leafscout {leafscout.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Options that stand before a command."""


_LOOK, _LEARN, _USE = "Look at photos", "Learn and measure", "Use a model"
app.command(rich_help_panel=_LEARN)(demo_command.demo)
app.command(rich_help_panel=_LOOK)(data_commands.synth)
app.command(rich_help_panel=_LOOK)(data_commands.check)
app.command(rich_help_panel=_LOOK)(data_commands.split)
app.command(rich_help_panel=_LEARN)(plan.plan)
app.command(rich_help_panel=_LEARN)(run_commands.train)
app.command(rich_help_panel=_LEARN)(run_commands.evaluate)
app.command(rich_help_panel=_LEARN)(compare.compare)
app.command(rich_help_panel=_LEARN)(audit_commands.audit)
app.command(rich_help_panel=_LEARN)(audit_commands.promise)
app.command(rich_help_panel=_LEARN)(audit_commands.glances)
app.command(rich_help_panel=_LEARN)(run_commands.report)
app.command(rich_help_panel=_USE)(diagnose_command.diagnose)
app.command(rich_help_panel=_USE)(explain_command.explain)
app.command(rich_help_panel=_USE)(features_command.features)
app.command(rich_help_panel=_USE)(export_command.export)
app.command(rich_help_panel=_USE)(bench_command.bench)


def main() -> None:
    """Run the command line; exit with 0, 1 (done, with problems), 2 (mistake) or 130 (stopped)."""
    app(prog_name="leafscout")
