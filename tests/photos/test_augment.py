"""Augmentation: whatever is done to a photo, its evidence stays with the tiles that hold it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.photos.augment import Augmentation, draw_augmentation
from leafscout.photos.tiles import cut_tiles, lay_tiles

SYMMETRIES = [(turns, mirrored) for turns in range(4) for mirrored in (False, True)]


def symmetry(turns: int, mirrored: bool, shift: tuple[int, int] = (0, 0)) -> Augmentation:
    return Augmentation(turns, mirrored, shift, (1.0, 1.0, 1.0), 0.0)


def test_the_eight_symmetries_are_all_different() -> None:
    grid = np.arange(6).reshape(2, 3)
    assert len({repr(symmetry(*one).move(grid).tolist()) for one in SYMMETRIES}) == 8


@pytest.mark.parametrize(("turns", "mirrored"), SYMMETRIES)
@pytest.mark.parametrize("shape", [(300, 500), (410, 330), (256, 256)])
def test_evidence_moves_with_the_tiles(turns: int, mirrored: bool, shape: tuple[int, int]) -> None:
    """Laying tiles on the moved photo gives the moved tiles of the photo."""
    augmentation = symmetry(turns, mirrored)
    pixels = np.zeros((*shape, 3), np.uint8)
    tiles = lay_tiles(shape, 100)
    # Plant one spot in the very middle of every tile, of a colour of its own.
    for index, (left, top, right, bottom) in enumerate(tiles.boxes_px_xyxy):
        middle_y, middle_x = (top + bottom) // 2, (left + right) // 2
        pixels[middle_y - 2 : middle_y + 2, middle_x - 2 : middle_x + 2] = index + 1
    number = np.arange(1, len(tiles) + 1).reshape(tiles.rows, tiles.columns)

    moved = np.ascontiguousarray(augmentation.move(pixels))
    new_tiles = lay_tiles((moved.shape[0], moved.shape[1]), 100)
    new_number = augmentation.move(number)
    assert new_number.shape == (new_tiles.rows, new_tiles.columns)
    for cut, expected in zip(cut_tiles(moved, new_tiles), new_number.ravel(), strict=True):
        assert cut[46:54, 46:54].max() == expected


def test_moving_is_a_view_of_the_first_two_axes() -> None:
    maps = np.random.default_rng(0).random((4, 6, 3))
    moved = symmetry(1, mirrored=True).move(maps)
    assert moved.shape == (6, 4, 3)
    assert np.shares_memory(moved, maps)
    np.testing.assert_array_equal(moved, np.rot90(maps)[:, ::-1])


@pytest.mark.parametrize(("turns", "mirrored"), SYMMETRIES)
def test_a_photo_is_moved_without_a_copy_and_tiles_are_cut_from_it(
    turns: int, mirrored: bool
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (70, 110, 3), dtype=np.uint8)
    augmentation = symmetry(turns, mirrored, (3, 5))
    moved = augmentation.move_pixels(augmentation.shift(pixels))
    assert np.shares_memory(moved, pixels)
    copied = np.ascontiguousarray(augmentation.move(augmentation.shift(pixels)))
    tiles = lay_tiles((moved.shape[0], moved.shape[1]), 64)
    np.testing.assert_array_equal(
        cut_tiles(moved, tiles), cut_tiles(copied.astype(np.uint8), tiles)
    )


def test_a_shift_cuts_off_top_and_left() -> None:
    pixels = np.arange(10 * 12 * 3, dtype=np.uint8).reshape(10, 12, 3)
    shifted = symmetry(0, mirrored=False, shift=(2, 5)).shift(pixels)
    np.testing.assert_array_equal(shifted, pixels[2:, 5:])


@settings(max_examples=60, deadline=None)
@given(seed=st.tuples(st.integers(0, 99), st.integers(0, 99)), shift=st.integers(0, 40))
def test_draws_depend_on_the_seed_alone_and_stay_in_range(
    seed: tuple[int, int], shift: int
) -> None:
    drawn = draw_augmentation(seed, max_shift_px=shift)
    assert drawn == draw_augmentation(seed, max_shift_px=shift)
    assert all(0 <= pixels <= shift for pixels in drawn.shift_px_yx)
    assert all(0.8 < gain < 1.2 for gain in drawn.gain)
    # Hue is evidence: white balance moves little.
    assert max(drawn.gain) / min(drawn.gain) < 1.08
    assert abs(drawn.offset) < 12


def test_all_symmetries_are_drawn_about_equally_often() -> None:
    drawn = [draw_augmentation((0, index)) for index in range(800)]
    counts = [
        sum((one.quarter_turns, one.mirrored) == symmetry for one in drawn)
        for symmetry in SYMMETRIES
    ]
    assert min(counts) > 60


def test_no_light_means_no_change_of_light() -> None:
    drawn = draw_augmentation((1,), light=0.0)
    assert drawn.gain == (1.0, 1.0, 1.0)
    assert drawn.offset == 0.0


def test_exposure_and_colour_change_only_where_asked_for() -> None:
    from leafscout.photos.augment import LightChange

    usual = [draw_augmentation((4, one)) for one in range(200)]
    darker = [
        draw_augmentation((4, one), change=LightChange(exposure_stops=1.0)) for one in range(200)
    ]
    factors = np.array([a.gain[0] / b.gain[0] for a, b in zip(darker, usual, strict=True)])
    assert 0.5 <= factors.min() < 0.55
    assert 1.8 < factors.max() <= 2.0
    assert [one.offset for one in darker] == [one.offset for one in usual]
    coloured = [
        draw_augmentation((4, one), change=LightChange(colour_change=0.25)) for one in range(200)
    ]
    ratios = np.array([np.divide(a.gain, b.gain) for a, b in zip(coloured, usual, strict=True)])
    assert 0.75 <= ratios.min() < 0.77
    assert np.ptp(ratios, axis=1).max() > 0.3
