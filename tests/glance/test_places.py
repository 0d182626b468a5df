"""Places to tiles: exact areas, in numpy and torch alike."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.glance.places import PLACE_SHARPNESS, overlap_weights, pool_places
from leafscout.glance.scout import pool_places_torch
from leafscout.photos.tiles import lay_tiles
from leafscout.types import Tiles

SHAPES = [(3000, 4000), (4000, 3000), (2000, 2000), (1024, 2048), (90, 70)]


def test_shares_of_area_equal_those_counted_pixel_by_pixel() -> None:
    # 240×360 pixels, cells of 40 px, so that every pixel lies in one cell.
    rng = np.random.default_rng(0)
    places = rng.standard_normal((2, 6, 9)).astype(np.float32)
    upsampled = np.repeat(np.repeat(places, 40, axis=1), 40, axis=2).astype(np.float64)
    tiles = lay_tiles((240, 360), 100)
    expected = [
        np.log(np.exp(PLACE_SHARPNESS * upsampled[:, t:b, le:r]).mean(axis=(1, 2)))
        / PLACE_SHARPNESS
        for le, t, r, b in tiles.boxes_px_xyxy
    ]
    np.testing.assert_allclose(pool_places(places, tiles), expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(64, 5000),
    side=st.integers(32, 600),
    cells=st.integers(1, 60),
)
def test_every_tile_shares_out_exactly_its_own_length(length: int, side: int, cells: int) -> None:
    starts = lay_tiles((length, length), side).tops
    weights = overlap_weights(starts, side, length, cells)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-5)


def test_a_cell_border_inside_a_tile_splits_it_in_proportion() -> None:
    # Cells of 2.5 px: a tile from 2 to 6 has 0.5 of the first, 2.5 of the second, 1 of the third.
    weights = overlap_weights((2,), 4, 10, 4)
    np.testing.assert_allclose(weights, [[0.125, 0.625, 0.25, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("exponent", [1.0, 2.0, 8.0, 64.0])
def test_powers_of_shares_are_those_of_the_areas(exponent: float) -> None:
    weights = overlap_weights((2,), 4, 10, 4, exponent)
    areas = np.array([0.5, 2.5, 1.0, 0.0]) ** exponent
    np.testing.assert_allclose(weights, [areas / areas.sum()], rtol=1e-5, atol=1e-30)


def test_a_tile_within_one_place_takes_it_whole() -> None:
    weights = overlap_weights((4004,), 8, 5000, 5, 64.0)
    np.testing.assert_array_equal(weights, [[0.0, 0.0, 0.0, 0.0, 1.0]])


def test_a_loud_place_speaks_for_the_tile_that_holds_most_of_it() -> None:
    # The loud place lies from 80 to 120 px, and the tiles meet at 112 px.
    places = np.full((1, 6, 6), -4.0, np.float32)
    places[0, 2, 2] = 4.0
    tiles = Tiles((240, 240), 112, (0, 112), (0, 112))
    in_proportion = pool_places(places, tiles)[:, 0]
    strictly = pool_places(places, tiles, 8.0)[:, 0]
    assert in_proportion.argmax() == strictly.argmax() == 0
    assert in_proportion[0] - in_proportion[1] < 1.0
    assert strictly[0] - strictly[1] > 2.0


@pytest.mark.parametrize("exponent", [1.0, 8.0])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("level", [-60.0, -2.0, 0.0, 7.5, 60.0])
def test_a_constant_map_gives_every_tile_the_constant(
    shape: tuple[int, int], level: float, exponent: float
) -> None:
    tiles = lay_tiles(shape, 384)
    pooled = pool_places(np.full((1, 23, 31), level, np.float32), tiles, exponent)
    assert pooled.shape == (len(tiles), 1)
    np.testing.assert_allclose(pooled, level, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spread", [1.0, 30.0])
@pytest.mark.parametrize("exponent", [1.0, 8.0])
def test_training_pools_as_a_diagnosis_does(
    shape: tuple[int, int], spread: float, exponent: float
) -> None:
    places = (spread * np.random.default_rng(1).standard_normal((3, 24, 32))).astype(np.float32)
    tiles = lay_tiles(shape, 384)
    np.testing.assert_allclose(
        pool_places_torch(torch.from_numpy(places), tiles, exponent).numpy(),
        pool_places(places, tiles, exponent),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("shape", SHAPES[:4])
def test_a_hot_place_stands_out_in_the_tiles_that_hold_it(shape: tuple[int, int]) -> None:
    height, width = shape
    tiles = lay_tiles(shape, 384)
    places = np.full((1, height // 50, width // 50), -5.0, np.float32)
    row, column = places.shape[1] // 3, places.shape[2] // 4
    places[0, row, column] = 5.0
    centre_y = (row + 0.5) * height / places.shape[1]
    centre_x = (column + 0.5) * width / places.shape[2]
    left, top, right, bottom = tiles.boxes_px_xyxy[pool_places(places, tiles)[:, 0].argmax()]
    assert left <= centre_x < right
    assert top <= centre_y < bottom


def test_one_loud_place_does_not_lift_the_others() -> None:
    places = np.full((1, 8, 8), -30.0, np.float32)
    places[0, 0, 0] = 40.0
    tiles = lay_tiles((800, 800), 100)
    for pooled in (
        pool_places(places, tiles),
        pool_places_torch(torch.from_numpy(places), tiles).numpy(),
    ):
        assert pooled[0, 0] > 30
        np.testing.assert_allclose(pooled[1:, 0], -30, atol=1e-4)


def test_gradients_reach_the_places() -> None:
    places = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    pool_places_torch(places, lay_tiles((600, 800), 128)).sum().backward()
    assert places.grad is not None
    assert (places.grad > 0).all()
