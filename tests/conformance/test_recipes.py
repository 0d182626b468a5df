"""Every recipe builds networks that fit together and its own sizes."""

import pytest
import torch

from leafscout.focus.expert import EXPERT_STRIDE
from leafscout.glance.scout import SCOUT_STRIDE
from leafscout.glance.view import glance_size_px_hw
from leafscout.networks import build_expert, build_scout
from leafscout.nn.backbones import OWN_BACKBONES, check_backbone_name
from leafscout.training.recipes import RECIPES, choose_recipe

LABELS = 2


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_sizes_and_names_are_sound(name: str) -> None:
    recipe = choose_recipe(name)
    assert recipe.name == name
    check_backbone_name(recipe.expert)
    check_backbone_name(recipe.scout)
    # A tile must not be smaller than a few cells of a glance of a 12-megapixel photo.
    height, _ = glance_size_px_hw((3000, 4000), recipe.glance_px)
    assert recipe.tile_px * height / 3000 >= SCOUT_STRIDE / 2
    assert recipe.pretrained == (recipe.expert not in OWN_BACKBONES)


@pytest.mark.parametrize("name", ["tiny", "mobile"])
def test_networks_have_the_shapes_promised(name: str) -> None:
    recipe = choose_recipe(name)
    torch.manual_seed(0)
    expert = build_expert(recipe.expert, LABELS, pretrained=False).eval()
    scout = build_scout(recipe.scout, LABELS, pretrained=False).eval()
    side = recipe.tile_px
    height, width = glance_size_px_hw((3000, 4000), recipe.glance_px)
    with torch.no_grad():
        found = expert(torch.zeros(2, 3, side, side))
        seen = scout(torch.zeros(1, 3, height, width))
    cells = side // EXPERT_STRIDE
    assert found.tile_logits.shape == found.attention_logits.shape == (2, LABELS)
    assert found.place_logits.shape == (2, LABELS, cells, cells)
    assert seen.score_map.shape == (1, height // SCOUT_STRIDE, width // SCOUT_STRIDE)
    assert seen.label_maps.shape == (1, LABELS, *seen.score_map.shape[1:])
    assert seen.glance_logits.shape == (1, LABELS)
