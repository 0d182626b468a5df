"""Every recogniser: its recipe, and where it can be built in a moment, what all of them can do."""

import math

import pytest
import torch

from leafscout.errors import InputError
from leafscout.nn.backbones import check_backbone_name
from leafscout.nn.grouped_convolution import read_efficientnet_name
from leafscout.nn.image_encoder import SMALL_ENCODERS, ImageEncoder, find_stride
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
    check_backbone_name(FULL_SIZE[f"b{index}"].encoder)


FULL_SIZE = {
    **{name: make() for name, make in RECOGNISER_RECIPES.items()},
    **{
        f"b{index}": choose_recogniser_recipe(
            "efficientnet", {"encoder": f"efficientnet_b{index}", "photo_px": side}
        )
        for index, side in enumerate((224, 240, 260, 300, 380, 456, 528, 600))
    },
}


@pytest.mark.parametrize("name", FULL_SIZE)
def test_networks_have_the_shapes_promised(name: str) -> None:
    """At full size, and batches of theirs, but with no numbers in them: shapes alone."""
    recipe = FULL_SIZE[name]
    side, batch = recipe.photo_px, recipe.batch
    with torch.device("meta"):
        network = build_recogniser_network(recipe.shape(), LABELS).train()
        photos, truth = torch.zeros(batch, 3, side, side), torch.zeros(batch, LABELS)
        out = network(photos)
        loss = network.loss(photos, truth)
        logits, places = PhotoGraph(network.eval())(torch.zeros(side, side, 3, dtype=torch.uint8))
    cells = math.ceil(side / network.encoder.stride)
    assert out.logits.shape == network.learning_logits(out, truth).shape == (batch, LABELS)
    assert out.feature_map.shape == (batch, network.encoder.channels, cells, cells)
    width = recipe.features if recipe.polarised else network.encoder.channels
    assert out.features.shape == (batch, width)
    assert loss.shape == ()
    assert logits.shape == (LABELS,)
    judged = not recipe.polarised and recipe.head == "linear"
    assert places.shape == ((LABELS, cells, cells) if judged else (LABELS, 0, 0))
    patches = any(kind in recipe.encoder for kind in ("vit", "eva"))
    assert network.encoder.stride == (16 if patches else 32)


@pytest.mark.parametrize(
    ("photo_px", "cells", "stride"),
    [
        (224, 7, 32),
        (300, 10, 32),
        (260, 9, 32),
        (600, 19, 32),
        (64, 2, 32),
        (65, 3, 32),
        (98, 5, 20),
    ],
)
def test_places_are_as_wide_as_the_network_has_them(photo_px: int, cells: int, stride: int) -> None:
    assert find_stride(photo_px, cells) == stride


def test_patches_of_any_side_are_places() -> None:
    with torch.device("meta"):
        assert ImageEncoder("vit_small_patch14_dinov2", 98).stride == 14


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
