"""Photos that show one disease or none: the softmax whose healthy logit is 0."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from leafscout.losses.bag import bag_loss
from leafscout.losses.exclusive import exclusive_bag_loss, exclusive_odds, with_healthy


def draw_case(seed: int, bags: int, labels: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, one-hot truth without healthy, and the class index with healthy first."""
    rng = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(bags, labels, generator=rng)
    classes = torch.randint(0, labels + 1, (bags,), generator=rng)
    return logits, F.one_hot(classes, labels + 1)[:, 1:].float(), classes


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), bags=st.integers(1, 8), labels=st.integers(1, 5))
def test_it_is_cross_entropy_with_a_zero_in_front(seed: int, bags: int, labels: int) -> None:
    logits, truth, classes = draw_case(seed, bags, labels)
    expected = F.cross_entropy(torch.cat([torch.zeros(bags, 1), logits], dim=1), classes)
    got = exclusive_bag_loss(logits, truth, torch.ones(labels))
    assert float(got) == pytest.approx(float(expected), rel=1e-5, abs=1e-7)


def test_with_one_disease_it_is_binary_cross_entropy() -> None:
    logits, truth, _ = draw_case(3, 20, 1)
    ours = exclusive_bag_loss(logits, truth, torch.tensor([2.5]))
    assert float(ours) == pytest.approx(float(bag_loss(logits, truth, torch.tensor([2.5]))))


def test_a_photo_weighs_as_much_as_its_label() -> None:
    logits, truth = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    plain = math.log(1 + math.exp(1.0) + 1)
    weighted = exclusive_bag_loss(logits, truth, torch.tensor([9.0, 4.0]))
    assert float(weighted) == pytest.approx(4 * plain, rel=1e-6)
    healthy = exclusive_bag_loss(logits, torch.zeros(1, 2), torch.tensor([9.0, 4.0]))
    assert float(healthy) == pytest.approx(plain, rel=1e-6)


def test_a_perfect_tile_classifier_keeps_no_loss() -> None:
    # With healthy pooled like a disease it would be ln 2; with healthy at 0 it vanishes.
    sure = torch.tensor([[8.0, -8.0], [-8.0, -8.0]])
    loss = exclusive_bag_loss(sure, torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.ones(2))
    assert float(loss) < 1e-3


def test_odds_are_those_of_the_softmax() -> None:
    logits, _, _ = draw_case(5, 6, 3)
    probs = with_healthy(logits.double()).softmax(dim=1)[:, 1:]
    expected = torch.log(probs) - torch.log1p(-probs)
    torch.testing.assert_close(exclusive_odds(logits).double(), expected, rtol=1e-4, atol=1e-4)


def test_a_rival_label_lowers_the_odds() -> None:
    odds = exclusive_odds(torch.tensor([[2.0, -9.0], [2.0, 2.0]]))
    assert odds[0, 0] > odds[1, 0]
