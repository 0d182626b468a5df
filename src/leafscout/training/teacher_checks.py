"""May this teacher teach this student? Labels, tiles, costs, and the photos that both know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leafscout.diagnosis.pooling import ATTENTION_POOLINGS
from leafscout.errors import InputError
from leafscout.focus.expert import Expert
from leafscout.glance.scout import Scout
from leafscout.glance.view import glance_size_px_hw
from leafscout.networks import count_macs
from leafscout.photos.fingerprint import Fingerprint
from leafscout.photos.tiles import lay_tiles
from leafscout.training.distil_settings import read_levels
from leafscout.training.photo_uses import find_uses
from leafscout.training.recipes import Recipe
from leafscout.training.teacher import Teacher


def check_teacher(teacher: Teacher | None, recipe: Recipe, labels: Sequence[str]) -> None:
    """Refuse a teacher that cannot teach this student.

    Args:
        teacher: None where none was given.
        recipe: the student's.
        labels: the diseases of the student's photos.

    Raises:
        InputError: a teacher without a use for it, or the other way round; other labels or tiles.
    """
    mode = recipe.distil_mode
    if teacher is None:
        if mode == "offline":
            raise InputError(
                "Learning from a finished run needs that run: add --teacher RUN, or use "
                "--distil mutual or --distil self, which need none."
            )
        return
    if mode != "offline":
        raise InputError(
            f"A teacher was given, but distil_mode is {mode!r}, which needs none. Leave --teacher "
            "out, or use --distil offline."
        )
    if tuple(labels) != teacher.labels:
        raise InputError(
            f"The teacher {teacher.run} knows {', '.join(teacher.labels)}, but the photos show "
            f"{', '.join(labels)}. Teacher and student need the same labels in the same order: "
            "train a teacher on these labels, or train without one."
        )
    if teacher.exclusive != recipe.exclusive:
        raise InputError(
            f"The teacher {teacher.run} was trained with exclusive={teacher.exclusive}, but the "
            f"student is to be trained with exclusive={recipe.exclusive}. Use the same for both."
        )
    _check_levels(teacher, recipe)


def _check_levels(teacher: Teacher, recipe: Recipe) -> None:
    levels = read_levels(recipe.distil_levels)
    if teacher.kind == "photo":
        if levels != ("photo",) or recipe.distil_features != "none":
            raise InputError(
                "A network on the resized photo can only give soft labels of photos: leave "
                "--features out, and use --soft-labels photo or --teacher-kind expert."
            )
        return
    if teacher.tile_px != recipe.tile_px:
        raise InputError(
            f"The teacher {teacher.run} reads tiles of {teacher.tile_px} px, but the student is to "
            f"read tiles of {recipe.tile_px} px: they would speak of different places. Use "
            f"--tile-px {teacher.tile_px}; --expert-shrink makes the student's tiles cheaper."
        )
    if "photo" in levels and teacher.pooling in ATTENTION_POOLINGS:
        raise InputError(
            f"The teacher {teacher.run} pools its tiles by {teacher.pooling}; soft labels of "
            "photos are only kept for poolings without attention. Use --soft-labels tile."
        )


def check_cost(
    teacher: Teacher,
    recipe: Recipe,
    expert: Expert,
    scout: Scout,
    photo_size_px_hw: tuple[int, int],
) -> str:
    """Refuse a student that costs more than its teacher.

    A student is compared with an expert by the tile, and along its whole way: the scout, and as
    many tiles as it may read at most. A network on the resized photo reads no tiles, and whoever
    reads some is dearer; there the cost is only told.

    Args:
        teacher: reads everything.
        recipe: the student's.
        expert: the student's.
        scout: the student's.
        photo_size_px_hw: of a photo to learn from.

    Returns:
        What both cost, in words.

    Raises:
        InputError: when the student is dearer than the expert that teaches it.
    """
    tiles = lay_tiles(photo_size_px_hw, recipe.tile_px)
    tile_macs = count_macs(expert, recipe.tile_px, recipe.tile_px)
    scout_macs = count_macs(scout, *glance_size_px_hw(photo_size_px_hw, recipe.glance_px))
    most_tiles = max(1, int(recipe.max_tiles_frac * len(tiles)))
    student, taught = scout_macs + most_tiles * tile_macs, teacher.count_macs(photo_size_px_hw)
    words = (
        f"The student needs at most {student / 1e6:,.0f} million multiply-adds a photo, the "
        f"teacher {taught / 1e6:,.0f} million: {student / taught:.0%}."
    )
    if teacher.expert is None:
        return words
    teacher_tile = taught // len(tiles)
    if tile_macs > teacher_tile:
        raise InputError(
            f"The student's expert {recipe.expert} needs {tile_macs / 1e6:,.1f} million "
            f"multiply-adds a tile, the teacher's {teacher_tile / 1e6:,.1f} million: the student "
            "would be dearer than its teacher. Choose a smaller --expert, a larger "
            "--expert-shrink, or a larger teacher."
        )
    if student > taught:
        raise InputError(
            f"{words} The student would be dearer than its teacher, scout and tiles together. "
            "Choose a smaller --scout, --glance-px or --expert, or a larger teacher."
        )
    return words


def check_photos(
    teacher: Teacher, fingerprints: Sequence[Fingerprint], splits: NDArray[np.str_]
) -> list[str]:
    """Refuse a teacher that has learnt the photos which the student is to be tested on.

    Args:
        teacher: with its run folder.
        fingerprints: of all photos.
        splits: (photos,) ``train``, ``val`` or ``test``.

    Returns:
        What a reader must know about the photos that both have seen.

    Raises:
        InputError: when the teacher was trained, validated or calibrated on test photos.
    """
    uses = np.array([use or "" for use in find_uses(teacher.run, fingerprints, copies=True)])
    learnt = np.isin(uses, ["train", "val", "promise"])
    known_test = int((learnt & (splits == "test")).sum())
    if known_test:
        raise InputError(
            f"The teacher {teacher.run} was made with {known_test} of the "
            f"{int((splits == 'test').sum())} photos that the student is to be tested on, so its "
            "figures would flatter. Give both the same splits (a split column, or the same data "
            "and --seed), or choose another teacher."
        )
    known = int(((uses == "train") & (splits == "val")).sum())
    if not known:
        return []
    note = (
        f"WARNING: the teacher was trained on {known} of the {int((splits == 'val').sum())} "
        "validation photos: thresholds and calibration may be too sure. Give both the same "
        "splits (a split column, or the same data and --seed) to avoid that."
    )
    return [note]
