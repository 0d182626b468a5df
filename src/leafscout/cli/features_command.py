"""``leafscout features``: what does a model find alike?"""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated

import typer

from leafscout.cli.diagnose_command import find_photos
from leafscout.cli.options import AsJson, Run, Seed, Threads
from leafscout.cli.screen import show_progress


class OwnPhotos(enum.StrEnum):
    """Photos of a run."""

    TRAIN = "train"
    VAL = "val"


def features(
    run: Run,
    photos: Annotated[
        list[str] | None,
        typer.Argument(
            help="Photos, folders or patterns: which of the run's photos are most like these?",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        OwnPhotos, typer.Option(help="Lay out the run's training or its validation photos.")
    ] = OwnPhotos.TRAIN,
    count: Annotated[int, typer.Option(min=1, help="Nearest photos shown of each.")] = 5,
    most: Annotated[int, typer.Option(min=2, help="Look at this many photos at most.")] = 400,
    label_pictures: Annotated[
        bool,
        typer.Option(
            "--label-pictures",
            help="Also make a picture of each label that the networks answer to most; slow.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for page, figures and tables; features in the run folder by default.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Show how a run's photos lie in what its networks have learnt to see.

    Flat views (PCA, t-SNE), the angles of photos to the centre of each label, how alike the
    labels are, the filters of the first layers, and the nearest photos of each. Without --out,
    the run's report shows them, too.
    """
    from leafscout.inference.feature_run import FeatureWishes, study_features
    from leafscout.inference.load import load
    from leafscout.reports.feature_page import write_feature_page
    from leafscout.reports.figures import new_figure
    from leafscout.reports.run_report import write_run_report

    new_figure(1, 1)  # a missing matplotlib is said before the work, not after it
    wishes = FeatureWishes(split.value, count, most, seed, label_pictures)
    asked = find_photos(photos) if photos else []
    model = load(run, threads=threads)
    with show_progress("looking", redirect=not as_json) as show:
        study, pictures = study_features(model, wishes, asked, show=show)
    record = study.to_dict()
    page = write_feature_page(
        out or run / "features", record, [(one.name, one.caption, one.pixels) for one in pictures]
    )
    if out is None:
        write_run_report(run)
    if as_json:
        typer.echo(json.dumps(record, ensure_ascii=False, allow_nan=False))
        return
    for view in study.views:
        typer.echo(view.sentence)
    for note in study.notes:
        typer.echo(note)
    typer.echo(f"Page: {page}")
