"""The scout: shapes, absolute scores, and gradients that reach what they should."""

import numpy as np
import pytest
import torch

from leafscout.glance.choose import ChoiceRule, choose_tiles
from leafscout.glance.scout import Scout, pool_places_torch
from leafscout.networks import build_scout
from leafscout.photos.tiles import lay_tiles

LABELS = 3


@pytest.fixture
def scout() -> Scout:
    torch.manual_seed(0)
    return build_scout("tiny", LABELS)


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (64, 64)])
def test_one_cell_for_every_16_pixels(scout: Scout, size: tuple[int, int]) -> None:
    out = scout.eval()(torch.zeros(2, 3, *size))
    assert out.score_map.shape == (2, size[0] // 16, size[1] // 16)
    assert out.label_maps.shape == (2, LABELS, size[0] // 16, size[1] // 16)
    assert out.glance_logits.shape == (2, LABELS)


def test_a_fresh_scout_says_nothing_here(scout: Scout) -> None:
    pixels = torch.randint(0, 256, (1, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    out = scout.eval()(pixels)
    assert (torch.sigmoid(out.score_map) < 0.2).all()
    assert (torch.sigmoid(out.glance_logits) < 0.2).all()


def test_the_photo_evidence_is_the_mean_of_the_best_places(scout: Scout) -> None:
    pixels = torch.randint(0, 256, (1, 3, 160, 160), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        scout.eval()
        maps = scout.head(scout.backbone(pixels))[0, 1 + LABELS :].flatten(1)
        best = maps.sort(dim=1, descending=True).values[:, :2].mean(dim=1)  # 2% of 100 places
        torch.testing.assert_close(scout(pixels).glance_logits[0], best)


def test_no_gradient_passes_the_choice_but_every_channel_learns_from_the_maps(scout: Scout) -> None:
    tiles = lay_tiles((640, 640), 128)
    out = scout.train()(torch.rand(1, 3, 64, 64) * 255)
    score = pool_places_torch(out.score_map, tiles)[:, 0]
    labels = pool_places_torch(out.label_maps[0], tiles)

    read = choose_tiles(
        torch.sigmoid(score).detach().numpy(), np.zeros(LABELS), ChoiceRule(0.0, max_tiles=3)
    )
    # What the expert says of the chosen tiles knows nothing of the scout any more.
    focus = torch.ones(len(tiles), requires_grad=True)[torch.from_numpy(read)].sum()
    focus.backward()
    assert all(parameter.grad is None for parameter in scout.parameters())

    (score.mean() + labels.mean() + out.glance_logits.mean()).backward()
    gradient = scout.head.weight.grad
    assert gradient is not None
    assert gradient.shape[0] == 1 + 2 * LABELS
    assert (gradient.flatten(1).abs().sum(dim=1) > 0).all()
    first = next(scout.backbone.parameters()).grad
    assert first is not None
    assert first.abs().sum() > 0
