"""A colour threshold that drops nothing but green."""

import numpy as np
import pytest

from leafscout.photos.foreground import FOREGROUND_FRAC, find_foreground_tiles, find_green_pixels
from leafscout.photos.synthetic import FieldSettings, photo_seed, render_photo
from leafscout.photos.tiles import cut_tiles, lay_tiles

TILE_PX = 96


def fill(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((TILE_PX, TILE_PX, 3), colour, dtype=np.uint8)


@pytest.mark.parametrize(
    ("colour", "green"),
    [
        ((40, 120, 40), True),
        ((90, 160, 60), True),
        ((20, 60, 20), True),  # the same green in the shade
        ((120, 80, 40), False),  # soil
        ((230, 230, 230), False),  # mildew
        ((180, 90, 40), False),  # rust
        ((120, 160, 220), False),  # sky
        ((2, 9, 2), False),  # too dark to tell
    ],
)
def test_green_is_told_from_soil_sky_and_lesions(colour: tuple[int, int, int], green: bool) -> None:
    assert find_green_pixels(fill(colour)).all() == green
    assert find_foreground_tiles(fill(colour)[None]).tolist() == [not green]


def test_a_small_spot_brings_a_tile_into_the_foreground() -> None:
    tiles = np.stack([fill((40, 120, 40))] * 2)
    side = int(np.ceil(np.sqrt(FOREGROUND_FRAC * TILE_PX**2)))
    tiles[1, :side, :side] = (180, 90, 40)
    assert find_foreground_tiles(tiles).tolist() == [False, True]


def test_at_most_one_lesion_pixel_of_a_hundred_is_lost() -> None:
    settings = FieldSettings(
        size_px_hw=(384, 480),
        lesion_sizes_px=(10, 16, 24, 40),
        contrast_range=(0.5, 1.0),
        no_leaf_frac=0.0,
        healthy_frac=0.0,
    )
    lost, total, dropped = 0, 0, 0
    for index in range(6):
        photo = render_photo(settings, photo_seed(3, index))
        grid = lay_tiles(photo.pixels.shape[:2], TILE_PX)
        found = find_foreground_tiles(cut_tiles(photo.pixels, grid, range(len(grid))))
        seen = np.zeros(photo.lesion_mask.shape, dtype=bool)
        for left, top, right, bottom in grid.boxes_px_xyxy[found]:
            seen[top:bottom, left:right] = True
        lesion = photo.lesion_mask > 0
        lost += int((lesion & ~seen).sum())
        total += int(lesion.sum())
        dropped += int((~found).sum())
    assert total > 1000
    assert lost <= 0.01 * total
