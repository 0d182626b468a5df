"""Losses of a student: against closed forms, torch's own divergence, and by what they ignore."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, kl_divergence
from torch.nn import functional as F

from leafscout.losses.bag import bag_loss
from leafscout.losses.distillation import (
    FEATURE_LOSSES,
    FeatureProjection,
    attention_map,
    attention_transfer_loss,
    blend_losses,
    feature_loss,
    soft_label_entropy,
    soft_label_loss,
    soften,
)
from leafscout.training.distil_settings import FEATURE_CHOICES


def draw(seed: int, *shape: int, spread: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(*shape, generator=generator, dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), temperature=st.floats(0.3, 8.0))
def test_soft_labels_are_compared_as_bernoulli_distributions(seed: int, temperature: float) -> None:
    student, teacher = draw(seed, 4, 3), draw(seed + 1, 4, 3)
    expected = kl_divergence(
        Bernoulli(logits=teacher / temperature), Bernoulli(logits=student / temperature)
    ).mean()
    found = soft_label_loss(student, teacher, temperature)
    torch.testing.assert_close(found, temperature**2 * expected)
    assert found >= 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), temperature=st.floats(0.3, 8.0))
def test_exclusive_labels_are_one_softmax_with_healthy_at_zero(
    seed: int, temperature: float
) -> None:
    student, teacher = draw(seed, 2, 5, 3), draw(seed + 1, 2, 5, 3)
    with_zero = [F.pad(one / temperature, (1, 0)) for one in (teacher, student)]
    expected = kl_divergence(*(Categorical(logits=one) for one in with_zero)).mean()
    found = soft_label_loss(student, teacher, temperature, exclusive=True)
    torch.testing.assert_close(found, temperature**2 * expected)
    probs = soften(teacher, temperature, exclusive=True)
    assert probs.shape == (2, 5, 4)
    torch.testing.assert_close(probs.sum(dim=-1), torch.ones(2, 5, dtype=torch.float64))


def test_a_single_label_in_closed_form() -> None:
    # Teacher: odds 3 to 1; student: even odds.
    teacher = torch.tensor([[math.log(3.0)]], dtype=torch.float64)
    student = torch.zeros_like(teacher)
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert float(soft_label_loss(student, teacher, 1.0)) == pytest.approx(expected, abs=1e-12)
    softer = 2.0  # √3 to 1 at temperature 2
    p = math.sqrt(3) / (1 + math.sqrt(3))
    expected = softer**2 * (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)))
    assert float(soft_label_loss(student, teacher, softer)) == pytest.approx(expected, abs=1e-12)


def test_the_gradient_is_the_difference_of_soft_labels_times_the_temperature() -> None:
    student, teacher = draw(3, 6, 2).requires_grad_(), draw(4, 6, 2).requires_grad_()
    soft_label_loss(student, teacher, 2.5).backward()
    expected = 2.5 * (soften(student, 2.5) - soften(teacher, 2.5)) / student.numel()
    assert student.grad is not None
    torch.testing.assert_close(student.grad, expected.detach())
    assert teacher.grad is None, "the teacher must not learn"


def test_agreement_costs_nothing_and_far_logits_stay_finite() -> None:
    logits = draw(5, 8, 3)
    assert float(soft_label_loss(logits, logits, 2.0)) == pytest.approx(0.0, abs=1e-12)
    far = torch.tensor([[300.0, -300.0]])
    for exclusive in (False, True):
        loss = soft_label_loss(-far, far, 1.0, exclusive=exclusive)
        assert torch.isfinite(loss)
        assert float(loss) > 100


@pytest.mark.parametrize("exclusive", [False, True])
def test_entropy_of_soft_labels_rises_with_the_temperature(exclusive: bool) -> None:
    logits = draw(6, 20, 4)
    found = [
        float(soft_label_entropy(logits, temperature, exclusive=exclusive))
        for temperature in (0.5, 1.0, 2.0, 4.0, 8.0, 1000.0)
    ]
    assert found == sorted(found)
    assert len(set(found)) == len(found)
    assert found[-1] == pytest.approx(math.log(5) if exclusive else math.log(2), abs=1e-3)
    probs = soften(logits, 2.0, exclusive=exclusive)
    expected = Categorical(probs).entropy() if exclusive else Bernoulli(probs).entropy()
    assert found[2] == pytest.approx(float(expected.mean()), rel=1e-9)


def test_without_soft_weight_the_loss_is_that_of_the_labels() -> None:
    logits, truth = draw(7, 3, 2), torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]).double()
    hard = bag_loss(logits, truth, torch.ones(2).double())
    soft = soft_label_loss(logits, draw(8, 3, 2), 1.0)
    assert blend_losses(hard, soft, 0.0) is hard
    assert float(blend_losses(hard, torch.tensor(math.inf), 0.0)) == float(hard)
    assert float(blend_losses(hard, soft, 1.0)) == pytest.approx(float(soft))
    mixed = 0.3 * float(soft) + 0.7 * float(hard)
    assert float(blend_losses(hard, soft, 0.3)) == pytest.approx(mixed)


def test_with_hard_teachers_soft_labels_are_the_cross_entropy() -> None:
    student = draw(9, 5, 2)
    truth = (draw(10, 5, 2) > 0).double()
    sure = 1e3 * (2 * truth - 1)
    expected = F.binary_cross_entropy_with_logits(student, truth)
    torch.testing.assert_close(soft_label_loss(student, sure, 1.0), expected)


@pytest.mark.parametrize("kind", FEATURE_LOSSES)
def test_features_count_at_kept_places_alone(kind: str) -> None:
    teacher, student = draw(11, 2, 6, 3, 3).float(), draw(12, 2, 6, 3, 3).float()
    kept = torch.zeros(2, 3, 3, dtype=torch.bool)
    kept[0, 1, 2] = kept[1, 0, 0] = True
    wild = torch.where(kept[:, None], student, 1e3 * student)
    found = feature_loss(student, teacher, kept, kind=kind)
    torch.testing.assert_close(feature_loss(wild, teacher, kept, kind=kind), found)
    student.requires_grad_()
    feature_loss(student, teacher, kept, kind=kind).backward()
    assert student.grad is not None
    moved = student.grad.abs().sum(dim=1) > 0
    assert torch.equal(moved, kept)
    assert float(feature_loss(teacher, teacher, kept, kind=kind)) == pytest.approx(0, abs=1e-6)
    nothing = torch.zeros_like(kept)
    assert float(feature_loss(student, teacher, nothing, kind=kind).detach()) == 0.0


def test_feature_losses_in_closed_form() -> None:
    student = torch.tensor([[1.0, 0.0], [0.0, 0.0]])  # (batch, channels)
    student[1] = torch.tensor([3.0, 4.0])
    teacher = torch.tensor([[0.0, 2.0], [3.0, 4.0]])
    assert float(feature_loss(student, teacher, kind="cosine")) == pytest.approx(0.5)
    squares = torch.tensor([1.0 + 4.0, 0.0]) / 2  # mean over channels
    expected = float(squares.mean() / teacher.square().mean())
    assert float(feature_loss(student, teacher, kind="mse")) == pytest.approx(expected)
    with pytest.raises(ValueError, match="feature loss"):
        feature_loss(student, teacher, kind="l7")


def test_the_loss_of_features_knows_no_scale_of_the_teacher() -> None:
    student, teacher = draw(13, 2, 4, 5), draw(14, 2, 4, 5)
    for kind in FEATURE_LOSSES:
        found = feature_loss(5 * teacher + 0 * student, teacher * 5, kind=kind)
        assert float(found) == pytest.approx(0.0, abs=1e-6)
    torch.testing.assert_close(
        feature_loss(10 * student, 10 * teacher, kind="mse"),
        feature_loss(student, teacher, kind="mse"),
    )


def test_the_projection_is_one_linear_map_for_every_place() -> None:
    projection = FeatureProjection(3, 5)
    features = draw(15, 2, 3, 4, 6).float()
    projected = projection(features)
    assert projected.shape == (2, 5, 4, 6)
    weight = projection.linear.weight
    torch.testing.assert_close(projected[1, :, 2, 5], weight @ features[1, :, 2, 5])
    tokens = features.flatten(2)
    torch.testing.assert_close(projection(tokens), projected.flatten(2))


def test_attention_maps_have_length_one_and_see_squares() -> None:
    features = torch.zeros(1, 2, 1, 2)
    features[0, :, 0, 0] = torch.tensor([3.0, -4.0])  # 25
    features[0, :, 0, 1] = torch.tensor([0.0, 5.0]) * math.sqrt(3)  # 75
    expected = torch.tensor([[25.0, 75.0]]) / math.hypot(25, 75)
    torch.testing.assert_close(attention_map(features), expected)


def test_attention_transfer_in_closed_form() -> None:
    left, right = torch.zeros(1, 3, 2), torch.zeros(1, 7, 2)
    left[0, :, 0] = 1.0
    right[0, :, 1] = 2.0
    # Unit vectors at right angles: squared distance 2, whatever the number of channels.
    assert float(attention_transfer_loss(left, right)) == pytest.approx(2.0)
    assert float(attention_transfer_loss(5 * left, left)) == pytest.approx(0.0, abs=1e-9)


def test_attention_transfer_brings_the_maps_together() -> None:
    torch.manual_seed(0)
    teacher = torch.rand(4, 5, 4, 4) ** 4
    student = torch.nn.Parameter(torch.rand(4, 3, 4, 4) + 0.5)
    optimizer = torch.optim.Adam([student], lr=0.05)
    first = float(attention_transfer_loss(student, teacher))
    for _ in range(60):
        optimizer.zero_grad()
        loss = attention_transfer_loss(student, teacher)
        loss.backward()
        optimizer.step()
    assert float(attention_transfer_loss(student, teacher)) < 0.5 * first


def test_what_a_recipe_can_choose_is_what_there_is() -> None:
    assert ("none", *FEATURE_LOSSES) == FEATURE_CHOICES
