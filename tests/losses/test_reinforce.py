"""REINFORCE against enumeration: the right gradient on average, and less noise with a baseline."""

import itertools
import math

import pytest
import torch

from leafscout.losses.reinforce import (
    draw_tiles,
    leave_one_out_baselines,
    log_prob_of_draws,
    reinforce_loss,
)

SCORES = torch.tensor([0.3, -0.7, 1.1, 0.2], dtype=torch.float64)
ORDERS = torch.tensor(list(itertools.permutations(range(4), 2)))


def reward_of(orders: torch.Tensor) -> torch.Tensor:
    """Tile 1 holds the lesion; all rewards lie near 5, as a loss far from zero would."""
    return 5.0 + (orders == 1).any(dim=1).double() + 0.1 * orders[:, 0].double()


def exact_gradient() -> torch.Tensor:
    scores = SCORES.clone().requires_grad_()
    expected = (torch.exp(log_prob_of_draws(scores, ORDERS)) * reward_of(ORDERS)).sum()
    (gradient,) = torch.autograd.grad(expected, scores)
    return gradient


def estimates(baseline: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(orders, tiles) the estimate of each possible draw, and (orders,) its probability."""
    scores = SCORES.clone().requires_grad_()
    rows = []
    for order in ORDERS:
        loss = reinforce_loss(
            log_prob_of_draws(scores, order[None]),
            reward_of(order[None]),
            torch.tensor([baseline], dtype=torch.float64),
        )
        rows.append(-torch.autograd.grad(loss, scores)[0])
    return torch.stack(rows), torch.exp(log_prob_of_draws(SCORES, ORDERS))


def test_probabilities_of_all_draws_sum_to_one_and_are_plackett_luces() -> None:
    probs = torch.exp(log_prob_of_draws(SCORES, ORDERS))
    assert float(probs.sum()) == pytest.approx(1.0, abs=1e-12)
    weight = torch.exp(SCORES)
    first, second = 2, 0
    expected = weight[first] / weight.sum() * weight[second] / (weight.sum() - weight[first])
    at = ORDERS.tolist().index([first, second])
    assert float(probs[at]) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("baseline", [0.0, 5.0, 5.4, -3.0])
def test_the_estimate_is_unbiased_whatever_the_baseline(baseline: float) -> None:
    rows, probs = estimates(baseline)
    torch.testing.assert_close(probs @ rows, exact_gradient(), rtol=1e-10, atol=1e-12)


def test_a_baseline_near_the_mean_reward_takes_most_of_the_noise_away() -> None:
    def variance(baseline: float) -> float:
        rows, probs = estimates(baseline)
        return float((probs[:, None] * (rows - exact_gradient()) ** 2).sum())

    probs = torch.exp(log_prob_of_draws(SCORES, ORDERS))
    mean = float(probs @ reward_of(ORDERS))
    assert variance(mean) < 0.05 * variance(0.0)


def test_leaving_one_out_keeps_the_estimate_unbiased() -> None:
    """Over all pairs of independent draws, each the other's baseline."""
    probs = torch.exp(log_prob_of_draws(SCORES, ORDERS))
    total = torch.zeros(4, dtype=torch.float64)
    for (i, one), (j, other) in itertools.product(enumerate(ORDERS), enumerate(ORDERS)):
        scores = SCORES.clone().requires_grad_()
        both = torch.stack([one, other])
        rewards = reward_of(both)
        baselines = leave_one_out_baselines(rewards)
        torch.testing.assert_close(baselines, rewards.flip(0))
        loss = reinforce_loss(log_prob_of_draws(scores, both), rewards, baselines)
        total += probs[i] * probs[j] * -torch.autograd.grad(loss, scores)[0]
    torch.testing.assert_close(total, exact_gradient(), rtol=1e-9, atol=1e-12)


def test_draws_follow_the_scores() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = draw_tiles(SCORES, 2, 4000, generator)
    assert all(len(set(row)) == 2 for row in drawn.tolist())
    counts = torch.stack([(drawn == order).all(dim=1).sum() for order in ORDERS]).double() / 4000
    probs = torch.exp(log_prob_of_draws(SCORES, ORDERS))
    error = (counts - probs).abs()
    assert float(error.max()) < 4 * math.sqrt(0.25 / 4000)


def test_one_draw_has_no_other_to_compare_with() -> None:
    assert leave_one_out_baselines(torch.tensor([3.0])).tolist() == [0.0]
    generator = torch.Generator().manual_seed(0)
    assert sorted(draw_tiles(SCORES, 9, 1, generator)[0].tolist()) == [0, 1, 2, 3]
