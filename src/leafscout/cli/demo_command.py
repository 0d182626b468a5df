"""``leafscout demo``: the whole way on a small rendered field, in minutes, without any data."""

from __future__ import annotations

import time
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

import leafscout
from leafscout.cli.options import Seed, read_settings
from leafscout.cli.screen import print_evaluation, show_progress

TRAIN_PHOTOS = 100
TEST_PHOTOS = 40
EPOCHS = {"expert_epochs": 14, "scout_epochs": 16}
"""So few suffice for so clear lesions; counted, so that a slower machine learns the same."""

TRAIN_TIME_S = 600.0
"""A bound for machines that are busy or old; two free cores need a quarter of it."""


def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="A new folder; demo, demo-2, … by default.", show_default=False),
    ] = None,
    seed: Seed = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any setting of the recipe tiny, to see what it does. May be repeated.",
            show_default=False,
        ),
    ] = None,
    open_report: Annotated[
        bool, typer.Option("--open", help="Open the report in the browser.")
    ] = False,
) -> None:
    """Render a small field, train on it, evaluate, and write a report: about four minutes."""
    from leafscout.inference.evaluate import evaluate_run
    from leafscout.reports.run_report import write_run_report
    from leafscout.training import run as training
    from leafscout.training.recipes import choose_recipe

    started_s = time.monotonic()
    overrides = {**EPOCHS, **read_settings(settings or [])}
    choose_recipe("tiny", overrides)  # a mistake is said before anything is rendered
    folder = leafscout.free_folder(Path("demo")) if out is None else out
    train_photos, test_photos, run = (folder / name for name in ("train", "test", "run"))
    typer.echo(f"1/4  Rendering {TRAIN_PHOTOS} photos to learn from and {TEST_PHOTOS} to test on.")
    _render(train_photos, TRAIN_PHOTOS, seed)
    # Another seed: no test photo shares anything with a training photo.
    _render(test_photos, TEST_PHOTOS, seed + 1_000_003)
    typer.echo("2/4  Training from photo-level labels alone; where lesions lie stays hidden.")
    training.train(
        train_photos,
        run,
        recipe="tiny",
        overrides=overrides,
        # A network this small gains nothing from more threads, and loses much on a busy machine.
        options=training.TrainOptions(time_s=TRAIN_TIME_S, seed=seed, threads=1),
    )
    typer.echo("3/4  Testing on photos never seen; now lesion boxes tell where it should look.")
    boxes = test_photos / "truth" / "boxes.csv"
    figures = evaluate_run(run, test_photos, boxes=boxes, seed=seed).to_dict()
    print_evaluation(figures)
    chance = pointing_chance(test_photos, boxes, seed)
    typer.echo(
        f"A place picked at random in a diseased photo hits a lesion {chance:.1%} of the time."
    )
    typer.echo("4/4  Writing the report.")
    page = write_run_report(run)
    typer.echo(f"Done in {time.monotonic() - started_s:.0f} s. Open {page.resolve()}")
    typer.echo(f"Try: leafscout diagnose {run} {test_photos / 'photos'} --html answers.html")
    if open_report:
        webbrowser.open(page.resolve().as_uri())


def pointing_chance(photos: Path, boxes: Path, seed: int, *, points: int = 400) -> float:
    """How often a place picked at random lies on a lesion, as the evaluation counts hits.

    Args:
        photos: folder of the photos, with labels.
        boxes: CSV of lesion boxes.
        seed: of the random places.
        points: random places a photo.

    Returns:
        Mean share over the photos with lesions, 0..1.
    """
    import numpy as np

    from leafscout.evaluation.localisation import pointing_hit
    from leafscout.inference.evaluate import POINTING_TOLERANCE_PX
    from leafscout.inference.lesion_truth import read_lesion_truth
    from leafscout.photos.decode import read_photo_size
    from leafscout.photos.labels import read_labels

    truth = read_lesion_truth(boxes, None)
    table = read_labels(photos)
    generator = np.random.default_rng(seed)
    shares = []
    for path, name in zip(table.paths, table.names, strict=True):
        lesions = truth.lesions(name)
        if lesions is None or not len(lesions):
            continue
        height, width = read_photo_size(path)
        places = generator.random((points, 2)) * (width, height)
        hits = [
            pointing_hit((float(x), float(y)), lesions, POINTING_TOLERANCE_PX) for x, y in places
        ]
        shares.append(float(np.mean(hits)))
    return float(np.mean(shares))


def _render(out: Path, photos: int, seed: int) -> None:
    from leafscout.photos.synthetic import DEMO_FIELD, render_field

    with show_progress("rendering") as progress:
        render_field(out, photos=photos, settings=DEMO_FIELD, seed=seed, progress=progress)
