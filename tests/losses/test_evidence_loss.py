"""The scout's loss does not fall for the empty map."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from leafscout.losses.evidence import evidence_loss


@pytest.mark.parametrize("target", [0.0, 0.02, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("weight", [1.0, 8.0])
def test_the_minimum_is_at_the_target(target: float, weight: float) -> None:
    def loss(logit: float) -> float:
        logits = torch.tensor([logit], dtype=torch.float64)
        return float(evidence_loss(logits, torch.tensor([target], dtype=torch.float64), weight))

    best = minimize_scalar(loss, bounds=(-15, 15), method="bounded").x
    assert 1 / (1 + math.exp(-best)) == pytest.approx(target, abs=1e-4)


def test_an_empty_map_is_not_nearly_as_good_as_the_right_one() -> None:
    # One lesion tile of 64: squared error calls the empty map nearly perfect (1/64).
    target = torch.zeros(64)
    target[10] = 1.0
    empty, right = torch.full((64,), -5.0), torch.where(target > 0, 5.0, -5.0)
    assert float(torch.mean((torch.sigmoid(empty) - target) ** 2)) < 0.016
    losses = [float(evidence_loss(logits, target, 8.0)) for logits in (empty, right)]
    assert losses[0] > 0.5
    assert losses[1] < 0.01


def test_the_empty_map_is_left_behind_by_gradient_steps() -> None:
    target = torch.zeros(64)
    target[10] = 1.0
    logits = torch.full((64,), -3.0, requires_grad=True)
    for _ in range(200):
        loss = evidence_loss(logits, target, 8.0)
        (gradient,) = torch.autograd.grad(loss, logits)
        logits = (logits - 5.0 * gradient).detach().requires_grad_()
    assert torch.sigmoid(logits[10]) > 0.9
    assert torch.sigmoid(logits[11]) < 0.05


def test_the_value_is_the_weighted_mean() -> None:
    rng = np.random.default_rng(0)
    z, t = rng.standard_normal(20), rng.random(20)
    p = 1 / (1 + np.exp(-z))
    w = 1 + 7 * t
    expected = np.average(-(t * np.log(p) + (1 - t) * np.log(1 - p)), weights=w)
    got = evidence_loss(torch.from_numpy(z), torch.from_numpy(t), 8.0)
    assert float(got) == pytest.approx(expected, rel=1e-10)
