"""The lesion map keeps peaks, stays empty where nothing was read, and boxes what it shows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from leafscout.explanation.lesion_map import (
    build_lesion_map,
    find_lesion_boxes,
    label_components,
    lesion_cell_px,
    peak_px_xy,
)
from leafscout.photos.tiles import lay_tiles


def logit(prob: np.ndarray) -> np.ndarray:
    return np.log(prob / (1 - prob)).astype(np.float32)


def brute_force_map(tiles, read, probs, cell_px):
    """Per pixel: the place that covers it; per cell: the mean of the pixels of each tile."""
    height, width = tiles.photo_size_px_hw
    labels, places = probs.shape[1], probs.shape[2]
    rows, columns = -(-height // cell_px), -(-width // cell_px)
    out = np.zeros((labels, rows, columns))
    side = tiles.tile_px // places
    for slot, index in enumerate(np.flatnonzero(read)):
        left, top, right, bottom = tiles.boxes_px_xyxy[index]
        full = np.full((labels, height, width), np.nan)
        dense = probs[slot].repeat(side, axis=1).repeat(side, axis=2)
        full[:, top:bottom, left:right] = dense[:, : bottom - top, : right - left]
        for row in range(rows):
            for column in range(columns):
                cell = full[
                    :,
                    row * cell_px : (row + 1) * cell_px,
                    column * cell_px : (column + 1) * cell_px,
                ]
                if not np.isnan(cell).all():
                    mean = np.nanmean(cell.reshape(labels, -1), axis=1)
                    out[:, row, column] = np.maximum(out[:, row, column], mean)
    return out


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(20, 150),
    width=st.integers(20, 150),
    cell_px=st.integers(3, 30),
    seed=st.integers(0, 99),
)
def test_map_is_the_brute_force_average_over_pixels(height, width, cell_px, seed):
    rng = np.random.default_rng(seed)
    tiles = lay_tiles((height, width), 48)
    read = rng.random(len(tiles)) < 0.6
    probs = rng.uniform(0.01, 0.99, (int(read.sum()), 2, 4, 4))
    found = build_lesion_map(tiles, read, logit(probs), cell_px=cell_px)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, brute_force_map(tiles, read, probs, cell_px), atol=2e-5)


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(200, 700),
    width=st.integers(200, 700),
    places=st.integers(2, 13),
    seed=st.integers(0, 99),
)
def test_half_place_cells_lose_no_peak(height, width, places, seed):
    tiles = lay_tiles((height, width), 192)
    rng = np.random.default_rng(seed)
    logits = np.full((1, 1, places, places), -6.0, dtype=np.float32)
    row, column = rng.integers(0, places, 2)
    logits[0, 0, row, column] = 3.0
    read = np.zeros(len(tiles), dtype=bool)
    tile = int(rng.integers(len(tiles)))
    read[tile] = True
    cell_px = lesion_cell_px(192, places)
    found = build_lesion_map(tiles, read, logits, cell_px=cell_px)
    assert found.max() == pytest.approx(1 / (1 + np.exp(-3.0)), abs=1e-5)
    x, y = peak_px_xy(found[0], cell_px, (height, width))
    left, top = tiles.boxes_px_xyxy[tile][:2]
    # Within the place, or half a cell beyond: cells do not start where tiles do.
    place_px, slack = 192 / places, cell_px / 2
    assert left + column * place_px - slack <= x <= left + (column + 1) * place_px + slack
    assert top + row * place_px - slack <= y <= top + (row + 1) * place_px + slack


def test_only_read_tiles_leave_evidence():
    tiles = lay_tiles((400, 800), 200)
    read = np.zeros(len(tiles), dtype=bool)
    read[[1, 7]] = True
    found = build_lesion_map(tiles, read, np.full((2, 3, 5, 5), 4.0, np.float32), cell_px=20)
    assert found.shape == (3, 20, 40)
    expected = np.zeros((20, 40), dtype=bool)
    expected[0:10, 10:20] = expected[10:20, 30:40] = True
    np.testing.assert_array_equal(found[1] > 0, expected)


def test_nothing_read_is_an_empty_map_without_peak_or_boxes():
    tiles = lay_tiles((300, 500), 128)
    none = np.zeros(len(tiles), dtype=bool)
    found = build_lesion_map(tiles, none, np.zeros((0, 2, 1, 1), np.float32), cell_px=32)
    assert found.shape == (2, 10, 16)
    assert not found.any()
    assert peak_px_xy(found[0], 32, (300, 500)) is None
    assert find_lesion_boxes(found, 32, (300, 500), ("a", "b"), ("a", "b")) == ()


def test_overlapping_tiles_keep_the_larger_evidence():
    tiles = lay_tiles((64, 96), 64)  # two tiles that share the middle third
    logits = np.stack([np.full((1, 4, 4), -2.0), np.full((1, 4, 4), 2.0)]).astype(np.float32)
    found = build_lesion_map(tiles, np.ones(2, bool), logits, cell_px=8)[0]
    high, low = 1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(2.0))
    np.testing.assert_allclose(found[0], [low] * 4 + [high] * 8, atol=1e-6)


def test_places_must_be_those_of_the_tiles_read():
    tiles = lay_tiles((100, 100), 64)
    with pytest.raises(ValueError, match="each of the 4 tiles read out of 4, but got places for 1"):
        build_lesion_map(tiles, np.ones(4, bool), np.zeros((1, 1, 2, 2), np.float32), cell_px=8)
    with pytest.raises(ValueError, match="at least 1 px"):
        build_lesion_map(tiles, np.ones(4, bool), np.zeros((4, 1, 2, 2), np.float32), cell_px=0)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 14), columns=st.integers(1, 14), density=st.floats(0, 1),
    seed=st.integers(0, 999),
)  # fmt: skip
def test_components_are_those_of_scipy(rows, columns, density, seed):
    mask = np.random.default_rng(seed).random((rows, columns)) < density
    found, count = label_components(mask)
    expected, expected_count = ndimage.label(mask)
    assert count == expected_count
    np.testing.assert_array_equal(found, expected)


def test_boxes_are_tight_clipped_and_strongest_first():
    lesion_map = np.zeros((2, 5, 7), dtype=np.float32)
    lesion_map[0, 0:2, 1:3] = [[0.6, 0.7], [0.1, 0.9]]  # an L of three cells
    lesion_map[0, 4, 6] = 0.95  # the last cell, cut by the border
    lesion_map[1, 2, 3] = 0.99
    size = (95, 130)  # cells of 20: the last ones are 15 high and 10 wide
    boxes = find_lesion_boxes(lesion_map, 20, size, ("rust", "miner"), ("rust",))
    assert [(box.label, box.box_px_xyxy) for box in boxes] == [
        ("rust", (120, 80, 130, 95)),
        ("rust", (20, 0, 60, 40)),
    ]
    assert [box.prob for box in boxes] == pytest.approx([0.95, 0.9])
    both = find_lesion_boxes(lesion_map, 20, size, ("rust", "miner"), ("miner", "rust"))
    assert [box.label for box in both] == ["miner", "rust", "rust"]
    assert len(find_lesion_boxes(lesion_map, 20, size, ("rust", "miner"), ("rust",),
                                 max_boxes=1)) == 1  # fmt: skip
    strict = find_lesion_boxes(lesion_map, 20, size, ("rust", "miner"), ("rust",), min_prob=0.92)
    assert len(strict) == 1


def test_a_ring_does_not_lend_its_box_the_peak_inside_it():
    ring = np.zeros((1, 5, 5), dtype=np.float32)
    ring[0, 0, :] = ring[0, -1, :] = ring[0, :, 0] = ring[0, :, -1] = 0.6
    ring[0, 2, 2] = 0.9
    boxes = find_lesion_boxes(ring, 10, (50, 50), ("rust",), ("rust",))
    assert [(box.box_px_xyxy, round(box.prob, 3)) for box in boxes] == [
        ((20, 20, 30, 30), 0.9),
        ((0, 0, 50, 50), 0.6),
    ]


def test_the_peak_is_the_centre_of_the_cut_cell():
    label_map = np.zeros((3, 4), dtype=np.float32)
    label_map[2, 3] = 0.8
    assert peak_px_xy(label_map, 16, (44, 54)) == (51.0, 38.0)


def test_the_peak_of_a_place_is_its_middle() -> None:
    label_map = np.full((6, 8), 0.1, np.float32)
    label_map[2:4, 4:6] = 0.9
    assert peak_px_xy(label_map, 10, (60, 80)) == (50.0, 30.0)
    label_map[0, 0] = 0.9  # as strong, elsewhere: the first of the two, not the place between
    assert peak_px_xy(label_map, 10, (60, 80)) == (5.0, 5.0)
