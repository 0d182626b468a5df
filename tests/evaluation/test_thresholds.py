"""Thresholds against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, fbeta_score

from leafscout.errors import InputError
from leafscout.evaluation.thresholds import (
    bagged_f1_thresholds,
    best_f1_thresholds,
    best_f_beta_thresholds,
    thresholds_for_recall,
)


def answers(seed, photos=40):
    rng = np.random.default_rng(seed)
    truth = rng.random((photos, 2)) < 0.3
    truth[0] = True
    return truth, np.round(np.clip(0.3 * truth + 0.7 * rng.random((photos, 2)), 0, 1), 2)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), beta=st.sampled_from([0.5, 1.0, 2.0]))
def test_no_threshold_of_a_dense_grid_is_better(seed, beta):
    truth, probs = answers(seed)
    fit = best_f_beta_thresholds(truth, probs, beta)
    for j, threshold in enumerate(fit.thresholds):
        found = probs[:, j, None] >= np.linspace(0, 1, 401)
        hits = (found & truth[:, j, None]).sum(axis=0)
        square = beta**2
        best = ((1 + square) * hits / (found.sum(axis=0) + square * truth[:, j].sum())).max()
        ours = fbeta_score(truth[:, j], probs[:, j] >= threshold, beta=beta)
        assert ours >= best - 1e-12


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), target=st.sampled_from([0.5, 0.9, 0.95, 1.0]))
def test_wanted_recall_is_reached_and_not_a_photo_more_is_found(seed, target):
    truth, probs = answers(seed)
    for j, threshold in enumerate(thresholds_for_recall(truth, probs, target).thresholds):
        found = probs[:, j] >= threshold
        assert found[truth[:, j]].mean() >= target - 1e-9
        weakest = probs[found, j].min()
        stricter = probs[:, j] > weakest
        assert stricter[truth[:, j]].mean() < target


def test_threshold_lies_midway_in_the_widest_of_equally_good_gaps():
    truth = np.array([[True], [True], [False], [False]])
    probs = np.array([[0.9], [0.8], [0.2], [0.1]])
    assert best_f1_thresholds(truth, probs).thresholds[0] == pytest.approx(0.5)


def test_label_without_positives_gets_one_half_and_is_reported():
    truth = np.array([[True, False], [False, False]])
    fit = best_f1_thresholds(truth, np.array([[0.9, 0.3], [0.1, 0.2]]))
    assert fit.fitted.tolist() == [True, False]
    assert fit.thresholds[1] == 0.5
    assert fit.to_dict() == {"thresholds": [0.5, 0.5], "fitted": [True, False]}


def test_neighbouring_32_bit_probabilities_stay_apart():
    low = np.float32(0.3)
    high = np.nextafter(low, np.float32(1))
    probs = np.array([[high], [low]], dtype=np.float32)
    threshold = best_f1_thresholds(np.array([[True], [False]]), probs).thresholds
    assert (probs >= threshold.astype(np.float32)).ravel().tolist() == [True, False]


def test_tuned_thresholds_beat_one_half_on_new_photos_on_average():
    gains = []
    for seed in range(20):
        truth, probs = answers(seed, photos=300)
        new_truth, new_probs = answers(seed + 500, photos=300)
        tuned = best_f1_thresholds(truth, probs).thresholds
        f1 = [
            f1_score(new_truth, new_probs >= t, average="macro", zero_division=0)
            for t in (tuned, np.full(2, 0.5))
        ]
        gains.append(f1[0] - f1[1])
    assert np.mean(gains) >= 0


@pytest.mark.parametrize("target", [0, -1, 1.1, float("nan")])
def test_impossible_recall_is_refused(target):
    with pytest.raises(InputError, match="above 0 and up to 1"):
        thresholds_for_recall(*answers(0), target)


def test_negative_beta_is_refused():
    with pytest.raises(InputError, match="beta above 0"):
        best_f_beta_thresholds(*answers(0), -1)


def test_bagged_thresholds_vary_less_from_sample_to_sample() -> None:
    rng = np.random.default_rng(0)
    plain, bagged = [], []
    for _ in range(12):
        truth = rng.random((60, 1)) < 0.3
        probs = 1 / (1 + np.exp(-(rng.normal(size=truth.shape) + np.where(truth, 1.2, -1.2))))
        plain.append(best_f1_thresholds(truth, probs).thresholds[0])
        bagged.append(bagged_f1_thresholds(truth, probs, resamples=40).thresholds[0])
    assert np.std(bagged) < 0.8 * np.std(plain)


def test_bagged_thresholds_are_the_mean_over_resamples() -> None:
    truth = np.array([[True], [True], [False], [False], [False]])
    probs = np.array([[0.9], [0.6], [0.5], [0.2], [0.1]])
    rng = np.random.default_rng(3)
    found = []
    for _ in range(7):
        drawn = rng.integers(0, 5, 5)
        if truth[drawn].any():
            found.append(best_f1_thresholds(truth[drawn], probs[drawn]).thresholds[0])
    fit = bagged_f1_thresholds(truth, probs, resamples=7, seed=3)
    assert fit.thresholds[0] == pytest.approx(np.mean(found), abs=1e-6)


def test_a_label_without_photos_keeps_its_default_when_bagged() -> None:
    fit = bagged_f1_thresholds(np.zeros((4, 1), bool), np.full((4, 1), 0.3), resamples=3)
    assert fit.thresholds[0] == 0.5
    assert not fit.fitted[0]
