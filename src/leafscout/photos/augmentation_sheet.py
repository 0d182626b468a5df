"""A contact sheet of what augmentation makes of photos: to be looked at before training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from leafscout.errors import InputError
from leafscout.photos.augment import AS_PHOTOGRAPHED, LightChange, draw_augmentation
from leafscout.types import Pixels

CELL_PX = 160
VARIANTS = 6
MARGIN_PX = 4


def draw_augmentation_sheet(
    photos: Sequence[Pixels],
    *,
    variants: int = VARIANTS,
    cell_px: int = CELL_PX,
    light: float = 0.15,
    change: LightChange = AS_PHOTOGRAPHED,
    seed: int = 0,
) -> Pixels:
    """Each photo in a row: as it is, then changed as the tiles of a training are.

    Args:
        photos: (height, width, 3) each, at least one.
        variants: changed ones a row.
        cell_px: side of a cell; photos are fitted in.
        light: see ``draw_augmentation``.
        change: see ``draw_augmentation``.
        seed: of the changes.

    Returns:
        (rows, columns, 3) white around the photos.

    Raises:
        InputError: when there is no photo or nothing to show.
    """
    check_sheet(photos, variants)
    rows = []
    for row, photo in enumerate(photos):
        small = _fit(photo, cell_px - MARGIN_PX)
        shown = [small]
        for column in range(variants):
            drawn = draw_augmentation((seed, row, column), light=light, change=change)
            lit = small * np.asarray(drawn.gain, dtype=np.float32) + drawn.offset
            shown.append(drawn.move_pixels(np.clip(np.round(lit), 0, 255).astype(np.uint8)))
        rows.append(shown)
    return lay_sheet(rows, cell_px=cell_px)


def check_sheet(photos: Sequence[object], variants: int) -> None:
    """Refuse a sheet of nothing.

    Raises:
        InputError: when there is no photo or nothing to show.
    """
    if not photos or variants < 1:
        raise InputError("Expected at least one photo and one variant for a contact sheet.")


def lay_sheet(rows: Sequence[Sequence[Pixels]], *, cell_px: int) -> Pixels:
    """Pictures side by side, each in the middle of its cell.

    Args:
        rows: equally many pictures each, (height, width, 3); what exceeds its cell is shrunk.
        cell_px: side of a cell, margins included.

    Returns:
        (rows, columns, 3) white around the pictures.
    """
    sheet = np.full((len(rows) * cell_px, len(rows[0]) * cell_px, 3), 255, dtype=np.uint8)
    for row, shown in enumerate(rows):
        for column, picture in enumerate(shown):
            cell = _fit(picture, cell_px - MARGIN_PX)
            height, width = cell.shape[:2]
            top = row * cell_px + (cell_px - height) // 2
            left = column * cell_px + (cell_px - width) // 2
            sheet[top : top + height, left : left + width] = cell
    return sheet


def _fit(photo: Pixels, side_px: int) -> Pixels:
    image = Image.fromarray(np.ascontiguousarray(photo))
    image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    fitted: Pixels = np.array(image)
    return fitted
