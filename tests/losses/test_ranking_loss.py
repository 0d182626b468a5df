"""Ranking within a photo: order is judged, and a photo with nothing in it has no say."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.losses.ranking import RANKING_LOSSES, listwise_ranking_loss, pairwise_ranking_loss

TARGETS = torch.tensor([0.9, 0.0, 0.4, 0.0], dtype=torch.float64)
RIGHT = torch.tensor([3.0, -3.0, 1.0, -3.0], dtype=torch.float64)


def test_pairs_are_weighed_by_how_much_their_targets_differ() -> None:
    rng = np.random.default_rng(0)
    scores, targets = rng.normal(size=6), rng.random(6)
    pairs = [(i, j) for i, j in itertools.permutations(range(6), 2) if targets[i] > targets[j]]
    weights = [targets[i] - targets[j] for i, j in pairs]
    wrong = [math.log1p(math.exp(scores[j] - scores[i])) for i, j in pairs]
    expected = np.average(wrong, weights=weights) * max(weights)
    got = pairwise_ranking_loss(torch.from_numpy(scores), torch.from_numpy(targets))
    assert float(got) == pytest.approx(expected, rel=1e-9)


def test_shares_are_compared_by_their_cross_entropy() -> None:
    rng = np.random.default_rng(1)
    scores, targets = rng.normal(size=6), rng.random(6)
    said = np.exp(scores) / np.exp(scores).sum()
    expected = -(targets / targets.sum() * np.log(said)).sum() * targets.max()
    got = listwise_ranking_loss(torch.from_numpy(scores), torch.from_numpy(targets))
    assert float(got) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", RANKING_LOSSES)
def test_the_right_order_costs_less_and_all_lesions_are_pushed_up(name: str) -> None:
    loss = RANKING_LOSSES[name]
    assert float(loss(RIGHT, TARGETS)) < float(loss(torch.zeros(4).double(), TARGETS))
    assert float(loss(torch.zeros(4).double(), TARGETS)) < float(loss(-RIGHT, TARGETS))
    scores = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    loss(scores, TARGETS).backward()
    assert scores.grad is not None
    assert scores.grad[0] < scores.grad[2] < scores.grad[1]
    assert scores.grad[0] < 0 < scores.grad[1]


@pytest.mark.parametrize("name", RANKING_LOSSES)
def test_a_photo_with_nothing_in_it_has_no_say(name: str) -> None:
    scores = torch.randn(5, requires_grad=True)
    loss = RANKING_LOSSES[name](scores, torch.zeros(5))
    loss.backward()
    assert float(loss) == 0.0
    assert scores.grad is not None
    assert not scores.grad.any()


@settings(max_examples=20, deadline=None)
@given(st.floats(-5, 5), st.integers(0, 100))
def test_only_differences_count_so_it_cannot_stand_alone(shift: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(7, generator=generator, dtype=torch.float64)
    targets = torch.rand(7, generator=generator, dtype=torch.float64)
    for loss in RANKING_LOSSES.values():
        assert float(loss(scores + shift, targets)) == pytest.approx(float(loss(scores, targets)))
