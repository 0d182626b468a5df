"""The baselines: labels copied to tiles, and background as a class."""

import math

import pytest
import torch
from torch.nn import functional as F

from leafscout.losses.tile_labels import background_class_loss, copied_label_loss


def test_copied_labels_are_the_loss_of_every_tile_by_itself() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 3, generator=rng)
    truth = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    weight = torch.tensor([2.0, 1.0, 3.0])
    by_tile = [
        F.binary_cross_entropy_with_logits(logits[bag, tile], truth[bag], pos_weight=weight)
        for bag in range(2)
        for tile in range(5)
    ]
    got = copied_label_loss(logits, truth, weight)
    assert float(got) == pytest.approx(float(torch.stack(by_tile).mean()), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_smoothing_softens_positives_and_leaves_negatives_exact(smoothing: float) -> None:
    # Where the loss is least: at 1 − ε for a positive, as low as it goes for a negative.
    wanted = math.log((1 - smoothing + 1e-9) / (smoothing + 1e-9)) if smoothing else 12.0
    logits = torch.tensor([[[wanted, -12.0]]], requires_grad=True)
    loss = copied_label_loss(logits, torch.tensor([[1.0, 0.0]]), torch.ones(2), smoothing=smoothing)
    (slope,) = torch.autograd.grad(loss, logits)
    assert slope.abs().max() < 1e-4


def test_copied_labels_call_background_diseased() -> None:
    # What multiple-instance learning avoids: every tile of a diseased photo is pushed up.
    logits = torch.full((1, 40, 1), -3.0, requires_grad=True)
    copied_label_loss(logits, torch.ones(1, 1), torch.ones(1)).backward()
    assert logits.grad is not None
    assert (logits.grad < 0).all()


def test_a_background_class_keeps_ln_2_even_when_every_tile_is_right() -> None:
    # One lesion tile of 80. The logits are differences: evidence of disease against background.
    sure = 5.0
    background = torch.full((1, 80), sure)
    background[0, 0] = -sure
    disease = -background
    loss = background_class_loss(
        (disease - background)[..., None], background, torch.ones(1, 1), torch.ones(1)
    )
    assert float(loss) == pytest.approx(math.log(2), abs=1e-6)


def test_a_background_class_pushes_background_away_from_background() -> None:
    background = torch.full((1, 80), 5.0)
    background[0, 0] = -5.0
    background.requires_grad_()
    tiles = (-2 * background.detach())[..., None]
    background_class_loss(tiles, background, torch.ones(1, 1), torch.ones(1)).backward()
    assert background.grad is not None
    assert background.grad[0, 1:].sum() > 0.2, "descent lowers what was right"


def test_it_is_cross_entropy_of_the_strongest_tiles() -> None:
    rng = torch.Generator().manual_seed(1)
    tiles, background = torch.randn(3, 7, 2, generator=rng), torch.randn(3, 7, generator=rng)
    truth = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    strongest = torch.cat([background[..., None], tiles + background[..., None]], 2).amax(1)
    target = torch.tensor([[1.0, 0, 0], [0, 0, 1.0], [0, 0.5, 0.5]])
    expected = F.cross_entropy(strongest, target)
    got = background_class_loss(tiles, background, truth, torch.ones(2))
    assert float(got) == pytest.approx(float(expected), rel=1e-6)
