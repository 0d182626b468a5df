"""Calibration against brute force and against itself."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from leafscout.errors import InputError
from leafscout.evaluation.calibration import measure_calibration


def test_bins_and_error_equal_brute_force():
    rng = np.random.default_rng(0)
    probs = rng.random(100)
    truth = rng.random(100) < probs
    result = measure_calibration("rust", truth, probs, bins=5, draws=10)
    order = np.argsort(probs)
    expected = 0.0
    for part, ours in zip(np.array_split(order, 5), result.bins, strict=True):
        assert (ours.photos, ours.mean_prob) == (20, pytest.approx(probs[part].mean()))
        assert ours.share == pytest.approx(truth[part].mean())
        expected += 0.2 * abs(probs[part].mean() - truth[part].mean())
    assert result.ece == pytest.approx(expected, abs=1e-12)
    assert result.brier == pytest.approx(brier_score_loss(truth, probs))


def test_calibrated_probabilities_score_what_chance_predicts():
    rng = np.random.default_rng(1)
    eces, predicted = [], []
    for seed in range(40):
        probs = rng.random(200)
        truth = rng.random(200) < probs
        result = measure_calibration("rust", truth, probs, draws=100, seed=seed)
        eces.append(result.ece)
        predicted.append(result.ece_if_perfect)
    assert np.mean(eces) == pytest.approx(np.mean(predicted), rel=0.12)
    assert np.mean(eces) > 0.03  # perfect, and still not zero


def test_overconfident_probabilities_exceed_chance():
    rng = np.random.default_rng(2)
    truth = rng.random(400) < 0.5
    result = measure_calibration("rust", truth, np.where(rng.random(400) < 0.5, 0.05, 0.95))
    assert result.ece > 0.4 > result.ece_if_perfect_high


def test_equal_probabilities_are_never_torn_apart():
    probs = np.array([0.0] * 70 + [0.3] * 5 + [0.9] * 25)
    truth = np.zeros(100, bool)
    sizes = [part.photos for part in measure_calibration("rust", truth, probs, draws=5).bins]
    assert sizes == [70, 30] or sizes == [70, 5, 25]
    shuffled = np.random.default_rng(0).permutation(100)
    mixed = truth.copy()
    mixed[::3] = True
    a = measure_calibration("rust", mixed, probs, draws=5)
    b = measure_calibration("rust", mixed[shuffled], probs[shuffled], draws=5)
    assert a.bins == b.bins


def test_single_photo_and_too_few_bins():
    result = measure_calibration("rust", np.array([True]), np.array([0.8]), draws=5)
    assert result.ece == pytest.approx(0.2)
    with pytest.raises(InputError, match="at least one bin"):
        measure_calibration("rust", np.array([True]), np.array([0.8]), bins=0)
