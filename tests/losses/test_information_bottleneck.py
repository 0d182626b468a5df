"""The price of keeping tokens: against torch.distributions, and in which direction it pushes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli, kl_divergence

from leafscout.losses.information_bottleneck import CLEAN_WEIGHT, bottleneck_loss, excess_loss

DISEASED, CLEAN = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]])


@settings(max_examples=25, deadline=None)
@given(
    logits=st.lists(st.floats(-8, 8), min_size=1, max_size=9),
    prior=st.floats(0.02, 0.9),
)
def test_it_is_the_divergence_of_bernoullis(logits: list[float], prior: float) -> None:
    gate = torch.tensor([logits])
    expected = kl_divergence(Bernoulli(logits=gate.double()), Bernoulli(torch.tensor(prior)))
    got = bottleneck_loss(gate, DISEASED, prior, labels_complete=True)
    assert float(got) == pytest.approx(float(expected.mean()), abs=1e-4)


def test_it_stays_finite_for_a_saturated_gate() -> None:
    gate = torch.tensor([[200.0, -200.0]], requires_grad=True)
    bottleneck_loss(gate, CLEAN, 0.1, labels_complete=True).backward()
    assert gate.grad is not None
    assert bool(torch.isfinite(gate.grad).all())


def test_a_clean_photo_pays_more_only_where_labels_are_complete() -> None:
    gate = torch.full((1, 5), 1.0)
    diseased = bottleneck_loss(gate, DISEASED, 0.1, labels_complete=True)
    clean = bottleneck_loss(gate, CLEAN, 0.1, labels_complete=True)
    unknown = bottleneck_loss(gate, CLEAN, 0.1, labels_complete=False)
    assert float(clean) == pytest.approx(CLEAN_WEIGHT * float(diseased))
    assert float(unknown) == pytest.approx(float(diseased))


def test_a_token_costs_the_same_whatever_the_others_of_its_photo_do() -> None:
    alone = torch.tensor([[2.0, -4.0, -4.0]], requires_grad=True)
    crowded = torch.tensor([[2.0, 3.0, 3.0]], requires_grad=True)
    for gate in (alone, crowded):
        bottleneck_loss(gate, DISEASED, 0.1, labels_complete=True).backward()
    assert alone.grad is not None
    assert crowded.grad is not None
    assert float(alone.grad[0, 0]) == pytest.approx(float(crowded.grad[0, 0]))


@pytest.mark.parametrize("prior", [0.0, 1.0, -0.1])
def test_a_prior_outside_is_refused(prior: float) -> None:
    with pytest.raises(ValueError, match="keep_prior"):
        bottleneck_loss(torch.zeros(1, 2), CLEAN, prior, labels_complete=True)


def test_the_hinge_costs_only_the_excess() -> None:
    gate = torch.zeros(1, 4, requires_grad=True)
    below = excess_loss(gate, DISEASED, 0.3, 0.29, labels_complete=True)
    assert below.item() == 0.0
    above = excess_loss(gate, DISEASED, 0.3, 0.5, labels_complete=True)
    assert above.item() == pytest.approx(0.2 * 0.5)
    above.backward()
    assert gate.grad is not None
    assert bool((gate.grad > 0).all())
