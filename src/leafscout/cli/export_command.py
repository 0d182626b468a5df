"""``leafscout export``: a run's model as ONNX or OpenVINO graphs that need no PyTorch."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from leafscout.cli.options import Run, Threads
from leafscout.cli.screen import show_progress


class ExportTarget(enum.StrEnum):
    """Formats of exported models."""

    ONNX = "onnx"
    OPENVINO = "openvino"


def export(
    run: Run,
    to: Annotated[ExportTarget, typer.Option(help="The format.")] = ExportTarget.ONNX,
    int8: Annotated[
        bool, typer.Option("--int8", help="Round to eight bits: faster, a little less exact.")
    ] = False,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(
            help="Photos, or a folder of them, that set the ranges of int8; the run's training "
            "photos by default. May be repeated.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A new folder; one in RUN/exports by default.", show_default=False),
    ] = None,
    photos: Annotated[
        list[Path] | None,
        typer.Option(
            help="Photos, or a folder of them, to compare with PyTorch on; the run's validation "
            "photos by default. May be repeated.",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Largest change of a probability; 0.0001 by default, with --int8 any.",
            show_default=False,
        ),
    ] = None,
    max_changed: Annotated[
        float | None,
        typer.Option(
            help="Largest share of photos that may get other labels; 0 by default, with --int8 "
            "0.02.",
            show_default=False,
        ),
    ] = None,
    threads: Threads = None,
) -> None:
    """Write a run's model as graphs that need no PyTorch, and compare them with it on photos.

    Nothing is written when the exported model differs by more than is allowed.
    """
    from leafscout.inference.export_run import ExportOptions, export_run

    options = ExportOptions(
        target=to.value,
        int8=int8,
        out=out,
        photos=tuple(photos or ()),
        calibration=tuple(calibration or ()),
        tolerance=tolerance,
        max_changed=max_changed,
        threads=threads,
    )
    with show_progress("comparing") as progress:
        done = export_run(run, options, say=typer.echo, show=progress)
    for line in (*done.parity.sentences(), *done.notes):
        typer.echo(line)
    typer.echo(f"Exported: {done.folder}")
    typer.echo(f"Next: leafscout diagnose {done.folder} PHOTO, or leafscout bench {run}")
