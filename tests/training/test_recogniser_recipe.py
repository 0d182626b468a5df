"""Recipes of whole-photo recognisers: their defaults, and what they refuse."""

import json

import pytest

from leafscout.errors import InputError
from leafscout.recognisers.shapes import RECOGNISERS
from leafscout.training.recogniser_recipe import (
    RECOGNISER_RECIPES,
    RecogniserRecipe,
    choose_recogniser_recipe,
    read_oversample,
)


@pytest.mark.parametrize("name", sorted(RECOGNISERS))
def test_every_recogniser_has_a_recipe_of_its_shape(name: str) -> None:
    recipe = RECOGNISER_RECIPES[name]()
    assert recipe.shape() == RECOGNISERS[name]
    assert recipe.pretrained == ("small_" not in name and "_g16" not in name)
    assert RecogniserRecipe(**json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_large_ones_train_as_the_comparison_did() -> None:
    recipe = choose_recogniser_recipe("arc_psa_swin")
    settings = recipe.stage_settings()
    assert (recipe.photo_px, recipe.batch, recipe.rate, recipe.patience) == (384, 16, 1e-4, 10)
    assert (settings.photos_per_step, settings.clip_norm, settings.weight_decay) == (32, 1.0, 0.0)


def test_settings_replace_those_of_the_recipe() -> None:
    given = {"encoder": "efficientnet_b3", "glance_px": 300, "epochs": 3, "flips": "no", "rate": 1}
    recipe = choose_recogniser_recipe("efficientnet", given)
    assert (recipe.encoder, recipe.photo_px, recipe.epochs) == ("efficientnet_b3", 300, 3)
    assert recipe.flips is False
    assert recipe.rate == 1.0


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"tile_px": 96}, "no tile_px"),
        ({"exclusive": True}, "no exclusive"),
        ({"nonsense": 1}, "nonsense"),
        ({"epochs": 0}, "epochs from 1"),
        ({"epochs": "many"}, "epochs to be a number"),
        ({"batch": 0}, "batch from 1"),
        ({"photo_px": 16}, "photo_px from 64"),
        ({"rate": 0}, "rate above 0"),
        ({"clip": float("inf")}, "clip above 0"),
        ({"margin": 4.0}, "margin from 0"),
        ({"loss": "hinge"}, "bce, focal, balanced"),
        ({"head": "softmax"}, "linear, arcface"),
        ({"schedule": "steps"}, "cosine, plateau"),
        ({"hue_jitter": 0.6}, "hue_jitter"),
        ({"oversample": "rust"}, "LABEL:TIMES"),
        ({"oversample": "rust:0"}, "LABEL:TIMES"),
        ({"polarised": "perhaps"}, "yes or no"),
    ],
)
def test_what_cannot_be_is_refused(overrides: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        choose_recogniser_recipe("small_vit", overrides)


def test_oversampling_reads_names_with_colons_and_names_unknown_ones() -> None:
    assert read_oversample("rust:3, a:b:2,") == {"rust": 3, "a:b": 2}
    recipe = choose_recogniser_recipe("small_vit", {"oversample": "rust:3"})
    assert recipe.repeats(("mildew", "rust")) == {"rust": 3}
    with pytest.raises(InputError, match="mildew, scab"):
        recipe.repeats(("mildew", "scab"))
