"""Bootstrap intervals: coverage, pairing, groups, seeds."""

import time

import numpy as np
import pytest

from leafscout.errors import InputError
from leafscout.evaluation.bootstrap import bootstrap, draw_weights, paired_difference
from leafscout.evaluation.comparison import compare_models, macro_average_precision
from leafscout.evaluation.metrics import evaluate_labels


def share_right(truth, decided, weights):
    return weights @ (truth == decided).mean(axis=1) / weights.sum(axis=1)


def test_every_resample_draws_as_many_photos_as_there_are():
    weights = np.concatenate(list(draw_weights(7, 50, seed=1)))
    assert weights.shape == (50, 7)
    assert (weights.sum(axis=1) == 7).all()


def test_photos_of_a_group_are_drawn_together():
    groups = np.array(["a", "a", "b", "c", "c"])
    weights = np.concatenate(list(draw_weights(5, 40, seed=0, groups=groups)))
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 4]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_interval_of_a_mean_has_the_width_of_theory():
    rng = np.random.default_rng(0)
    truth = np.ones((900, 1), bool)
    decided = rng.random((900, 1)) < 0.8
    result = bootstrap(share_right, truth, decided, resamples=4000)
    expected = 2 * 1.96 * np.sqrt(decided.mean() * (1 - decided.mean()) / 900)
    assert result.high - result.low == pytest.approx(expected, rel=0.08)
    assert result.value == pytest.approx(decided.mean())


def test_interval_covers_the_true_value_about_as_often_as_stated():
    rng = np.random.default_rng(1)
    truth = np.ones((100, 1), bool)
    covered = 0
    for seed in range(200):
        decided = rng.random((100, 1)) < 0.7
        result = bootstrap(share_right, truth, decided, resamples=400, seed=seed)
        covered += result.low <= 0.7 <= result.high
    assert 178 <= covered <= 200  # 190 expected; five binomial standard errors are 15


def test_pairing_makes_the_interval_of_a_difference_narrow():
    rng = np.random.default_rng(2)
    truth = rng.random((300, 2)) < 0.3
    a = np.clip(0.3 * truth + rng.random((300, 2)) * 0.7, 0, 1)
    b = np.clip(a - 0.02 * truth * rng.random((300, 2)), 0, 1)
    paired = paired_difference(macro_average_precision, truth, a, b, resamples=500)
    alone = bootstrap(macro_average_precision, truth, a, resamples=500)
    assert paired.high - paired.low < (alone.high - alone.low) / 3
    assert paired.value == pytest.approx(paired.value_a - paired.value_b)
    assert paired.low > 0
    assert paired.share_above_zero == 1


def test_model_does_not_differ_from_itself():
    rng = np.random.default_rng(3)
    truth = rng.random((50, 2)) < 0.5
    probs = rng.random((50, 2))
    half = np.full(2, 0.5)
    for difference in compare_models(truth, probs, half, probs, half, resamples=50).values():
        assert (difference.value, difference.low, difference.high) == (0, 0, 0)
        assert difference.share_above_zero == 0


def test_own_thresholds_count_for_decisions_only():
    rng = np.random.default_rng(4)
    truth = rng.random((80, 2)) < 0.4
    probs = np.clip(0.5 * truth + rng.random((80, 2)) * 0.5, 0, 1)
    result = compare_models(truth, probs, np.full(2, 0.5), probs, np.full(2, 0.9), resamples=50)
    assert result["macro_ap"].value == 0
    assert result["macro_f1"].value > 0.2


def test_same_seed_gives_the_same_interval():
    rng = np.random.default_rng(5)
    truth = rng.random((40, 2)) < 0.5
    probs = rng.random((40, 2))
    runs = [
        evaluate_labels(truth, probs, np.full(2, 0.5), "ab", resamples=60, seed=seed).to_dict()
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1]
    assert runs[0]["macro"]["ap"] != runs[2]["macro"]["ap"]


def test_thousand_resamples_of_400_photos_and_4_labels_take_seconds():
    rng = np.random.default_rng(6)
    truth = rng.random((400, 4)) < 0.3
    began = time.process_time()
    evaluate_labels(truth, rng.random((400, 4)), np.full(4, 0.5), "abcd", resamples=1000)
    assert time.process_time() - began < 6


def test_unlike_shapes_are_named():
    with pytest.raises(InputError, match="same shape"):
        paired_difference(
            macro_average_precision, np.ones((3, 1), bool), np.ones((3, 1)), np.ones((2, 1))
        )
