"""Thresholds for a wanted precision and for costs, against trying every one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.errors import InputError
from leafscout.evaluation.thresholds import (
    best_f_beta_thresholds,
    thresholds_for_cost,
    thresholds_for_precision,
)


def _answers(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probs = np.round(rng.random((30, 2)), 2)
    truth = rng.random((30, 2)) < probs
    truth[0] = True
    return truth, probs


def _figures(truth: np.ndarray, probs: np.ndarray, threshold: float) -> tuple[float, int]:
    found = probs >= threshold
    right = float(truth[found].mean()) if found.any() else 1.0
    return right, int((truth & found).sum())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), target=st.floats(0.05, 1.0))
def test_the_wanted_precision_is_reached_with_the_most_finds(seed: int, target: float) -> None:
    truth, probs = _answers(seed)
    fit = thresholds_for_precision(truth, probs, target)
    for label, threshold in enumerate(fit.thresholds):
        own, p = truth[:, label], probs[:, label]
        tries = [_figures(own, p, one) for one in np.unique(p)]
        reachable = [hits for right, hits in tries if right >= target - 1e-9]
        right, hits = _figures(own, p, float(threshold))
        if reachable:
            assert right >= target - 1e-6
            assert hits == max(reachable)
        else:
            assert right == pytest.approx(max(right for right, _ in tries))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), missed=st.floats(0.1, 20.0), false_alarm=st.floats(0.1, 20.0))
def test_no_other_threshold_is_cheaper(seed: int, missed: float, false_alarm: float) -> None:
    truth, probs = _answers(seed)
    fit = thresholds_for_cost(truth, probs, missed=missed, false_alarm=false_alarm)

    def cost(label: int, threshold: float) -> float:
        found = probs[:, label] >= threshold
        own = truth[:, label]
        return missed * float((own & ~found).sum()) + false_alarm * float((found & ~own).sum())

    for label, threshold in enumerate(fit.thresholds):
        cheapest = min(cost(label, one) for one in [*np.unique(probs[:, label]), 2.0])
        if probs[:, label].max() < 1.0:
            assert cost(label, float(threshold)) == pytest.approx(cheapest)


def test_what_is_dear_to_miss_gets_a_lower_threshold() -> None:
    truth, probs = _answers(1)
    careful = thresholds_for_cost(truth, probs, missed=10, false_alarm=1).thresholds
    strict = thresholds_for_cost(truth, probs, missed=1, false_alarm=10).thresholds
    assert (careful <= strict).all()
    assert (careful < strict).any()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999))
def test_f2_finds_at_least_as_much_as_f1_and_half_as_little(seed: int) -> None:
    truth, probs = _answers(seed)
    found = [
        (truth & (probs >= best_f_beta_thresholds(truth, probs, beta).thresholds)).sum(axis=0)
        for beta in (0.5, 1.0, 2.0)
    ]
    assert (found[0] <= found[1]).all()
    assert (found[1] <= found[2]).all()


def test_a_label_that_is_never_seen_is_not_fitted() -> None:
    truth, probs = np.zeros((4, 1), dtype=bool), np.full((4, 1), 0.3)
    for fit in (
        thresholds_for_precision(truth, probs, 0.9),
        thresholds_for_cost(truth, probs, missed=1, false_alarm=1),
    ):
        assert fit.thresholds.tolist() == [0.5]
        assert not fit.fitted.any()


def test_impossible_wishes_are_refused() -> None:
    truth, probs = _answers(0)
    with pytest.raises(InputError, match="wanted precision"):
        thresholds_for_precision(truth, probs, 0.0)
    with pytest.raises(InputError, match="costs"):
        thresholds_for_cost(truth, probs, missed=-1, false_alarm=1)
