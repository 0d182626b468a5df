"""Sparsity presses on evidence: which way, when, and where it spares."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.losses.sparsity import (
    ABSENT_WEIGHT,
    UNSURE_PROBS,
    sparsity_loss,
)


def gradient(logits: list[float], *, present: bool, complete: bool = True) -> list[float]:
    tiles = torch.tensor(logits).reshape(1, -1, 1).requires_grad_()
    truth = torch.tensor([[1.0 if present else 0.0]])
    sparsity_loss(tiles, truth, labels_complete=complete).backward()
    assert tiles.grad is not None
    return tiles.grad.flatten().tolist()


def test_the_softmax_norm_would_give_no_gradient_and_this_one_does() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5]], requires_grad=True)
    logits.softmax(dim=1).abs().sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6
    assert all(value > 0.02 for value in gradient([2.0, -1.0, 0.5], present=False))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-6, 6), min_size=1, max_size=12), st.booleans())
def test_evidence_is_only_ever_pressed_down(logits: list[float], present: bool) -> None:
    assert all(value >= 0 for value in gradient(logits, present=present))


def test_the_value_is_the_weighted_mean_probability() -> None:
    logits = torch.tensor([3.0, -3.0]).reshape(1, 2, 1)
    probs = [1 / (1 + math.exp(-value)) for value in (3.0, -3.0)]
    with_it = sparsity_loss(logits, torch.ones(1, 1), labels_complete=True)
    without = sparsity_loss(logits, torch.zeros(1, 1), labels_complete=True)
    assert float(with_it) == pytest.approx(sum(probs) / 2, rel=1e-6)
    assert float(without) == pytest.approx(ABSENT_WEIGHT * sum(probs) / 2, rel=1e-6)


@pytest.mark.parametrize("prob", [0.31, 0.5, 0.69])
def test_places_that_the_model_is_unsure_of_are_spared(prob: float) -> None:
    logit = math.log(prob / (1 - prob))
    assert gradient([logit, 4.0, -4.0], present=True)[0] == 0
    assert all(value > 0 for value in gradient([logit, 4.0, -4.0], present=True)[1:])


@pytest.mark.parametrize("prob", UNSURE_PROBS)
def test_surer_places_are_not_spared(prob: float) -> None:
    outside = prob - 0.02 if prob < 0.5 else prob + 0.02
    assert gradient([math.log(outside / (1 - outside))], present=True)[0] > 0


def test_a_label_that_the_photo_rules_out_is_spared_nowhere() -> None:
    present, absent = gradient([0.0], present=True)[0], gradient([0.0], present=False)[0]
    assert present == 0
    assert absent == pytest.approx(ABSENT_WEIGHT * 0.25)


def test_where_labels_are_incomplete_only_healthy_photos_rule_a_disease_out() -> None:
    tiles = torch.zeros(2, 3, 2, requires_grad=True)
    truth = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    sparsity_loss(tiles, truth, labels_complete=False).backward()
    assert tiles.grad is not None
    assert (tiles.grad[0] == 0).all()  # unsure, and nothing is ruled out
    assert (tiles.grad[1] > 0).all()
