"""Glances and tiles that set the ranges of int8: those that the model itself would look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leafscout.errors import InputError
from leafscout.glance.view import take_square
from leafscout.model import GlanceAndFocus
from leafscout.photos.decode import open_photo
from leafscout.photos.tiles import cut_tiles
from leafscout.recogniser_model import RecogniserModel
from leafscout.types import Pixels

LEAST_TILES = 30
"""Of two networks; a recogniser needs as many photos, which are its tiles."""

MOST_TILES = 128


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """Pixels to measure the ranges of activations on.

    Attributes:
        glances: (height, width, 3) each; sizes may differ.
        tiles: (tiles, tile_px, tile_px, 3) tiles that the model chose to read.
    """

    glances: tuple[Pixels, ...]
    tiles: Pixels

    def inputs(self) -> dict[str, tuple[Pixels, ...]]:
        """Network → what it is given, one after another."""
        return {"scout": self.glances, "expert": tuple(tile[None] for tile in self.tiles)}


def gather_calibration_set(
    model: GlanceAndFocus,
    photos: Sequence[Path],
    *,
    show: Callable[[int, int], None] | None = None,
) -> CalibrationSet:
    """Look at photos as the model does, and keep what it looked at.

    Args:
        model: in full precision.
        photos: paths; those after the first that give ``MOST_TILES`` tiles are left out.
        show: told the photos done and all.

    Returns:
        At least ``LEAST_TILES`` tiles and their photos' glances.

    Raises:
        InputError: too few tiles, or no photo on which the model finds a disease: ranges measured
            on healthy leaves alone would cut off the evidence of disease.
        PhotoError: when a photo cannot be used.
    """
    glances: list[Pixels] = []
    stacks: list[Pixels] = []
    count, diseased = 0, 0
    for index, path in enumerate(photos):
        photo = open_photo(path)
        glance = model.take_glance(photo)
        scouted = model.scout(glance)
        chosen = np.flatnonzero(scouted.read)
        found = None
        if len(chosen):
            tiles = cut_tiles(photo.pixels, scouted.tiles, chosen)
            found = model.networks.run_expert(tiles)
            stacks.append(tiles)
            count += len(chosen)
        probs = model.label_probs(model.conclude(scouted, found))
        diseased += bool((probs >= np.asarray(model.rules.thresholds)).any())
        glances.append(glance.pixels)
        if show is not None:
            show(index + 1, len(photos))
        if count >= MOST_TILES and diseased:
            break
    if count < LEAST_TILES:
        raise InputError(
            f"Expected at least {LEAST_TILES} tiles to calibrate int8 on, but the model reads only "
            f"{count} in the {len(photos)} photos given. Name more photos with --calibration."
        )
    if not diseased:
        raise _refuse_healthy(len(photos))
    return CalibrationSet(tuple(glances), np.concatenate(stacks)[:MOST_TILES])


def gather_squares(model: RecogniserModel, photos: Sequence[Path]) -> dict[str, tuple[Pixels, ...]]:
    """Photos as a recogniser is given them.

    Args:
        model: in full precision.
        photos: paths; those after the first ``MOST_TILES`` count only where the first are healthy.

    Returns:
        ``recogniser`` → at least ``LEAST_TILES`` squares, (side, side, 3) each.

    Raises:
        InputError: too few photos, or none on which the model finds a disease; see
            ``gather_calibration_set``.
        PhotoError: when a photo cannot be used.
    """
    if len(photos) < LEAST_TILES:
        raise InputError(
            f"Expected at least {LEAST_TILES} photos to calibrate int8 on, but got {len(photos)}. "
            "Name more photos with --calibration."
        )
    squares, diseased = list[Pixels](), False
    for path in photos:
        photo = open_photo(path)
        squares.append(take_square(photo, model.rules.glance_px))
        probs = model.label_probs(model.forward(photo)[0])
        diseased = diseased or bool((probs >= np.asarray(model.rules.thresholds)).any())
        if len(squares) >= MOST_TILES and diseased:
            break
    if not diseased:
        raise _refuse_healthy(len(photos))
    return {"recogniser": tuple(squares)}


def _refuse_healthy(photos: int) -> InputError:
    return InputError(
        f"The model finds no disease in any of the {photos} photos given to calibrate int8 on. "
        "Name photos with --calibration that show the diseases too."
    )
