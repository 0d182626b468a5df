"""Tiles off the grid hold whole lesions, do not repeat themselves, and stay in the photo."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.glance.peaks import place_tiles
from leafscout.photos.tiles import lay_tiles


def spot_map(rows: int, columns: int, spots: list[tuple[int, int]]) -> np.ndarray:
    scores = np.full((rows, columns), -6.0, np.float32)
    for row, column in spots:
        scores[row, column] = 3.0
    return scores


def test_a_lesion_that_the_grid_cuts_lies_whole_in_a_placed_tile() -> None:
    # Tiles of 64 px end at 64: a lesion on four cells of 16 px round that corner is quartered.
    scores = spot_map(8, 8, [(3, 3), (3, 4), (4, 3), (4, 4)])
    grid = lay_tiles((128, 128), 64).boxes_px_xyxy
    lesion = np.array([48, 48, 80, 80])
    assert not any((box[:2] <= lesion[:2]).all() and (box[2:] >= lesion[2:]).all() for box in grid)
    placed = place_tiles(scores, (128, 128), 64, max_tiles=3, threshold_logit=-2.0)
    assert len(placed.boxes_px_xyxy) == 1, "one tile is enough, and no second looks again"
    left, top, right, bottom = placed.boxes_px_xyxy[0]
    assert left <= 48
    assert top <= 48
    assert right >= 80
    assert bottom >= 80


def test_the_strongest_comes_first_and_the_cap_holds() -> None:
    scores = spot_map(6, 12, [(1, 1), (4, 6), (1, 10)])
    scores[4, 6] = 5.0
    placed = place_tiles(scores, (96, 192), 32, max_tiles=2)
    assert len(placed.logits) == 2
    left, top, right, bottom = placed.boxes_px_xyxy[0]
    assert left <= 96 < 112 <= right
    assert top <= 64 < 80 <= bottom
    assert placed.logits[0] >= placed.logits[1]


def test_nothing_above_the_threshold_places_no_tile() -> None:
    placed = place_tiles(spot_map(6, 8, []), (96, 128), 32, max_tiles=5, threshold_logit=0.0)
    assert placed.boxes_px_xyxy.shape == (0, 4)
    assert placed.logits.shape == (0,)


@settings(max_examples=30, deadline=None)
@given(st.integers(40, 300), st.integers(40, 300), st.integers(32, 96), st.integers(0, 1000))
def test_tiles_stay_inside_the_photo_and_differ(
    height: int, width: int, tile_px: int, seed: int
) -> None:
    scores = np.random.default_rng(seed).normal(0, 2, (5, 7)).astype(np.float32)
    boxes = place_tiles(scores, (height, width), tile_px, max_tiles=6).boxes_px_xyxy
    assert len(boxes) >= 1
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= width).all()
    assert (boxes[:, 3] <= height).all()
    sides = boxes[:, 2:] - boxes[:, :2]
    assert (sides == [min(tile_px, width), min(tile_px, height)]).all()
    assert len({tuple(box) for box in boxes.tolist()}) == len(boxes)


def test_scores_are_those_of_the_grid_where_a_tile_is_a_grid_tile() -> None:
    from leafscout.glance.places import pool_places

    scores = spot_map(4, 4, [(0, 0), (0, 1), (1, 0), (1, 1)])
    grid = lay_tiles((128, 128), 64)
    placed = place_tiles(scores, (128, 128), 64, max_tiles=1)
    assert tuple(placed.boxes_px_xyxy[0]) == (0, 0, 64, 64)
    np.testing.assert_allclose(placed.logits[0], pool_places(scores[None], grid)[0, 0], rtol=1e-6)
