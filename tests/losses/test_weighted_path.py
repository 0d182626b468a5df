"""The hard choice hands no gradient to the scout; the score-weighted paths do."""

import numpy as np
import pytest
import torch

from leafscout.losses.bag import bag_loss
from leafscout.losses.weighted_path import PATHS, weigh_by_sigmoid, weigh_by_softmax

EVIDENCE = torch.tensor([[4.0, -5.0], [-4.0, -5.0], [-3.0, -6.0], [-5.0, -4.0]])
ILL, HEALTHY = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]])


def photo_loss(bag: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return bag_loss(bag[None], truth, torch.ones(2))


def test_no_gradient_comes_back_through_the_hard_choice() -> None:
    scores = torch.tensor([0.1, 0.3, 0.2, 0.4], requires_grad=True)
    evidence = EVIDENCE.clone().requires_grad_()
    chosen = scores.topk(2).indices
    photo_loss(evidence[chosen].amax(dim=0), ILL).backward()
    assert scores.grad is None
    assert evidence.grad is not None, "the expert does learn from it"


@pytest.mark.parametrize("name", PATHS)
def test_the_tile_that_helps_is_raised_and_the_one_that_misleads_lowered(name: str) -> None:
    scores = torch.zeros(4, requires_grad=True)
    photo_loss(PATHS[name](EVIDENCE, scores), ILL).backward()
    assert scores.grad is not None
    assert scores.grad[0] < 0, "more of the lesion tile means less loss"
    if name == "softmax":
        assert (scores.grad[1:] > 0).all(), "and less of the green ones"
    scores = torch.zeros(4, requires_grad=True)
    photo_loss(PATHS[name](EVIDENCE, scores), HEALTHY).backward()
    assert scores.grad is not None
    assert scores.grad[0] > 0, "on a healthy photo the false alarm is lowered"


def test_equal_scores_give_the_mean() -> None:
    torch.testing.assert_close(weigh_by_softmax(EVIDENCE, torch.full((4,), 7.0)), EVIDENCE.mean(0))


def test_the_noisy_or_is_that_of_looking_and_finding() -> None:
    rng = np.random.default_rng(0)
    evidence, scores = rng.normal(0, 2, (5, 2)), rng.normal(0, 2, 5)
    seen = 1 / (1 + np.exp(-scores))[:, None] / (1 + np.exp(-evidence))
    prob = 1 - (1 - seen).prod(axis=0) * (1 - 1 / (1 + np.exp(4.0)))
    got = weigh_by_sigmoid(torch.from_numpy(evidence), torch.from_numpy(scores))
    np.testing.assert_allclose(torch.sigmoid(got), prob, rtol=1e-9)


def test_where_nobody_looks_nothing_is_found() -> None:
    bag = weigh_by_sigmoid(EVIDENCE.double(), torch.full((4,), -60.0, dtype=torch.float64))
    torch.testing.assert_close(bag, torch.full((2,), -4.0, dtype=torch.float64))
    loud = weigh_by_sigmoid(torch.full((4, 2), 60.0), torch.full((4,), 60.0))
    assert torch.isfinite(loud).all()
    assert (loud > 10).all()
