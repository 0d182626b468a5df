"""The loss of a photo's labels, against scikit-learn, closed forms and the healthy-class trap."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch.nn import functional as F

from leafscout.diagnosis.pooling_torch import pool_bags
from leafscout.losses.bag import bag_loss, exact_negative_loss, positive_weights


def draw_case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(6, 3, generator=rng), (torch.rand(6, 3, generator=rng) < 0.4).float()


def test_bag_loss_is_the_mean_log_loss() -> None:
    logits, truth = draw_case()
    probs = torch.sigmoid(logits.double()).numpy()
    expected = np.mean([log_loss(truth[:, c], probs[:, c], labels=[0, 1]) for c in range(3)])
    assert float(bag_loss(logits, truth, torch.ones(3))) == pytest.approx(expected, rel=1e-5)


def test_a_positive_weighs_as_much_as_its_weight_says() -> None:
    logits, truth = torch.tensor([[0.3], [-1.2]]), torch.tensor([[1.0], [0.0]])
    expected = (4 * math.log1p(math.exp(-0.3)) + math.log1p(math.exp(-1.2))) / 2
    assert float(bag_loss(logits, truth, torch.tensor([4.0]))) == pytest.approx(expected)


def test_a_healthy_class_would_keep_a_perfect_tile_classifier_at_ln_2() -> None:
    # One lesion tile and 79 of background; the classifier is right about every tile, and sure.
    sure = 5.0
    diseased = torch.full((1, 80, 1), -sure)
    diseased[0, 0] = sure

    with_healthy_class = torch.cat([diseased, -diseased], dim=2).amax(dim=1)
    trap = F.cross_entropy(with_healthy_class, torch.tensor([0]))
    assert float(trap) == pytest.approx(math.log(2), abs=1e-6)

    everything = torch.ones((1, 80), dtype=torch.bool)
    pooled = pool_bags("max", diseased, torch.zeros_like(diseased), everything)
    ours = bag_loss(pooled, torch.ones(1, 1), torch.ones(1))
    assert float(ours) == pytest.approx(math.log1p(math.exp(-sure)), rel=1e-5)
    assert float(ours) == pytest.approx(0.0067, abs=1e-4)


def test_one_loud_tile_of_a_healthy_photo_costs_much_and_only_it_learns() -> None:
    tiles = torch.full((1, 30, 1), -6.0)
    tiles[0, 7] = 5.0
    tiles.requires_grad_()
    everything = torch.ones((1, 30), dtype=torch.bool)
    pooled = pool_bags("max", tiles, torch.zeros_like(tiles), everything)
    loss = bag_loss(pooled, torch.zeros(1, 1), torch.ones(1))
    loss.backward()
    assert float(loss.detach()) > 5
    assert tiles.grad is not None
    assert torch.nonzero(tiles.grad[0, :, 0]).flatten().tolist() == [7]
    assert tiles.grad[0, 7] > 0.9


def test_positive_weights_follow_the_rarity_within_bounds() -> None:
    truth = np.zeros((1000, 4), dtype=np.bool_)
    truth[:100, 0] = True  # 9 negatives a positive
    truth[:2, 1] = True  # very rare
    truth[:900, 2] = True  # common; the fourth never occurs
    weights = positive_weights(truth)
    assert weights.dtype == torch.float32
    assert weights.tolist() == pytest.approx([3.0, 10.0, 1.0, 10.0])


def test_exact_negatives_push_only_on_labels_that_are_absent() -> None:
    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    truth = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    loss = exact_negative_loss(logits, truth, labels_complete=True)
    loss.backward()
    clean = torch.cat([logits[0, :, 1:].flatten(), logits[1].flatten()])
    expected = float(F.softplus(clean).mean().detach())
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-6)
    assert logits.grad is not None
    assert (logits.grad[0, :, 0] == 0).all()
    assert (logits.grad[0, :, 1:] > 0).all()
    assert (logits.grad[1] > 0).all()


def test_with_incomplete_labels_only_healthy_photos_give_exact_negatives() -> None:
    logits = torch.zeros(2, 4, 3, requires_grad=True)
    truth = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    exact_negative_loss(logits, truth, labels_complete=False).backward()
    assert logits.grad is not None
    assert (logits.grad[0] == 0).all()
    assert (logits.grad[1] > 0).all()


def test_without_exact_negatives_the_loss_is_nought() -> None:
    truth = torch.ones(1, 3)
    assert float(exact_negative_loss(torch.ones(1, 4, 3), truth, labels_complete=True)) == 0.0
