"""One disease or none: probabilities that share what is not healthy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch.nn import functional as F

from leafscout.diagnosis.calibrate import (
    Calibration,
    fit_calibration,
    sigmoid,
    softmax_with_healthy,
)
from leafscout.diagnosis.decide import healthy_probability, reason_to_doubt

LABELS = ("rust", "scab", "blast")


def draw_photos(
    photos: int, scale: list[float], shift: list[float], seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Logits whose true probabilities are the softmax of scale·z + shift with healthy at 0."""
    rng = np.random.default_rng(seed)
    z = 1.5 * rng.standard_normal((photos, len(scale)))
    probs = softmax_with_healthy(np.array(scale) * z + np.array(shift))
    below = np.cumsum(probs, axis=1)
    drawn = (rng.random((photos, 1)) >= below).sum(axis=1)  # len(scale) means healthy
    return z.astype(np.float32), np.eye(len(scale) + 1, dtype=bool)[drawn][:, :-1]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), labels=st.integers(1, 5), spread=st.sampled_from([0.1, 3, 400]))
def test_it_is_torchs_softmax_and_never_overflows(seed: int, labels: int, spread: float) -> None:
    z = spread * np.random.default_rng(seed).standard_normal((4, labels))
    expected = F.softmax(torch.from_numpy(np.pad(z, ((0, 0), (1, 0)))), dim=1)[:, 1:]
    np.testing.assert_allclose(softmax_with_healthy(z), expected.numpy(), rtol=1e-9, atol=1e-300)


def test_one_label_has_a_sigmoid() -> None:
    z = np.linspace(-50, 50, 21)[:, None]
    np.testing.assert_allclose(softmax_with_healthy(z), sigmoid(z), rtol=1e-9, atol=1e-15)


def test_probabilities_of_the_labels_and_of_healthy_sum_to_one() -> None:
    logits, _ = draw_photos(50, [1.0, 1.0, 1.0], [0.0, 0.0, 0.0])
    probs = Calibration((0.5, 2.0, 1.0), (1.0, -1.0, 0.0), exclusive=True).apply(logits)
    for row in probs:
        total = row.sum() + healthy_probability(row, exclusive=True)
        assert total == pytest.approx(1.0, abs=1e-6)


def test_a_rival_takes_probability_away() -> None:
    alone, rivalled = np.array([2.0, -9.0], np.float32), np.array([2.0, 2.0], np.float32)
    together = Calibration((1.0, 1.0), (0.0, 0.0), exclusive=True)
    assert together.apply(rivalled)[0] < together.apply(alone)[0] - 0.3
    apart = Calibration((1.0, 1.0), (0.0, 0.0))
    assert apart.apply(rivalled)[0] == apart.apply(alone)[0]


def test_known_scales_and_shifts_are_recovered() -> None:
    scale, shift = [0.5, 2.0, 1.0], [1.0, -0.5, 0.0]
    fitted = fit_calibration(*draw_photos(20_000, scale, shift), exclusive=True)
    assert fitted.exclusive
    np.testing.assert_allclose(fitted.scale, scale, rtol=0.08)
    np.testing.assert_allclose(fitted.shift, shift, atol=0.08)


def test_with_one_label_it_is_the_fit_of_independent_labels() -> None:
    logits, truth = draw_photos(60, [0.7], [0.4])
    one, other = (fit_calibration(logits, truth, exclusive=flag) for flag in (True, False))
    np.testing.assert_allclose(one.scale, other.scale, rtol=1e-5)
    np.testing.assert_allclose(one.shift, other.shift, atol=1e-5)


def test_the_fit_is_the_minimum_that_a_general_optimiser_finds() -> None:
    logits, truth = draw_photos(40, [0.6, 1.5], [-0.5, 0.3], seed=2)
    z = logits.astype(np.float64)
    classes = np.concatenate([~truth.any(axis=1, keepdims=True), truth], axis=1)
    counts = classes.sum(axis=0)
    target = np.array([(counts[k] + 1) / (counts[k] + 3) for k in range(3)])
    others = np.array([1 / (counts[k] + 3) for k in range(3)])
    wanted = np.where(classes, target, (classes * others).sum(axis=1, keepdims=True))

    def loss(x: NDArray[np.float64]) -> float:
        u = np.concatenate([np.zeros((40, 1)), np.exp(x[:2]) * z + x[2:]], axis=1)
        log_probs = u - np.logaddexp.reduce(u, axis=1, keepdims=True)
        return float(-(wanted * log_probs).sum() + (x**2).sum())

    best = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-8})
    fitted = fit_calibration(logits, truth, exclusive=True)
    np.testing.assert_allclose(np.log(fitted.scale), best.x[:2], atol=1e-5)
    np.testing.assert_allclose(fitted.shift, best.x[2:], atol=1e-5)


@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("present", [0, 3])
def test_few_or_extreme_photos_give_finite_rules(spread: float, present: int) -> None:
    logits = (spread * np.random.default_rng(0).standard_normal((5, 3))).astype(np.float32)
    truth = np.zeros((5, 3), dtype=np.bool_)
    truth[np.arange(present), np.arange(present)] = True
    fitted = fit_calibration(logits, truth, exclusive=True)
    assert np.isfinite([*fitted.scale, *fitted.shift]).all()
    assert min(fitted.scale) > 0
    assert np.isfinite(fitted.apply(logits)).all()


def test_healthy_is_what_the_labels_leave() -> None:
    probs = np.array([0.5, 0.2, 0.1], np.float32)
    assert healthy_probability(probs, exclusive=True) == pytest.approx(0.2)
    assert healthy_probability(probs) == pytest.approx(0.5 * 0.8 * 0.9)
    assert healthy_probability(np.array([0.7, 0.3001, 0.0], np.float32), exclusive=True) == 0.0


def test_rivals_above_their_thresholds_are_a_reason_to_doubt() -> None:
    probs, thresholds = np.array([0.48, 0.02, 0.45], np.float32), np.full(3, 0.2, np.float32)
    reason = reason_to_doubt(LABELS, probs, thresholds, exclusive=True)
    assert reason == "several labels where one was expected: rust 0.48, blast 0.45"
    assert reason_to_doubt(LABELS, probs, thresholds) is None
    alone = np.array([0.9, 0.01, 0.01], np.float32)
    assert reason_to_doubt(LABELS, alone, thresholds, exclusive=True) is None
