"""leafscout plan: what a training would do, why, and how long it would take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from leafscout.cli.options import AsJson, Data, Duration, HealthyNames, MainLabelOnly, PhotosRoot

if TYPE_CHECKING:
    from leafscout.training.plan_values import TrainingPlan
    from leafscout.training.run import TrainOptions


def plan(
    data: Data,
    recipe: Annotated[
        str | None,
        typer.Option(help="tiny, mobile or full; chosen by default.", show_default=False),
    ] = None,
    time: Duration = None,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate/--no-estimate",
            help="Measure a few steps to say how long it takes; needs PyTorch.",
        ),
    ] = True,
    photos: PhotosRoot = None,
    healthy: HealthyNames = None,
    main_label_only: MainLabelOnly = False,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads of PyTorch; all cores by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Choose recipe, sizes and epochs for these photos, and say why and how long it takes."""
    from leafscout.photos.labels import DEFAULT_HEALTHY_NAMES
    from leafscout.training.plan import make_plan
    from leafscout.training.plan_values import PlanWishes

    made = make_plan(
        data,
        PlanWishes(
            recipe=recipe,
            time_s=time,
            threads=threads,
            healthy_names=healthy or DEFAULT_HEALTHY_NAMES,
            complete=not main_label_only,
            photos_root=photos,
            measure=estimate,
        ),
    )
    if as_json:
        typer.echo(json.dumps(made.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
        return
    print_plan(made, Console())
    command = f"leafscout train {data} --auto --out RUN"
    Console().print(f"Next: {command}", markup=False, highlight=False, soft_wrap=True)


def plan_training(
    data: Path,
    out: Path,
    recipe: str | None,
    overrides: Mapping[str, Any],
    options: TrainOptions,
) -> tuple[str, dict[str, Any], TrainOptions]:
    """Let a plan choose what was not given for a training, and show it on standard error.

    A run that goes on keeps the recipe it was begun with: measured again, the plan could differ.

    Returns:
        Recipe, overrides and options; a time bound is less what the planning took.
    """
    from leafscout.training.plan import make_plan
    from leafscout.training.plan_values import PlanWishes
    from leafscout.training.recipes import choice_from_dict
    from leafscout.training.run_folder import read_plan

    if options.resume and (out / "plan.json").is_file():
        return *choice_from_dict(read_plan(out)["recipe"]), options
    began_s = monotonic()
    made = make_plan(
        data,
        PlanWishes(
            recipe=recipe,
            overrides=overrides,
            time_s=options.time_s,
            threads=options.threads,
            healthy_names=options.healthy_names,
            complete=options.complete,
            photos_root=options.photos_root,
        ),
    )
    print_plan(made, Console(stderr=True))
    if options.time_s is not None:
        left_s = max(1.0, options.time_s - (monotonic() - began_s))
        options = replace(options, time_s=left_s)
    return made.recipe, made.overrides, options


def print_plan(made: TrainingPlan, console: Console) -> None:
    """Print a plan: the data, every choice with its reason, the time, and notes."""

    def say(text: str, style: str = "") -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True, style=style)

    data, machine = made.data, made.machine
    say(made.interpretation)
    smallest, largest = (
        pick(data.sizes_px_hw, key=lambda size: size[0] * size[1]) for pick in (min, max)
    )
    sizes = f"{data.median_px_hw[1]}×{data.median_px_hw[0]} px"
    if smallest != largest:
        sizes += f" (from {smallest[1]}×{smallest[0]} to {largest[1]}×{largest[0]})"
    say(
        f"Photos of {sizes}: {data.train} to learn from, {data.validation} to validate"
        f"{f', {data.test} set aside for testing' if data.test else ''}."
    )
    memory = f", {machine.memory_bytes / 2**30:.0f} GiB" if machine.memory_bytes else ""
    cores = f"{machine.cores} {'core' if machine.cores == 1 else 'cores'}"
    say(f"Machine: {cores}{memory}, {machine.gpu or 'no GPU'}.")
    table = Table(title="The plan", title_justify="left")
    table.add_column("setting")
    table.add_column("value", justify="right")
    table.add_column("because", overflow="fold")
    for choice in made.choices:
        table.add_row(choice.name, choice.value, choice.reason.replace("[", r"\["))
    console.print(table)
    for line in describe_time(made):
        say(line)
    for note in made.notes:
        say(note, style="yellow")


def describe_time(made: TrainingPlan) -> list[str]:
    """The estimate in words: the total with its range, and its parts."""
    from leafscout.training.plan_times import UNCERTAINTY
    from leafscout.training.plan_values import describe_duration

    if made.estimate is None or made.probed is None:
        return ["Time: not estimated."]
    parts = made.estimate
    total = parts.total_s
    low, high = (describe_duration(value) for value in (total / UNCERTAINTY, total * UNCERTAINTY))
    first = (
        f"Time: about {describe_duration(total)}, from {low} to {high}; less where a stage ends "
        f"early. Measured on {made.probed.photos} photos in "
        f"{describe_duration(made.probed.probe_s)}."
    )
    second = (
        f"  before: {describe_duration(parts.before_s)}; expert: {parts.expert_epochs} × "
        f"{describe_duration(parts.expert_epoch_s)}; evidence: "
        f"{describe_duration(parts.evidence_s)}; scout: {parts.scout_epochs} × "
        f"{describe_duration(parts.scout_epoch_s)}; rules: {describe_duration(parts.after_s)}"
    )
    return [first, second]
