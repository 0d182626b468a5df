"""Localisation against brute force on drawn lesions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.errors import InputError
from leafscout.evaluation.localisation import (
    count_false_tiles,
    count_hits_at_k,
    find_lesion_tiles,
    hits_at_k,
    lesion_kept,
    measure_overlap,
    play_pointing_game,
    pointing_hit,
    spread_map,
)
from leafscout.types import Tiles

TILES = Tiles((200, 300), 100, (0, 100), (0, 100, 200)).boxes_px_xyxy
NO_BOXES = np.empty((0, 4), dtype=np.int64)


def draw_mask(boxes, size=(200, 300)):
    mask = np.zeros(size, bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return mask


@settings(max_examples=60, deadline=None)
@given(
    point=st.tuples(st.floats(-5, 310), st.floats(-5, 210)),
    tolerance=st.sampled_from([0.0, 1.0, 3.5, 15.0]),
)
def test_boxes_and_their_mask_agree_on_hits_and_with_brute_force(point, tolerance):
    boxes = np.array([[10, 20, 30, 50], [280, 180, 300, 200]])
    mask = draw_mask(boxes)
    rows, columns = np.nonzero(mask)
    distance = np.hypot(columns - np.floor(point[0]), rows - np.floor(point[1])).min()
    expected = distance <= tolerance
    assert pointing_hit(point, boxes, tolerance) == expected
    assert pointing_hit(point, mask, tolerance) == expected


def test_right_and_bottom_of_a_box_are_outside():
    box = np.array([[10, 20, 30, 50]])
    assert pointing_hit((29.9, 49.9), box)
    assert not pointing_hit((30, 49), box)
    assert not pointing_hit((29, 50), box)
    assert not pointing_hit((-1, 5), draw_mask(box))


def test_pointing_game_counts_labels_alike_and_missing_points_as_misses():
    box = np.array([[0, 0, 10, 10]])
    game = play_pointing_game(
        [(5, 5), (5, 5), None, (50, 50), (1, 1)],
        [box, box, box, box, NO_BOXES],
        ["rust", "rust", "rust", "scab", "scab"],
    )
    assert (game.hits, game.photos) == (2, 4)
    assert game.by_label == {"rust": pytest.approx(2 / 3), "scab": 0}
    assert game.macro == pytest.approx(1 / 3)
    assert np.isnan(play_pointing_game([(0, 0)], [NO_BOXES]).share)
    with pytest.raises(InputError, match="as many points"):
        play_pointing_game([], [box])


def test_tiles_that_hold_lesions_are_the_same_by_box_and_by_mask():
    boxes = np.array([[90, 10, 120, 40]])  # 300 px in the first tile, 600 px in the second
    expected = [True, True, False, False, False, False]
    for lesions in (boxes, draw_mask(boxes)):
        assert find_lesion_tiles(TILES, lesions).tolist() == expected
        assert find_lesion_tiles(TILES, lesions, min_lesion_px=301).tolist() == [
            False,
            *expected[1:],
        ]


def test_rim_of_a_lesion_does_not_make_a_lesion_tile_but_a_small_lesion_does():
    rim = np.array([[98, 10, 130, 40]])  # 60 px of 960 in the first tile
    assert find_lesion_tiles(TILES, rim).tolist()[:2] == [False, True]
    small = np.array([[210, 110, 215, 115]])  # 25 px in all
    for lesions in (small, draw_mask(small)):
        assert np.flatnonzero(find_lesion_tiles(TILES, lesions)).tolist() == [5]


def test_no_lesion_means_no_lesion_tile():
    for lesions in (NO_BOXES, np.zeros((200, 300), bool)):
        assert not find_lesion_tiles(TILES, lesions).any()
        assert np.isnan(hits_at_k(np.arange(6.0), TILES, lesions, 2))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), k=st.integers(1, 8))
def test_hits_at_k_are_the_expected_hits_over_random_orders_of_ties(seed, k):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 3, 6).astype(float)
    lesion = rng.random(6) < 0.5
    lesion[0] = True
    drawn = []
    for _ in range(3000):
        order = np.lexsort((rng.random(6), -scores))
        drawn.append(lesion[order[:k]].sum() / min(k, lesion.sum()))
    assert count_hits_at_k(scores, lesion, k) == pytest.approx(np.mean(drawn), abs=0.04)


def test_perfect_map_hits_always_and_constant_map_hits_by_chance():
    lesion = np.arange(88) < 7
    assert count_hits_at_k(lesion.astype(float), lesion, 5) == 1
    assert count_hits_at_k(lesion.astype(float), lesion, 20) == 1
    assert count_hits_at_k(np.zeros(88), lesion, 5) == pytest.approx(7 / 88)


def test_tiles_that_were_not_read_are_never_hits():
    lesion = np.array([True, True, False])
    assert count_hits_at_k(np.array([np.nan, 0.1, 0.9]), lesion, 2) == 0.5
    assert count_hits_at_k(np.array([np.nan, np.nan, np.nan]), lesion, 2) == 0
    with pytest.raises(InputError, match="k of at least 1"):
        count_hits_at_k(np.zeros(3), lesion, 0)


def test_lesion_is_kept_when_one_of_its_tiles_is_read():
    boxes = np.array([[110, 10, 140, 40]])
    assert lesion_kept(np.array([0, 1, 0, 0, 0, 0], bool), TILES, boxes)
    assert not lesion_kept(np.array([1, 0, 1, 1, 1, 1], bool), TILES, boxes)


def test_false_tiles_count_each_tile_once_and_unread_ones_never():
    probs = [
        np.array([[0.9, 0.8], [0.5, 0.1], [np.nan, np.nan]]),
        np.array([[0.1, 0.1]]),
        np.full((4, 2), np.nan),
    ]
    result = count_false_tiles(probs, 0.5)
    assert (result.photos, result.mean, result.share) == (
        3,
        pytest.approx(2 / 3),
        pytest.approx(1 / 3),
    )
    assert count_false_tiles([], 0.5).to_dict() == {"photos": 0, "mean": None, "share": None}


def test_overlap_of_two_squares_by_hand():
    size = (15, 15)
    marked = draw_mask([[0, 0, 10, 10]], size).astype(float)
    result = measure_overlap(marked, draw_mask([[5, 5, 15, 15]], size), 0.5)
    assert result.iou == pytest.approx(1 / 7)
    assert result.precision == result.recall == pytest.approx(0.25)
    empty = measure_overlap(np.zeros(size), np.zeros(size, bool), 0.5)
    assert np.isnan(empty.iou)
    with pytest.raises(InputError, match="as large as its mask"):
        measure_overlap(np.zeros((2, 2)), np.zeros(size, bool), 0.5)


def test_coarse_map_spreads_to_the_photo_with_its_last_cells_cut():
    spread = spread_map(np.array([[0.1, 0.2], [0.3, 0.4]]), 4, (6, 7))
    assert spread.shape == (6, 7)
    assert spread[3, 3] == 0.1
    assert spread[5, 6] == 0.4
    assert (spread == 0.2).sum() == 12


def test_lesions_of_another_kind_are_refused():
    with pytest.raises(InputError, match="boxes"):
        pointing_hit((0, 0), np.zeros((5, 5), np.uint8) + 1)


@pytest.mark.real_photos
def test_real_lesion_masks_find_tiles_and_centres(real_data):
    from PIL import Image

    paths = sorted((real_data / "coffee" / "masks").glob("*.png"))[:6]
    found = 0
    for path in paths:
        colours = np.asarray(Image.open(path).convert("RGB"))
        mask = (colours == (255, 0, 0)).all(axis=2)
        if not mask.any():
            continue
        found += 1
        row, column = np.argwhere(mask)[len(np.argwhere(mask)) // 2]
        assert pointing_hit((float(column), float(row)), mask)
        height, width = mask.shape
        boxes = np.array(
            [
                [x, y, min(x + 384, width), min(y + 384, height)]
                for y in range(0, height, 384)
                for x in range(0, width, 384)
            ]
        )
        lesion = find_lesion_tiles(boxes, mask)
        assert lesion.any()
        for box, is_lesion in zip(boxes, lesion, strict=True):
            inside = mask[box[1] : box[3], box[0] : box[2]].sum()
            assert is_lesion == (inside >= min(64, mask.sum() / 2))
    assert found
