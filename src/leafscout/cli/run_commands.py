"""Commands that make a run folder and add to it: train, evaluate, report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from leafscout.cli.failures import STOPPED
from leafscout.cli.options import (
    LOOKS,
    RULES,
    AsJson,
    Data,
    Duration,
    HealthyNames,
    MainLabelOnly,
    MaxMegapixels,
    PhotosRoot,
    Run,
    Seed,
    Weights,
    Workers,
    read_settings,
    set_limits,
)
from leafscout.cli.plan import plan_training
from leafscout.cli.screen import print_evaluation

_FROM_RECIPE = "the recipe's by default"


def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="The run folder to write.", show_default=False)],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="tiny, mobile, full or gated, or a network that looks once at the photo made "
            "small, such as efficientnet, eva_stn, arc_psa_swin; mobile by default.",
            show_default=False,
        ),
    ] = None,
    auto: Annotated[
        bool,
        typer.Option(
            "--auto",
            help="Let `leafscout plan` choose what is not given: recipe, sizes, epochs.",
        ),
    ] = False,
    photos: PhotosRoot = None,
    weights: Weights = None,
    time: Duration = None,
    seed: Seed = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped.")
    ] = False,
    keep_epochs: Annotated[
        bool,
        typer.Option(
            "--keep-epochs",
            help="Also keep the weights of every epoch, for `leafscout explain --over-epochs`.",
        ),
    ] = False,
    epochs: Annotated[
        int | None, typer.Option(help=f"Passes over the photos; {_FROM_RECIPE}.")
    ] = None,
    tile_px: Annotated[
        int | None, typer.Option(help=f"Side of a tile in pixels; {_FROM_RECIPE}.")
    ] = None,
    glance_px: Annotated[
        int | None, typer.Option(help=f"Long side of the glance in pixels; {_FROM_RECIPE}.")
    ] = None,
    pooling: Annotated[
        str | None, typer.Option(help=f"Tile evidence to photo evidence; {_FROM_RECIPE}.")
    ] = None,
    expert_shrink: Annotated[
        int | None,
        typer.Option(
            help=f"Pixels of a tile averaged to one before the expert: 1, 2 or 4; {_FROM_RECIPE}."
        ),
    ] = None,
    expert: Annotated[
        str | None, typer.Option(help=f"Backbone of the expert; {_FROM_RECIPE}.")
    ] = None,
    scout: Annotated[
        str | None, typer.Option(help=f"Backbone of the scout; {_FROM_RECIPE}.")
    ] = None,
    stages: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="expert,scout and perhaps more, in order: joint fine-tunes both, alternate lets "
            f"them take turns; {_FROM_RECIPE}.",
        ),
    ] = None,
    exclusive: Annotated[
        bool | None,
        typer.Option(
            "--exclusive/--independent",
            help=f"A photo shows at most one disease, or any number; {_FROM_RECIPE}.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any other setting of the recipe, such as tiles_best=8. May be repeated.",
            show_default=False,
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="A finished run to learn from beside the labels: an expert for a smaller one, a "
            "recogniser for another one, of any size.",
            show_default=False,
        ),
    ] = None,
    teacher_kind: Annotated[
        str,
        typer.Option(help="expert, or photo for the run's network on the resized photo."),
    ] = "expert",
    distil: Annotated[
        str | None,
        typer.Option(
            metavar="MODE",
            help="offline (from --teacher), mutual (two experts from each other) or self (from an "
            "expert of the same kind, trained just before).",
            show_default=False,
        ),
    ] = None,
    soft_labels: Annotated[
        str | None,
        typer.Option(
            metavar="LEVELS",
            help="Whose evidence is learnt: photo, tile, place, or several with +; tile by "
            "default.",
            show_default=False,
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="Above 1 the teacher's labels are softer; 2 by default."),
    ] = None,
    soft_weight: Annotated[
        float | None,
        typer.Option(help="Weight of the teacher against the labels, 0 to 1; 0.7 by default."),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(help="Also learn the teacher's features: cosine or mse; none by default."),
    ] = None,
    attention_transfer: Annotated[
        float | None,
        typer.Option(
            metavar="WEIGHT", help="Also learn where the teacher looks; 0 by default, try 10."
        ),
    ] = None,
    unlabelled: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Photos without labels, learnt from by the teacher's word alone.",
            show_default=False,
        ),
    ] = None,
    healthy: HealthyNames = None,
    main_label_only: MainLabelOnly = False,
    workers: Workers = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads of PyTorch; all cores by default."),
    ] = None,
    max_megapixels: MaxMegapixels = None,
) -> None:
    """Learn from photos with photo-level labels; writes a run folder."""
    from leafscout.photos.labels import DEFAULT_HEALTHY_NAMES
    from leafscout.reports.run_report import write_run_report
    from leafscout.training import run as training

    set_limits(max_megapixels)
    options = training.TrainOptions(
        weights=weights,
        time_s=time,
        seed=seed,
        resume=resume,
        healthy_names=healthy or DEFAULT_HEALTHY_NAMES,
        complete=not main_label_only,
        photos_root=photos,
        workers=workers,
        threads=threads,
        teacher=teacher,
        teacher_kind=teacher_kind,
        unlabelled=unlabelled,
        keep_epochs=keep_epochs,
    )
    overrides = {
        "epochs": epochs,
        "tile_px": tile_px,
        "glance_px": glance_px,
        "pooling": pooling,
        "expert_shrink": expert_shrink,
        "expert": expert,
        "scout": scout,
        "stages": stages,
        "exclusive": exclusive,
        "distil_mode": distil,
        "distil_levels": soft_labels,
        "distil_temperature": temperature,
        "distil_soft_weight": soft_weight,
        "distil_features": features,
        "distil_attention_weight": attention_transfer,
        **read_settings(settings or []),
    }
    try:
        if auto:
            recipe, overrides, options = plan_training(data, out, recipe, overrides, options)
        training.train(data, out, recipe=recipe or "mobile", overrides=overrides, options=options)
    except KeyboardInterrupt as error:
        kept = (out / "plan.json").is_file()
        typer.echo(
            f"Stopped. What was learnt is saved in {out}: give the same command again with "
            "--resume to go on."
            if kept
            else "Stopped before anything was written.",
            err=True,
        )
        raise typer.Exit(STOPPED) from error
    typer.echo(f"Report: {write_run_report(out)}")
    typer.echo(f"Next: leafscout diagnose {out} PHOTO, or leafscout evaluate {out} OTHER_PHOTOS")


def evaluate(
    run: Run,
    data: Data,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines",
            help="Also read every tile, and train a network on the resized photo, to compare.",
        ),
    ] = False,
    boxes: Annotated[
        Path | None,
        typer.Option(help="CSV of lesion boxes, to score where the model looks."),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of lesion masks, to score where the model looks."),
    ] = None,
    baseline_px: Annotated[
        int, typer.Option(min=64, help="Long side of the photo for the resized-photo baseline.")
    ] = 512,
    thresholds: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE",
            help=f"Also measure with thresholds by this rule: {RULES}. May be repeated.",
            show_default=False,
        ),
    ] = None,
    looks: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help=f"Also look at each photo several times: {LOOKS}. May be repeated.",
            show_default=False,
        ),
    ] = None,
    weights: Weights = None,
    photos: PhotosRoot = None,
    force: Annotated[
        bool, typer.Option("--force", help="Evaluate even on photos that were trained on.")
    ] = False,
    max_megapixels: MaxMegapixels = None,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Measure a run on labelled photos that it was not trained on."""
    from leafscout.inference.evaluate import evaluate_run
    from leafscout.reports.run_report import write_run_report

    set_limits(max_megapixels)
    summary = evaluate_run(
        run,
        data,
        baselines=baselines,
        boxes=boxes,
        masks=masks,
        force=force,
        seed=seed,
        baseline_px=baseline_px,
        weights=weights,
        photos_root=photos,
        thresholds=thresholds or (),
        looks=looks or (),
    )
    page = write_run_report(run)
    if as_json:
        typer.echo(json.dumps(summary.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print_evaluation(summary.to_dict())
        typer.echo(f"Report: {page}")


def report(run: Run) -> None:
    """Write a run's report.html again."""
    from leafscout.reports.run_report import write_run_report

    typer.echo(f"Report: {write_run_report(run)}")
