"""Is a photo like those that were learnt from? Against closed forms, scipy, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import t as student

from leafscout.glance.familiarity import (
    FEATURES,
    Familiarity,
    _student_quantile,
    describe_view,
    fit_familiarity,
)
from leafscout.types import Pixels

SIDES = st.integers(32, 90)


def draw(seed: int, height: int = 64, width: int = 96) -> Pixels:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    smooth = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return (smooth // 2 + rng.integers(0, 100, smooth.shape)).astype(np.uint8)


def fit(photos: int = 200, validation: int = 99, seed: int = 0) -> Familiarity:
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((FEATURES, FEATURES))
    rows = rng.standard_normal((photos + validation, FEATURES)) @ mix + 3
    found = fit_familiarity(rows[:photos], rows[photos:], np.array([0.3, 0.1]), view_px=96)
    assert found is not None
    return found


@settings(max_examples=20, deadline=None)
@given(SIDES, SIDES, st.sampled_from([0, 90, 255]))
def test_every_view_has_features_that_are_numbers(height: int, width: int, grey: int) -> None:
    for view in (np.full((height, width, 3), grey, np.uint8), draw(1, height, width)):
        features = describe_view(view, 96)
        assert features.shape == (FEATURES,)
        assert np.isfinite(features).all()


def test_features_say_what_they_are_meant_to() -> None:
    plain = describe_view(np.full((64, 64, 3), (40, 200, 40), np.uint8), 64)
    quantiles = plain[15:35].reshape(4, 5)
    np.testing.assert_allclose(quantiles[:, 0], [0.5252, 0.6275, 0.6275, 0], atol=1e-3)
    assert (quantiles == quantiles[:, :1]).all()
    np.testing.assert_allclose(plain[-6:], 0, atol=1e-12)
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    along, across = describe_view(stripes, 64), describe_view(stripes.transpose(1, 0, 2), 64)
    assert along[0] == pytest.approx(np.log(255 / 2 + 0.05), abs=1e-3)
    assert along[2] == pytest.approx(-across[2])
    assert along[2] > 5
    # Rare large steps, as between windows, against small ones everywhere.
    edge = np.zeros((64, 64, 3), np.uint8)
    edge[:, 32:] = 255
    assert describe_view(edge, 64)[1] > describe_view(draw(0, 64, 64), 64)[1] + 2


def test_a_larger_view_is_described_as_a_small_one_is() -> None:
    small = draw(3)
    large = np.array(Image.fromarray(small).resize((384, 256), Image.Resampling.NEAREST))
    np.testing.assert_allclose(describe_view(large, 96), describe_view(small, 96), atol=0.02)


def test_distance_is_that_of_mahalanobis() -> None:
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((20_000, FEATURES)) * rng.uniform(0.5, 2, FEATURES)
    found = fit_familiarity(rows, rows[:100], np.array([0.5]), view_px=96)
    assert found is not None
    probe = rng.standard_normal(FEATURES)
    away = probe - rows.mean(axis=0)
    exact = float(np.sqrt(away @ np.linalg.inv(np.cov(rows.T)) @ away))
    assert found.measure_features(probe) == pytest.approx(exact, rel=0.03)


@pytest.mark.parametrize("validation", [12, 30, 99])
def test_the_limit_keeps_the_share_of_false_alarms(validation: int) -> None:
    rng = np.random.default_rng(2)
    alarms = []
    for seed in range(20):
        found = fit(150, validation, seed)
        mix = np.random.default_rng(seed).standard_normal((FEATURES, FEATURES))
        others = rng.standard_normal((100, FEATURES)) @ mix + 3
        alarms += [found.measure_features(row) > found.limit for row in others]
    # Few validation photos make the limit careful, never careless.
    assert float(np.mean(alarms)) <= 0.035
    if validation == 99:
        assert float(np.mean(alarms)) >= 0.008


@pytest.mark.parametrize("freedom", [4, 9, 30, 47])
def test_quantiles_are_those_of_student(freedom: int) -> None:
    for prob in (0.9, 0.98):
        assert _student_quantile(prob, freedom) == pytest.approx(
            float(student.ppf(prob, freedom)), rel=0.01
        )


def test_probabilities_are_drawn_to_the_prior_the_stranger_a_photo_is() -> None:
    found, sure = fit(), np.array([0.999, 0.001], np.float32)
    assert found.draw_to_prior(sure, 0.99) is sure
    drawn = [found.draw_to_prior(sure, strangeness) for strangeness in (1.0, 1.5, 3.0, 1e6)]
    gaps = [np.abs(one - found.prior).max() for one in drawn]
    assert gaps == sorted(gaps, reverse=True)
    np.testing.assert_allclose(drawn[-1], found.prior, atol=1e-5)
    odds = np.log(sure / (1 - sure)) / 4 + 0.75 * np.log([3 / 7, 1 / 9])
    np.testing.assert_allclose(found.draw_to_prior(sure, 2.0), 1 / (1 + np.exp(-odds)), rtol=1e-4)
    assert drawn[1].dtype == np.float32


def test_nothing_strange_is_certain() -> None:
    found = fit()
    for probs in ([1.0, 1.0], [0.0, 1.0], [0.9999, 0.0]):
        drawn = found.draw_to_prior(np.array(probs, np.float32), 1.0001)
        assert 0 <= drawn.min() <= drawn.max() <= 0.98


def test_labels_that_exclude_each_other_still_do() -> None:
    found = fit()
    probs = np.array([0.7, 0.29], np.float32)
    for strangeness in (1.2, 2.0, 50.0):
        drawn = found.draw_to_prior(probs, strangeness, exclusive=True)
        pooled = np.array([0.01, 0.7, 0.29]) ** (strangeness**-2)
        pooled *= np.array([0.6, 0.3, 0.1]) ** (1 - strangeness**-2)
        np.testing.assert_allclose(drawn, (pooled / pooled.sum())[1:], rtol=1e-4)


def rows(count: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).standard_normal((count, FEATURES))


def test_with_next_to_no_photos_nothing_is_learnt() -> None:
    assert fit_familiarity(rows(2), rows(9), np.array([0.5]), view_px=64) is None
    assert fit_familiarity(rows(9), rows(2), np.array([0.5]), view_px=64) is None
    few = fit_familiarity(rows(3), rows(3), np.array([0.5]), view_px=64)
    assert few is not None
    assert np.isfinite(few.precision).all()
    assert few.limit > 0


def test_photos_that_are_all_the_same_make_no_division_by_zero() -> None:
    same = np.repeat(rows(1), 60, axis=0)
    found = fit_familiarity(same, same, np.array([0.5]), view_px=64)
    assert found is not None
    assert np.isfinite(found.measure_features(rows(1)[0]))
    assert found.measure_features(rows(2)[1]) > found.limit > 0
