"""Commands that question a finished run: promise, audit, glances."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from leafscout.cli.options import AsJson, Data, PhotosRoot, Run, Seed, read_sizes
from leafscout.errors import InputError


def promise(
    run: Run,
    data: Data,
    loss: Annotated[
        float,
        typer.Option(help="The largest share of diseased photos that may lose their diagnosis."),
    ] = 0.05,
    confidence: Annotated[
        float, typer.Option(help="How sure that must be, between 0 and 1.")
    ] = 0.95,
    per_label: Annotated[
        bool,
        typer.Option("--per-label", help="Promise it for each disease by itself."),
    ] = False,
    photos: PhotosRoot = None,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Bound how many diseased photos lose their diagnosis because tiles are dropped.

    Takes labelled photos that were used for nothing else, and changes which tiles the model reads
    so that the promise holds. Exits with 1 when nothing can be promised; the model then stays as
    it was.
    """
    from leafscout.inference.promise_run import promise_run

    for option, given, usual in (("--loss", loss, 0.05), ("--confidence", confidence, 0.95)):
        if not 0.0 < given < 1.0:
            raise InputError(
                f"Expected {option} to be between 0 and 1, both excluded, but got {given:g}. "
                f"Give {usual} for {usual:.0%}."
            )
    outcome = promise_run(
        run,
        data,
        loss_frac=loss,
        confidence=confidence,
        per_label=per_label,
        photos_root=photos,
        seed=seed,
    )
    if as_json:
        typer.echo(json.dumps(outcome.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        for line in (*outcome.notes, *outcome.sentences()):
            typer.echo(line)
    if outcome.choice is None:
        raise typer.Exit(1)


def audit(
    run: Run,
    data: Data,
    boxes: Annotated[
        Path | None,
        typer.Option(help="CSV of lesion boxes, instead of the places that the expert finds."),
    ] = None,
    masks: Annotated[Path | None, typer.Option(help="Folder of lesion masks, likewise.")] = None,
    most: Annotated[
        int, typer.Option(min=2, help="Look at this many photos at most; each takes a while.")
    ] = 60,
    photos: PhotosRoot = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take photos that the run was trained on, too.")
    ] = False,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Ask a model what it does not see, and whether it looks at lesions or at something else.

    Shows it smaller and fainter lesions, shifts and covers photos, asks whether background betrays
    the label, and lists labels that look wrong. Writes audit.json, pictures and the report.
    """
    from leafscout.inference.audit_run import audit_run
    from leafscout.reports.run_report import write_run_report

    found = audit_run(
        run,
        data,
        boxes=boxes,
        masks=masks,
        most=most,
        photos_root=photos,
        force=force,
        seed=seed,
    )
    page = write_run_report(run)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
        return
    for note in found.notes:
        typer.echo(note)
    typer.echo(f"Audited on {found.photos} photos, {found.healthy} of them healthy.")
    for sentence in found.blind_zone.sentences():
        typer.echo(f"  {sentence}")
    for finding in found.findings:
        typer.echo(f"{'!' if finding.concern else ' '} {finding.sentence}")
    typer.echo(f"Report: {page}")


def glances(
    run: Run,
    data: Annotated[
        Path, typer.Argument(help="The photos and labels that the run was trained on.")
    ],
    sizes: Annotated[
        str | None,
        typer.Option(
            metavar="PX,PX",
            help="Long sides of the glance to try; by default the run's, half and twice it.",
            show_default=False,
        ),
    ] = None,
    lesion_px: Annotated[
        float, typer.Option(min=1, help="Lesions from this size on must be seen, in photo pixels.")
    ] = 20.0,
    recall: Annotated[float, typer.Option(help="Share of them that must be seen, 0 to 1.")] = 0.8,
    budget: Annotated[
        float, typer.Option(help="Cost at most, as a share of reading every tile.")
    ] = 1.0,
    most: Annotated[int, typer.Option(min=2, help="Look at this many photos at most.")] = 40,
    use: Annotated[
        bool, typer.Option("--use", help="Let the picked scout be the run's from now on.")
    ] = False,
    photos: PhotosRoot = None,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Train a scout for each glance size, and pick the smallest that sees small lesions.

    The expert stays as it is, so this takes a fraction of a training. Writes glances.json.
    """
    from leafscout.inference.glance_sizes import GlanceWishes, compare_glances, default_sizes

    wanted = default_sizes(run) if sizes is None else read_sizes(sizes)
    wishes = GlanceWishes(wanted, lesion_px, recall, budget, most)
    choice = compare_glances(run, data, wishes, photos_root=photos, use=use, seed=seed)
    if as_json:
        typer.echo(json.dumps(choice.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
        return
    for trial in choice.trials:
        blind = (
            "no lesion to show it"
            if not trial.tested
            else "blind at all sizes tested"
            if trial.blind_below_px is None
            else f"blind below {trial.blind_below_px:.0f} px"
            if trial.blind_below_px
            else "saw all sizes tested"
        )
        typer.echo(
            f"  {trial.glance_px} px: {blind} ({trial.tested} lesions); asks for "
            f"{trial.tiles_share:.0%} of the tiles, {trial.macs_share:.0%} of the cost"
        )
    typer.echo(choice.sentence)
    if choice.picked_px is not None and not use:
        typer.echo("Nothing was changed. Add --use to let this scout be the run's.")
