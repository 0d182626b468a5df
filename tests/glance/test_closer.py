"""Closer glances: regions cover the photo, the promising ones are looked at, the rest stays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.glance.closer import (
    REGION_PX,
    count_closer_px,
    lay_regions,
    look_closer,
    promising_regions,
    spread_map,
)

SIDES = st.integers(2, 60).map(lambda cells: 16 * cells)


@settings(max_examples=40, deadline=None)
@given(SIDES, SIDES)
def test_regions_cover_every_cell_and_stay_inside(height: int, width: int) -> None:
    covered = np.zeros((height // 16, width // 16), np.bool_)
    for left, top, right, bottom in lay_regions((height, width)):
        assert 0 <= left < right <= width // 16
        assert 0 <= top < bottom <= height // 16
        assert max(right - left, bottom - top) <= REGION_PX // 16
        covered[top:bottom, left:right] = True
    assert covered.all()


def brightness(pixels: np.ndarray) -> np.ndarray:
    """A scout that reads the mean of each 16-px cell: (1 view, 2 channels, rows, columns)."""
    rows, columns = (side // 16 for side in pixels.shape[:2])
    cells = pixels.reshape(rows, 16, columns, 16, 3).mean(axis=(1, 3, 4)).astype(np.float32)
    return np.stack([cells, -cells])[None]


def test_all_regions_looked_at_is_the_whole_closer_glance() -> None:
    closer = np.random.default_rng(0).integers(0, 255, (400, 640, 3), dtype=np.uint8)
    coarse = np.zeros((1, 2, 3, 5), np.float32)
    seen = look_closer(coarse, closer, 99, brightness)
    np.testing.assert_allclose(seen, brightness(closer), rtol=1e-6)


def test_only_the_promising_region_is_looked_at() -> None:
    side, cells = REGION_PX, REGION_PX // 16
    closer = np.full((side, 4 * side, 3), 200, np.uint8)
    coarse = np.full((1, 2, 2, 8), -3.0, np.float32)
    coarse[0, 0, 1, 5] = 2.0  # in the third of four regions
    looked: list[np.ndarray] = []

    def look(pixels: np.ndarray) -> np.ndarray:
        looked.append(pixels)
        return brightness(pixels)

    seen = look_closer(coarse, closer, 1, look)
    assert [one.shape for one in looked] == [(side, side, 3)]
    assert (seen[0, 0, :, 2 * cells : 3 * cells] == 200).all()
    assert (seen[0, :, :, : 2 * cells] == -3).all()
    assert (seen[0, :, :, 3 * cells :] == -3).all()
    np.testing.assert_array_equal(coarse[0, 0, 0], -3.0)


def test_between_equal_regions_the_earlier_is_preferred() -> None:
    regions = lay_regions((REGION_PX, 4 * REGION_PX))
    assert promising_regions(
        np.zeros((REGION_PX // 16, REGION_PX // 4), np.float32), regions, 2
    ).tolist() == [0, 1]


def test_a_coarser_map_is_spread_by_the_centres_of_cells() -> None:
    coarse = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    np.testing.assert_array_equal(spread_map(coarse, 2, 3), coarse)
    fine = spread_map(coarse, 4, 6)
    np.testing.assert_array_equal(fine[0], np.kron(coarse[0], np.ones((2, 2))))


@pytest.mark.parametrize("most", [1, 3, 8])
def test_what_it_costs_stops_growing_with_the_photo(most: int) -> None:
    small, large = (count_closer_px((n * REGION_PX, n * REGION_PX), most) for n in (2, 40))
    assert large == most * REGION_PX**2
    assert small == min(4, most) * REGION_PX**2
