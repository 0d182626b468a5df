"""A contact sheet of what augmentation makes of photos: to be looked at before training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from leafscout.errors import InputError
from leafscout.photos.augment import draw_augmentation
from leafscout.types import Pixels


def draw_augmentation_sheet(
    photos: Sequence[Pixels],
    *,
    variants: int = 6,
    cell_px: int = 160,
    light: float = 0.15,
    seed: int = 0,
) -> Pixels:
    """Each photo in a row: as it is, then as training would see it.

    Args:
        photos: (height, width, 3) each, at least one.
        variants: changed ones a row.
        cell_px: side of a cell; photos are fitted in.
        light: see ``draw_augmentation``.
        seed: of the changes.

    Returns:
        (rows, columns, 3) white around the photos.

    Raises:
        InputError: when there is no photo or nothing to show.
    """
    if not photos or variants < 1:
        raise InputError("Expected at least one photo and one variant for a contact sheet.")
    sheet = np.full((len(photos) * cell_px, (variants + 1) * cell_px, 3), 255, dtype=np.uint8)
    for row, photo in enumerate(photos):
        small = _fit(photo, cell_px - 4)
        shown = [small]
        for column in range(variants):
            change = draw_augmentation((seed, row, column), light=light)
            lit = small * np.asarray(change.gain, dtype=np.float32) + change.offset
            shown.append(change.move_pixels(np.clip(np.round(lit), 0, 255).astype(np.uint8)))
        for column, cell in enumerate(shown):
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
