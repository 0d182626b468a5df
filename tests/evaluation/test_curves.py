"""Curves against scikit-learn and brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from leafscout.evaluation.curves import confidence_curves, precision_recall_curve
from leafscout.evaluation.thresholds import best_f1_thresholds


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_precision_recall_curve_equals_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random(50) < 0.3
    truth[0] = True
    probs = np.round(rng.random(50), 1)
    curve = precision_recall_curve("rust", truth, probs)
    precision, recall, thresholds = oracle.precision_recall_curve(truth, probs)
    np.testing.assert_allclose(curve.thresholds, thresholds[::-1])
    np.testing.assert_allclose(curve.precision, precision[-2::-1], atol=1e-12)
    np.testing.assert_allclose(curve.recall, recall[-2::-1], atol=1e-12)
    assert curve.ap == pytest.approx(oracle.average_precision_score(truth, probs), abs=1e-12)


def test_thinned_curve_keeps_its_ends_and_its_ap():
    rng = np.random.default_rng(0)
    curve = precision_recall_curve("rust", rng.random(500) < 0.5, rng.random(500))
    thin = curve.thinned(20)
    assert len(thin.recall) == 20
    assert (thin.recall[-1], thin.thresholds[0]) == (1, curve.thresholds[0])
    assert thin.ap == curve.ap
    assert curve.thinned(500) is curve


def test_confidence_curves_equal_scikit_learn_at_each_threshold():
    rng = np.random.default_rng(1)
    truth = rng.random((40, 2)) < 0.4
    truth[:, 1] = False
    probs = rng.random((40, 2)) * 0.9
    (curve,) = confidence_curves(truth, probs, ("rust", "scab"), points=21)
    assert curve.label == "rust"
    for point, threshold in enumerate(curve.thresholds):
        found = probs[:, 0] >= threshold
        assert curve.f1[point] == pytest.approx(
            oracle.f1_score(truth[:, 0], found, zero_division=0)
        )
        assert curve.recall[point] == pytest.approx(oracle.recall_score(truth[:, 0], found))
        if found.any():
            expected = oracle.precision_score(truth[:, 0], found)
            assert curve.precision[point] == pytest.approx(expected)
        else:
            assert np.isnan(curve.precision[point])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_top_of_the_f1_curve_is_where_the_threshold_search_stops(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random((60, 1)) < 0.3
    truth[0] = True
    # Answers on the curve's own points, so that no better threshold lies between two of them.
    probs = rng.integers(0, 64, (60, 1)) / 64
    (curve,) = confidence_curves(truth, probs, ("rust",), points=65)
    (threshold,) = best_f1_thresholds(truth, probs).thresholds
    best = oracle.f1_score(truth[:, 0], probs[:, 0] >= threshold)
    assert np.nanmax(curve.f1) == pytest.approx(best)
    assert (np.diff(curve.recall) <= 0).all()
