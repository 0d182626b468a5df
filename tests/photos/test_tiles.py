import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.errors import InputError
from leafscout.photos.tiles import cut_tiles, lay_tiles, stitch_tiles

sides = st.integers(1, 700)
tile_sides = st.integers(32, 256)


@settings(max_examples=60)
@given(height=sides, width=sides, tile_px=tile_sides)
def test_tiles_cover_every_pixel_with_the_fewest_lines(height, width, tile_px):
    tiles = lay_tiles((height, width), tile_px)
    seen = np.zeros((height, width), dtype=int)
    for left, top, right, bottom in tiles.boxes_px_xyxy:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        seen[top:bottom, left:right] += 1
    assert seen.min() >= 1
    assert tiles.rows == math.ceil(height / tile_px)
    assert tiles.columns == math.ceil(width / tile_px)
    assert len(tiles) == len(tiles.boxes_px_xyxy)


@settings(max_examples=40)
@given(height=sides, width=sides, tile_px=tile_sides, seed=st.integers(0, 9))
def test_cut_then_stitch_is_the_identity(height, width, tile_px, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    tiles = lay_tiles((height, width), tile_px)
    cut = cut_tiles(pixels, tiles)
    assert cut.shape == (len(tiles), tile_px, tile_px, 3)
    np.testing.assert_array_equal(stitch_tiles(cut, tiles), pixels)


def test_a_12_megapixel_photo_gets_88_tiles_at_exact_places():
    tiles = lay_tiles((3000, 4000), 384)
    assert (tiles.rows, tiles.columns, len(tiles)) == (8, 11, 88)
    assert tiles.tops == tuple(round(i * (3000 - 384) / 7) for i in range(8))
    assert tiles.lefts == tuple(round(i * (4000 - 384) / 10) for i in range(11))
    assert tiles.boxes_px_xyxy[-1].tolist() == [4000 - 384, 3000 - 384, 4000, 3000]
    assert tiles.boxes_px_xyxy[12].tolist() == [
        tiles.lefts[1],
        tiles.tops[1],
        tiles.lefts[1] + 384,
        tiles.tops[1] + 384,
    ]


def test_chosen_tiles_come_in_the_order_asked_for():
    pixels = np.arange(200 * 300 * 3, dtype=np.uint32).reshape(200, 300, 3).astype(np.uint8)
    tiles = lay_tiles((200, 300), 64)
    every = cut_tiles(pixels, tiles)
    np.testing.assert_array_equal(cut_tiles(pixels, tiles, [7, 0, 7]), every[[7, 0, 7]])


def test_a_photo_smaller_than_a_tile_is_continued_with_its_edge():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    tiles = lay_tiles((40, 50), 96)
    cut = cut_tiles(pixels, tiles)
    expected = np.pad(pixels, ((0, 56), (0, 46), (0, 0)), mode="edge")
    np.testing.assert_array_equal(cut, expected[None])


@pytest.mark.parametrize(
    ("size", "tile_px", "sentence"),
    [
        ((100, 100), 16, "Expected tiles of at least 32 px, but got 16 px"),
        ((0, 100), 64, "Expected a photo with pixels, but got 100×0 px"),
    ],
)
def test_impossible_grids_are_refused(size, tile_px, sentence):
    with pytest.raises(InputError, match=sentence):
        lay_tiles(size, tile_px)


def test_a_grid_for_another_photo_is_refused():
    pixels = np.zeros((100, 120, 3), dtype=np.uint8)
    with pytest.raises(InputError, match=r"Expected a photo of \(120, 100\) px"):
        cut_tiles(pixels, lay_tiles((120, 100), 64))
