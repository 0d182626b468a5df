"""A contact sheet of what a recipe's training would see of photos, to be looked at before it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leafscout.glance.view import take_square
from leafscout.photos.augment import AS_PHOTOGRAPHED
from leafscout.photos.augmentation_sheet import (
    MARGIN_PX,
    VARIANTS,
    check_sheet,
    draw_augmentation_sheet,
    lay_sheet,
)
from leafscout.training.any_recipe import AnyRecipe
from leafscout.training.recipes import Recipe
from leafscout.training.recogniser_recipe import RecogniserRecipe
from leafscout.types import Photo, Pixels

MOST_SHOWN_PX = 384
"""Side above which squares of a recogniser are shrunk, so that a sheet can still be looked at."""


def draw_recipe_sheet(
    photos: Sequence[Photo], recipe: AnyRecipe, *, variants: int = VARIANTS, seed: int = 0
) -> Pixels:
    """Each photo in a row: as it is, then as a training with this recipe would see it.

    A recogniser sees the photo squeezed into a square, and that square changed; it is shown pixel
    for pixel up to ``MOST_SHOWN_PX``. Other recipes change whole photos and cut what they read
    from them.

    Args:
        photos: at least one.
        recipe: of any family.
        variants: changed ones a row.
        seed: of the changes.

    Returns:
        (rows, columns, 3) white around the photos.

    Raises:
        InputError: when there is no photo or nothing to show.
    """
    if isinstance(recipe, RecogniserRecipe):
        return _draw_squares(photos, recipe, variants, seed)
    change = recipe.light_change if isinstance(recipe, Recipe) else AS_PHOTOGRAPHED
    return draw_augmentation_sheet(
        [photo.pixels for photo in photos], variants=variants, change=change, seed=seed
    )


def _draw_squares(
    photos: Sequence[Photo], recipe: RecogniserRecipe, variants: int, seed: int
) -> Pixels:
    # Here, as the sheets of other recipes need no PyTorch.
    import torch

    from leafscout.training.photo_augmentation import change_photos, draw_change

    check_sheet(photos, variants)
    rows = []
    for row, photo in enumerate(photos):
        square = take_square(photo, recipe.photo_px)
        pixels = torch.from_numpy(square.copy()).permute(2, 0, 1)[None].expand(variants, -1, -1, -1)
        changes = [draw_change((seed, 3, epoch, row), recipe) for epoch in range(variants)]
        changed = change_photos(pixels, changes).round().byte().permute(0, 2, 3, 1).numpy()
        rows.append([square, *(np.ascontiguousarray(one) for one in changed)])
    return lay_sheet(rows, cell_px=min(recipe.photo_px, MOST_SHOWN_PX) + MARGIN_PX)
