"""ArcFace for several labels: the margin is on positives only, and never in the answers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from leafscout.losses.arcface import ArcFaceHead, Margin, add_margin


def _head(margin: Margin | None = None, **options: object) -> ArcFaceHead:
    torch.manual_seed(0)
    return ArcFaceHead(8, 4, margin or Margin(), **options).double()  # type: ignore[arg-type]


def _photos(photos: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(photos, 8, generator=generator, dtype=torch.float64)
    return features, (torch.rand(photos, 4, generator=generator) > 0.5).double()


def test_the_margin_is_on_positives_alone() -> None:
    head, (features, truth) = _head(), _photos()
    plain, with_margin = head(features), head.margin_logits(features, truth)
    assert torch.equal(plain[truth < 0.5], with_margin[truth < 0.5])
    assert bool((with_margin[truth > 0.5] < plain[truth > 0.5]).all())


def test_answers_have_no_margin_and_need_no_labels() -> None:
    head, (features, _) = _head(Margin(0.5)), _photos()
    cosines = F.cosine_similarity(features[:, None], head.weight[None], dim=2)
    assert head.bias is not None
    assert torch.allclose(head(features), head.scale * cosines + head.bias)


def test_random_features_with_margin_logits_would_betray_the_labels() -> None:
    torch.manual_seed(0)
    head = ArcFaceHead(64, 1, Margin(0.5), prior=None)
    features, truth = torch.randn(400, 64), (torch.rand(400, 1) > 0.5).float()

    def auc(logits: torch.Tensor) -> float:
        positive, negative = logits[truth > 0.5], logits[truth < 0.5]
        return float((positive[:, None] > negative[None]).float().mean())

    assert auc(head(features)) == pytest.approx(0.5, abs=0.07)
    assert auc(head.margin_logits(features, truth)) < 0.05


def test_without_margin_it_is_the_normalised_loss() -> None:
    head, (features, truth) = _head(Margin(0.0)), _photos()
    assert torch.allclose(
        head.loss(features, truth), F.binary_cross_entropy_with_logits(head(features), truth)
    )
    label = torch.arange(6) % 4
    assert torch.allclose(
        head.exclusive_loss(features, label), F.cross_entropy(head(features), label)
    )


@pytest.mark.parametrize("radians", [0.0, 0.2, 0.5, 1.2])
def test_one_label_a_photo_is_the_original(radians: float) -> None:
    from pytorch_metric_learning.losses import ArcFaceLoss

    head = _head(Margin(radians), scale=30.0, prior=None)
    features, _ = _photos(12)
    label = torch.arange(12) % 4
    theirs = ArcFaceLoss(4, 8, margin=math.degrees(radians), scale=30).double()
    theirs.W.data = head.weight.detach().T.clone()
    assert float(head.exclusive_loss(features, label).detach()) == pytest.approx(
        float(theirs(features, label).detach()), abs=1e-5
    )


def test_the_gradient_is_that_of_finite_differences() -> None:
    head, (features, truth) = _head(), _photos(3)
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: head.loss(x, truth), (features,))
    assert torch.autograd.gradcheck(
        lambda x: add_margin(torch.tanh(x), truth, Margin(0.4)), (features[:, :4],)
    )


def test_features_on_their_centre_give_finite_gradients() -> None:
    head = _head()
    features = torch.cat([head.weight.detach(), -head.weight.detach()]).requires_grad_()
    head.loss(features, torch.ones(8, 4, dtype=torch.float64)).backward()
    assert features.grad is not None
    assert bool(torch.isfinite(features.grad).all())


@settings(max_examples=30, deadline=None)
@given(radians=st.floats(0.0, 1.5))
def test_a_larger_angle_never_gives_more_evidence(radians: float) -> None:
    cosines = torch.cos(torch.linspace(0, math.pi, 181, dtype=torch.float64))[:, None]
    turned = add_margin(cosines, torch.ones_like(cosines), Margin(radians))
    # The root is held above 0, which costs some 3e-5 at the two ends.
    assert bool((turned.diff(dim=0) <= 1e-4).all())


def test_an_easy_margin_spares_what_points_away() -> None:
    cosines = torch.tensor([[-0.5, 0.5]])
    easy = add_margin(cosines, torch.ones(1, 2), Margin(0.5, easy=True))
    assert float(easy[0, 0]) == -0.5
    assert float(easy[0, 1]) == pytest.approx(math.cos(math.acos(0.5) + 0.5))


def test_one_module_owns_all_that_is_learnt() -> None:
    head = _head()
    assert set(dict(head.named_parameters())) == {"weight", "scale_log", "bias"}
    assert set(head.state_dict()) == {"weight", "scale_log", "bias"}
    fixed = _head(learn_scale=False, prior=None)
    assert set(dict(fixed.named_parameters())) == {"weight"}
    assert set(fixed.state_dict()) == {"weight", "scale_log"}


def test_the_bias_starts_at_the_prior() -> None:
    head = _head(prior=0.1)
    assert head.bias is not None
    assert torch.sigmoid(head.bias).tolist() == pytest.approx([0.1] * 4)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="margin"):
        Margin(4.0)
    with pytest.raises(ValueError, match="scale above 0"):
        ArcFaceHead(8, 4, scale=0)
