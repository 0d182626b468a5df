"""Every recogniser: its recipe, and where it can be built in a moment, what all of them can do."""

import pytest
import torch

from leafscout.errors import InputError
from leafscout.nn.backbones import check_backbone_name
from leafscout.nn.grouped_convolution import read_efficientnet_name
from leafscout.nn.image_encoder import SMALL_ENCODERS
from leafscout.recogniser_networks import PhotoGraph, build_recogniser_network
from leafscout.recognisers.shapes import HEADS, RECOGNISERS, RecogniserShape
from leafscout.training.recogniser_recipe import RECOGNISER_RECIPES, choose_recogniser_recipe

LABELS = 2
SMALL = sorted(name for name in RECOGNISERS if name.startswith("small_"))


@pytest.mark.parametrize("name", sorted(RECOGNISER_RECIPES))
def test_names_and_sizes_are_sound(name: str) -> None:
    recipe = choose_recogniser_recipe(name)
    assert recipe.name == name
    assert recipe.head in HEADS
    assert recipe.photo_px % 32 == 0
    if recipe.encoder not in SMALL_ENCODERS and read_efficientnet_name(recipe.encoder) is None:
        check_backbone_name(recipe.encoder)


@pytest.mark.parametrize("index", range(8))
def test_every_efficientnet_is_named(index: int) -> None:
    check_backbone_name(choose_recogniser_recipe(
        "efficientnet", {"encoder": f"efficientnet_b{index}"}
    ).encoder)  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_one_photo_of_bytes_becomes_evidence(name: str) -> None:
    shape = RECOGNISERS[name]
    torch.manual_seed(0)
    network = build_recogniser_network(shape, LABELS).eval()
    photo = torch.randint(0, 256, (shape.photo_px, shape.photo_px, 3), dtype=torch.uint8)
    with torch.no_grad():
        logits, places = PhotoGraph(network)(photo)
    assert logits.shape == (LABELS,)
    assert bool(torch.isfinite(logits).all())
    assert len(places) == LABELS
    if places.numel() and not shape.spatial_transformer:
        torch.testing.assert_close(places.mean(dim=(1, 2)), logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (RecogniserShape("small_vit", 10), "10 px"),
        (RecogniserShape("vit_that_is_not", 64), "vit_that_is_not"),
    ],
)
def test_what_cannot_be_built_says_so(shape: RecogniserShape, words: str) -> None:
    with pytest.raises(InputError, match=words):
        build_recogniser_network(shape, LABELS)
