"""Calibration: it recovers what was done to the logits, keeps their order and never overflows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize

from leafscout.diagnosis.calibrate import Calibration, fit_calibration, sigmoid


def draw_photos(
    photos: int, scale: float, shift: float, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Logits z whose true probability is sigmoid(scale·z + shift)."""
    rng = np.random.default_rng(seed)
    z = 2 * rng.standard_normal((photos, 1))
    truth = rng.random((photos, 1)) < 1 / (1 + np.exp(-(scale * z + shift)))
    return z.astype(np.float32), truth


def test_sigmoid_does_not_overflow_and_is_exact() -> None:
    z = np.array([-1e4, -745.0, -2.0, 0.0, 2.0, 745.0, 1e4])
    got = sigmoid(z)
    assert (got[[0, 1]] == 0).all()
    assert (got[[5, 6]] == 1).all()
    np.testing.assert_allclose(got[2:5], [0.11920292202211755, 0.5, 0.8807970779778823], rtol=1e-14)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.4, 1.0), (2.5, -1.5)])
def test_known_scale_and_shift_are_recovered(scale: float, shift: float) -> None:
    fitted = fit_calibration(*draw_photos(20_000, scale, shift))
    assert fitted.scale[0] == pytest.approx(scale, rel=0.06)
    assert fitted.shift[0] == pytest.approx(shift, abs=0.08)


@pytest.mark.parametrize("photos", [4, 30, 400])
def test_the_fit_is_the_minimum_that_a_general_optimiser_finds(photos: int) -> None:
    logits, truth = draw_photos(photos, 0.6, -0.7, seed=3)
    z, y = logits[:, 0].astype(np.float64), truth[:, 0]
    target = np.where(y, (y.sum() + 1) / (y.sum() + 2), 1 / ((~y).sum() + 2))

    def loss(x: NDArray[np.float64]) -> float:
        u = np.exp(x[0]) * z + x[1]
        return float((np.logaddexp(0, u) - target * u).sum() + (x**2).sum())

    best = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 0})
    fitted = fit_calibration(logits, truth)
    assert np.log(fitted.scale[0]) == pytest.approx(best.x[0], abs=1e-5)
    assert fitted.shift[0] == pytest.approx(best.x[1], abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    photos=st.integers(1, 40),
    spread=st.sampled_from([1e-3, 1.0, 30.0, 1e3]),
    prevalence=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
def test_order_is_kept_and_nothing_overflows(
    seed: int, photos: int, spread: float, prevalence: float
) -> None:
    rng = np.random.default_rng(seed)
    logits = (spread * rng.standard_normal((photos, 2))).astype(np.float32)
    truth = rng.random((photos, 2)) < prevalence
    fitted = fit_calibration(logits, truth)
    assert min(fitted.scale) > 0
    assert np.isfinite([*fitted.scale, *fitted.shift]).all()
    probs = fitted.apply(logits)
    assert ((probs >= 0) & (probs <= 1)).all()
    for label in range(2):
        assert (np.diff(probs[np.argsort(logits[:, label]), label]) >= 0).all()


def test_no_photos_leave_the_logits_as_they_are() -> None:
    fitted = fit_calibration(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.bool_))
    assert fitted == Calibration((1.0, 1.0), (0.0, 0.0))


def test_few_photos_move_the_logits_little() -> None:
    logits = np.array([[3.0], [-3.0], [-2.0]], np.float32)
    fitted = fit_calibration(logits, np.array([[True], [False], [False]]))
    assert 0.5 < fitted.scale[0] < 1.2
    assert abs(fitted.shift[0]) < 0.3


def test_a_separable_label_stays_less_than_certain() -> None:
    logits = np.concatenate([np.full((50, 1), 4.0), np.full((50, 1), -4.0)]).astype(np.float32)
    truth = logits > 0
    probs = fit_calibration(logits, truth).apply(logits)
    assert 0.9 < probs.max() < 0.999
