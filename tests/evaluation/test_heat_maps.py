"""Heat maps against masks and against each other, by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.errors import InputError
from leafscout.evaluation.heat_maps import (
    compare_with_lesions,
    heat_share,
    hot_area,
    mean_agreement,
    overlap_of_labels,
)


def _mask() -> np.ndarray:
    mask = np.zeros((4, 4), dtype=bool)
    mask[0, :2] = True
    return mask


def test_heat_is_counted_where_the_mask_is() -> None:
    heat = np.zeros((4, 4))
    heat[0, 0], heat[3, 3] = 3.0, 1.0
    assert heat_share(heat, _mask()) == 0.75
    assert heat_share(np.ones((4, 4)), _mask()) == 2 / 16


def test_agreement_by_hand() -> None:
    heat = np.zeros((4, 4))
    heat[0, 0], heat[0, 1], heat[1, 0] = 1.0, 0.4, 0.6
    found = compare_with_lesions(heat, _mask())
    assert found.on_lesion == pytest.approx(0.7)
    assert found.area_ratio == 1.0
    assert found.iou == pytest.approx(1 / 3)
    assert found.points_at_lesion
    assert found.lesion_share == 2 / 16


def test_no_heat_is_nowhere() -> None:
    found = compare_with_lesions(np.zeros((4, 4)), _mask())
    assert np.isnan(found.on_lesion)
    assert not found.points_at_lesion
    assert found.iou == 0.0
    assert not hot_area(np.zeros((4, 4))).any()


def test_means_leave_out_what_is_undefined() -> None:
    some = [
        compare_with_lesions(np.zeros((4, 4)), _mask()),
        compare_with_lesions(_mask().astype(float), _mask()),
    ]
    found = mean_agreement(some)
    assert found["on_lesion"] == 1.0
    assert found["pointing"] == 0.5
    assert found["photos"] == 2.0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), scale=st.floats(0.1, 10))
def test_overlap_is_even_handed_and_blind_to_scale(seed: int, scale: float) -> None:
    maps = np.random.default_rng(seed).random((3, 5, 6))
    found = overlap_of_labels(maps)
    assert np.allclose(found, found.T)
    assert np.allclose(np.diag(found), 1.0)
    assert ((found >= 0) & (found <= 1 + 1e-12)).all()
    maps[1] *= scale
    assert np.allclose(overlap_of_labels(maps), found)


def test_maps_apart_do_not_overlap() -> None:
    maps = np.zeros((3, 2, 2))
    maps[0, 0, 0] = maps[1, 1, 1] = 1.0
    found = overlap_of_labels(maps)
    assert found[0, 1] == 0.0
    assert np.isnan(found[2]).all()


def test_other_shapes_and_cold_below_0_are_refused() -> None:
    with pytest.raises(InputError, match="as large as its mask"):
        heat_share(np.ones((2, 2)), _mask())
    with pytest.raises(InputError, match="heat from 0"):
        compare_with_lesions(-np.ones((4, 4)), _mask())
    with pytest.raises(InputError, match="heat from 0"):
        overlap_of_labels(-np.ones((1, 4, 4)))
