"""Commands that look at photos and labels and need no model: synth, check, split."""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leafscout.cli.options import (
    AsJson,
    Data,
    HealthyNames,
    MainLabelOnly,
    MaxMegapixels,
    PhotoSize,
    PhotosRoot,
    Seed,
    Workers,
    parse_size,
    read_settings,
    set_limits,
)
from leafscout.cli.screen import show_progress
from leafscout.errors import InputError

if TYPE_CHECKING:
    from leafscout.training.any_recipe import AnyRecipe

_SHEET_PHOTOS = 6


class FieldPreset(enum.StrEnum):
    """Settings of the synthetic field."""

    FIELD = "field"
    DEMO = "demo"


def synth(
    out: Annotated[Path, typer.Argument(help="A new or empty folder.", show_default=False)],
    photos: Annotated[int, typer.Option(help="How many photos.")] = 100,
    size: Annotated[
        PhotoSize | None,
        typer.Option(
            parser=parse_size,
            metavar="WIDTHxHEIGHT",
            help="Size of a photo in pixels; the preset's by default.",
            show_default=False,
        ),
    ] = None,
    preset: Annotated[
        FieldPreset,
        typer.Option(help="field: four diseases, 4000x3000; demo: two clear ones, 1000x750."),
    ] = FieldPreset.FIELD,
    seed: Seed = 0,
    workers: Workers = None,
) -> None:
    """Render a synthetic field: photos with labels, and the lesions' places for scoring."""
    from leafscout.photos.synthetic import DEMO_FIELD, FieldSettings, render_field

    settings = DEMO_FIELD if preset is FieldPreset.DEMO else FieldSettings()
    if size is not None:
        # Lesions that a small photo has no room for are left out.
        largest_px = min(size.height_px, size.width_px) // 4
        fitting = tuple(px for px in settings.lesion_sizes_px if px <= largest_px)
        settings = replace(
            settings,
            size_px_hw=(size.height_px, size.width_px),
            lesion_sizes_px=fitting or settings.lesion_sizes_px[:1],
        )
    with show_progress("rendering") as progress:
        render_field(
            out, photos=photos, settings=settings, seed=seed, workers=workers, progress=progress
        )
    typer.echo(f"Rendered {photos} photos into {out}. Labels: {out / 'labels.csv'}.")


def check(
    data: Data,
    photos: PhotosRoot = None,
    healthy: HealthyNames = None,
    main_label_only: MainLabelOnly = False,
    workers: Workers = None,
    max_megapixels: MaxMegapixels = None,
    augmentations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also draw what augmentation makes of some of the photos, as .jpg or .png.",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --augmentations: draw what a training with this recipe would see.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="With --recipe: any setting of it, such as hue_jitter=0.1. May be repeated.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find unreadable, duplicated and leaking photos and bad labels, before training does.

    Exits with 1 when training would refuse the data.
    """
    from leafscout.photos.check import check_data
    from leafscout.photos.labels import DEFAULT_HEALTHY_NAMES

    set_limits(max_megapixels)
    chosen = _choose_drawn_recipe(augmentations, recipe, settings or [])
    with show_progress("checking") as progress:
        found = check_data(
            data,
            healthy_names=healthy or DEFAULT_HEALTHY_NAMES,
            complete=not main_label_only,
            photos_root=photos,
            workers=workers,
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        for line in found.lines():
            typer.echo(line)
    if augmentations is not None:
        _draw_augmentations(augmentations, data, photos, healthy or DEFAULT_HEALTHY_NAMES, chosen)
    raise typer.Exit(1 if found.refuses_training else 0)


def _choose_drawn_recipe(
    augmentations: Path | None, recipe: str | None, settings: Sequence[str]
) -> AnyRecipe | None:
    """The recipe whose training is to be drawn; None for the changes that tiles usually get.

    Raises:
        InputError: an option without the one it belongs to, or no such recipe or setting.
    """
    if settings and recipe is None:
        raise InputError("--set changes a recipe. Name one with --recipe, or leave --set out.")
    if recipe is None:
        return None
    if augmentations is None:
        raise InputError(
            "--recipe says whose augmentations are drawn. Add --augmentations FILE, or leave "
            "--recipe out."
        )
    from leafscout.training.any_recipe import choose_any_recipe

    return choose_any_recipe(recipe, read_settings(settings))


def _draw_augmentations(
    file: Path,
    data: Path,
    photos_root: Path | None,
    healthy_names: Sequence[str],
    recipe: AnyRecipe | None,
) -> None:
    """A contact sheet of photos from all over the table, those that can be read."""
    from leafscout.errors import PhotoError
    from leafscout.inference.answer import write_picture
    from leafscout.photos.augmentation_sheet import draw_augmentation_sheet
    from leafscout.photos.decode import decode_photo
    from leafscout.photos.labels import parse_labels

    table, _ = parse_labels(data, healthy_names=healthy_names, photos_root=photos_root)
    if table is None:
        raise InputError(f"{data} names no photo whose augmentations could be drawn.")
    shown = []
    for path in table.paths[:: max(1, len(table) // _SHEET_PHOTOS)]:
        try:
            shown.append(decode_photo(path))
        except PhotoError:
            continue
        if len(shown) == _SHEET_PHOTOS:
            break
    if not shown:
        raise InputError(f"None of the photos that {data} names can be read.")
    if recipe is None:
        sheet = draw_augmentation_sheet([photo.pixels for photo in shown])
    else:
        from leafscout.training.recipe_sheet import draw_recipe_sheet

        sheet = draw_recipe_sheet(shown, recipe)
    write_picture(file, sheet)
    typer.echo(f"Augmentations of {len(shown)} photos: {file}", err=True)


def split(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the CSV files.", show_default=False)],
    val_frac: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of the photos for validation.")
    ] = 0.2,
    test_frac: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of the photos for testing.")
    ] = 0.0,
    seed: Seed = 0,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Order of the 0/1 columns, with commas: all labels and healthy.",
            show_default=False,
        ),
    ] = None,
    photos: PhotosRoot = None,
    healthy: HealthyNames = None,
    main_label_only: MainLabelOnly = False,
    workers: Workers = None,
) -> None:
    """Split photos into train.csv, val.csv and test.csv.

    Near-duplicates, and photos of one group, stay on one side.
    """
    from leafscout.photos.fingerprint import fingerprint_many, near_duplicate_groups
    from leafscout.photos.labels import (
        DEFAULT_HEALTHY_NAMES,
        read_labels,
        write_multi_hot,
    )
    from leafscout.photos.splits import merge_groups, split_photos

    for name in ("train", "val", "test"):
        # They might be the very labels that were given.
        if (out / f"{name}.csv").exists():
            raise InputError(
                f"{out / name}.csv is there already. Choose another folder with --out, or move "
                "it away."
            )
    table = read_labels(
        data,
        healthy_names=healthy or DEFAULT_HEALTHY_NAMES,
        complete=not main_label_only,
        photos_root=photos,
    )
    typer.echo(table.describe())
    with show_progress("comparing") as progress:
        prints = fingerprint_many(table.paths, workers=workers, progress=progress)
    groups = merge_groups(table.groups, near_duplicate_groups(prints))
    splits = split_photos(table, groups=groups, val_frac=val_frac, test_frac=test_frac, seed=seed)
    done = replace(table, splits=tuple(str(name) for name in splits))
    order = None if columns is None else [name.strip() for name in columns.split(",")]
    for path in write_multi_hot(done, out, order):
        count = sum(name == path.stem for name in done.splits)
        typer.echo(f"Wrote {path}: {count} photos.")
