"""Focal loss against torchvision, half of the cross-entropy, and mining of hard negatives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from leafscout.losses.focal import (
    balanced_loss,
    focal_loss,
    focal_losses,
    hard_negative_loss,
    keep_hard_negatives,
)


def _cases(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(6, 5, generator=generator, dtype=torch.float64)
    return logits, (torch.rand(6, 5, generator=generator) > 0.6).double()


@settings(max_examples=15, deadline=None)
@given(gamma=st.floats(0, 5), alpha=st.floats(0, 1), seed=st.integers(0, 99))
def test_it_is_torchvisions(gamma: float, alpha: float, seed: int) -> None:
    from torchvision.ops import sigmoid_focal_loss

    logits, truth = _cases(seed)
    theirs = sigmoid_focal_loss(logits, truth, alpha=alpha, gamma=gamma, reduction="none")
    assert torch.allclose(focal_losses(logits, truth, gamma=gamma, alpha=alpha), theirs)


def test_without_focus_it_is_half_of_the_cross_entropy() -> None:
    logits, truth = _cases()
    half = 0.5 * F.binary_cross_entropy_with_logits(logits, truth)
    assert torch.allclose(focal_loss(logits, truth, gamma=0.0, alpha=0.5), half)
    assert torch.allclose(balanced_loss(logits, truth, torch.full((5,), 0.5)), half)


def test_balance_weighs_each_label() -> None:
    logits, truth = _cases()
    alpha = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)
    by_hand = -(
        alpha * truth * F.logsigmoid(logits) + (1 - alpha) * (1 - truth) * F.logsigmoid(-logits)
    )
    assert torch.allclose(balanced_loss(logits, truth, alpha), by_hand.mean())


def test_clear_cases_count_less_the_larger_gamma() -> None:
    def gradient(prob: float, gamma: float) -> float:
        logit = torch.logit(torch.tensor([prob], dtype=torch.float64)).requires_grad_()
        focal_losses(logit, torch.ones(1), gamma=gamma).sum().backward()
        assert logit.grad is not None
        return float(-logit.grad[0])

    ratios = [gradient(0.9, gamma) / gradient(0.1, gamma) for gamma in (0.0, 1.0, 2.0)]
    assert ratios[0] > 5 * ratios[1] > 25 * ratios[2]


def test_extreme_logits_stay_finite() -> None:
    logits = torch.tensor([-200.0, 200.0, 0.0], requires_grad=True)
    focal_loss(logits, torch.tensor([1.0, 0.0, 1.0]), gamma=0.5).backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize(("gamma", "alpha"), [(-1.0, 0.5), (2.0, 1.5)])
def test_values_out_of_range_are_refused(gamma: float, alpha: float) -> None:
    with pytest.raises(ValueError, match="Expected"):
        focal_loss(*_cases(), gamma=gamma, alpha=alpha)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), ratio=st.sampled_from([0.0, 1.0, 3.0, 100.0]))
def test_the_hardest_negatives_are_kept(seed: int, ratio: float) -> None:
    logits, truth = _cases(seed)
    losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    kept = keep_hard_negatives(losses, truth, ratio=ratio)
    positive = truth > 0.5
    assert bool(kept[positive].all())
    wanted = min(int((~positive).sum()), round(ratio * max(1, int(positive.sum()))))
    assert int(kept[~positive].sum()) == wanted
    if 0 < wanted < int((~positive).sum()):
        assert float(losses[kept & ~positive].min()) >= float(losses[~kept].max())


def test_the_loss_is_the_mean_of_what_is_kept() -> None:
    logits, truth = torch.tensor([2.0, -1.0, 0.5, -3.0]), torch.tensor([1.0, 0.0, 0.0, 0.0])
    by_hand = (F.softplus(torch.tensor(-2.0)) + F.softplus(torch.tensor(0.5))) / 2
    assert float(hard_negative_loss(logits, truth, ratio=1.0)) == pytest.approx(float(by_hand))


def test_a_ratio_below_0_is_refused() -> None:
    with pytest.raises(ValueError, match="ratio"):
        keep_hard_negatives(torch.zeros(2), torch.zeros(2), ratio=-1)
