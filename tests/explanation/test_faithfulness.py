"""Deletion and insertion: a true map loses the evidence early, and brings it back early."""

import numpy as np
import pytest

from leafscout.explanation.faithfulness import blur_away, measure_faithfulness

BOX = slice(8, 16), slice(20, 28)


def _photo() -> np.ndarray:
    pixels = np.full((32, 40, 3), 60, dtype=np.uint8)
    pixels[BOX] = 255
    return pixels


def _redness(photos: np.ndarray) -> np.ndarray:
    return photos[:, BOX[0], BOX[1], 0].mean(axis=(1, 2)) / 255.0


def _heat(*, right: bool) -> np.ndarray:
    heat = np.zeros((32, 40), dtype=np.float32)
    heat[BOX] = 1.0
    return heat if right else 1.0 - heat


def test_a_true_map_beats_a_false_one() -> None:
    true = measure_faithfulness(_redness, _photo(), _heat(right=True))
    false = measure_faithfulness(_redness, _photo(), _heat(right=False))
    assert true.deletion_area < false.deletion_area - 0.1
    assert true.insertion_area > false.insertion_area + 0.1


def test_the_curves_go_from_the_whole_photo_to_the_empty_one_and_back() -> None:
    curve = measure_faithfulness(_redness, _photo(), _heat(right=True), steps=7, at_once=3)
    whole, empty = _redness(_photo()[None])[0], _redness(blur_away(_photo())[None])[0]
    assert curve.deletion[[0, -1]].tolist() == pytest.approx([whole, empty])
    assert curve.insertion[[0, -1]].tolist() == pytest.approx([empty, whole])
    assert curve.changed_share.tolist() == pytest.approx(np.linspace(0, 1, 8).tolist())


def test_areas_are_the_mean_heights() -> None:
    curve = measure_faithfulness(_redness, _photo(), _heat(right=True), steps=4)
    by_hand = np.mean((curve.deletion[1:] + curve.deletion[:-1]) / 2)
    assert curve.deletion_area == pytest.approx(float(by_hand))


def test_a_coarse_map_is_laid_over_the_photo() -> None:
    coarse = np.array([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]], dtype=np.float32)
    curve = measure_faithfulness(_redness, _photo(), coarse)
    assert np.isfinite(curve.deletion).all()


def test_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 step"):
        measure_faithfulness(_redness, _photo(), _heat(right=True), steps=0)
