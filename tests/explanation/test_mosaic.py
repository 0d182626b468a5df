"""Mosaics tell right from wrong without colour, and the glance is shown as it is."""

import numpy as np
import pytest

from leafscout.errors import InputError
from leafscout.explanation.lettering import BAD, GOOD
from leafscout.explanation.mosaic import (
    CELL_PX,
    GAP_PX,
    HEADING_PX,
    MosaicItem,
    draw_glance_comparison,
    draw_mosaic,
)
from leafscout.glance.view import take_glance
from leafscout.types import Photo

GREY = np.full((60, 80, 3), 127, np.uint8)


def frame_colour(picture: np.ndarray, column: int) -> tuple[int, ...]:
    return tuple(picture[GAP_PX + 1, GAP_PX + column * (CELL_PX + GAP_PX) + 1].tolist())


@pytest.mark.parametrize(
    ("truth", "predicted", "right"),
    [
        (("rust",), ("rust",), True),
        (("rust", "miner"), ("miner", "rust"), True),
        ((), (), True),
        (("healthy",), (), True),
        (("rust",), (), False),
        ((), ("rust",), False),
        (("rust", "miner"), ("rust",), False),
    ],
)
def test_the_frame_tells_whether_truth_and_answer_agree(truth, predicted, right):
    picture = draw_mosaic([MosaicItem(GREY, truth, predicted, (0.8,) * len(predicted))], columns=3)
    assert frame_colour(picture, 0) == (GOOD if right else BAD)


def test_signs_differ_without_colour():
    right = draw_mosaic([MosaicItem(GREY, ("rust",), ("rust",), ())], columns=1)
    wrong = draw_mosaic([MosaicItem(GREY, ("rust",), ("mold",), ())], columns=1)
    corner = (slice(-90, -30), slice(-80, -25))
    shapes = [(picture[corner].min(axis=2) < 150) for picture in (right, wrong)]
    assert shapes[0].any()
    assert (shapes[0] != shapes[1]).sum() > 100


def test_a_mosaic_has_rows_and_columns_and_takes_any_thumbnail():
    shapes = [(10, 300), (300, 10), (1, 1), (240, 240), (5, 5)]
    items = [MosaicItem(np.zeros((*shape, 3), np.uint8), (), (), ()) for shape in shapes]
    picture = draw_mosaic(items, columns=2)
    assert picture.shape[1] == GAP_PX + 2 * (CELL_PX + GAP_PX)
    one_row = draw_mosaic(items[:2], columns=2).shape[0]
    assert picture.shape[0] - GAP_PX == 3 * (one_row - GAP_PX)


def test_an_empty_mosaic_is_refused():
    with pytest.raises(InputError, match="at least one photo and one column"):
        draw_mosaic([], columns=3)
    with pytest.raises(InputError, match="got 1 photos and 0 columns"):
        draw_mosaic([MosaicItem(GREY, (), (), ())], columns=0)


def test_the_scouts_view_is_made_of_pixels_of_the_glance():
    rng = np.random.default_rng(0)
    photo = Photo(rng.integers(0, 256, (512, 1024, 3), dtype=np.uint8), "x.jpg")
    picture = draw_glance_comparison(photo, (500, 240, 532, 272), 1 / 8)
    glance = take_glance(photo, 128).pixels
    side = (picture.shape[1] - 3 * GAP_PX) // 2
    view = picture[HEADING_PX : HEADING_PX + side, GAP_PX : GAP_PX + side].reshape(-1, 3)
    known = {tuple(colour) for colour in glance.reshape(-1, 3).tolist()}
    shown, counts = np.unique(view, axis=0, return_counts=True)
    strange = sum(
        count for colour, count in zip(shown.tolist(), counts, strict=True)
        if tuple(colour) not in known
    )  # fmt: skip
    assert strange < 0.03 * len(view)  # the lesion's frame
    assert 100 < len(shown) < 200  # 96 px of the photo are 12 by 12 pixels of the glance
    expert = picture[HEADING_PX : HEADING_PX + side, 2 * GAP_PX + side :]
    assert len(np.unique(expert.reshape(-1, 3), axis=0)) > 5000


@pytest.mark.parametrize("box", [(0, 0, 4, 4), (1020, 500, 1024, 512), (0, 0, 1024, 512)])
def test_lesions_at_borders_and_as_large_as_the_photo_are_shown(box):
    photo = Photo(np.full((512, 1024, 3), 90, np.uint8), "x.jpg")
    assert draw_glance_comparison(photo, box, 0.1).shape[2] == 3


def test_a_lesion_outside_the_photo_is_refused():
    photo = Photo(np.full((64, 64, 3), 90, np.uint8), "x.jpg")
    with pytest.raises(InputError, match="a lesion inside the photo of 64×64 px"):
        draw_glance_comparison(photo, (70, 0, 90, 20), 0.5)
    with pytest.raises(InputError, match="up to 1"):
        draw_glance_comparison(photo, (0, 0, 9, 9), 1.5)
