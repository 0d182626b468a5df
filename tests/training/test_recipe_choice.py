"""Choosing a recipe: settings are replaced, and mistakes get a sentence."""

import json
from typing import Any

import pytest

from leafscout.errors import InputError
from leafscout.training.recipes import RECIPES, choose_recipe, recipe_from_dict


def test_single_settings_are_replaced() -> None:
    recipe = choose_recipe("tiny", {"pooling": "max", "glance_px": 512, "tile_px": None})
    assert (recipe.pooling, recipe.glance_px, recipe.tile_px) == ("max", 512, 128)
    assert choose_recipe("tiny").pooling != "max"


def test_epochs_of_both_stages_or_of_one() -> None:
    both = choose_recipe("tiny", {"epochs": 3})
    assert (both.expert_stage.epochs, both.scout_stage.epochs) == (3, 3)
    one = choose_recipe("tiny", {"epochs": 3, "scout_epochs": 5})
    assert (one.expert_stage.epochs, one.scout_stage.epochs) == (3, 5)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipes_survive_json(name: str) -> None:
    recipe = choose_recipe(name, {"epochs": 7})
    assert recipe_from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    ("name", "overrides", "sentence"),
    [
        ("tny", {}, "no recipe called 'tny'. Did you mean tiny.* Expected one of: tiny, mobile"),
        ("tiny", {"poolin": "max"}, "no setting called 'poolin'. Did you mean pooling"),
        ("tiny", {"pooling": "maxx"}, "no pooling called 'maxx'. Did you mean max"),
        ("tiny", {"tile_px": 100}, "--tile-px to be a multiple of 32 from 64.* but got 100"),
        ("tiny", {"glance_px": 10}, "Expected --glance-px .*64.* but got 10"),
        ("tiny", {"epochs": 0}, "at least 1 epoch, but got 0"),
        ("tiny", {"max_tiles_frac": 0.0}, r"max_tiles_frac in \(0, 1\], but got 0.0"),
        ("tiny", {"keep_recall": 1.5}, r"keep_recall in \(0, 1\], but got 1.5"),
        ("tiny", {"tiles_best": 0}, "tiles_best from 1 .* but got 0"),
    ],
)
def test_mistakes_are_named(name: str, overrides: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        choose_recipe(name, overrides)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"scout_target": "probabilty"}, "no scout_target called 'probabilty'. Did you mean"),
        ({"scout_ranking": "x"}, "Expected one of: none, pairwise, listwise"),
        ({"scout_evidence": "out"}, "no scout_evidence called 'out'"),
        ({"scout_tuning": "x"}, "no scout_tuning called 'x'"),
        ({"scout_tile_share": 0.0}, r"Expected scout_tile_share in \(0, 1\], but got 0.0"),
        ({"scout_smallest_glance": 1.5}, r"Expected scout_smallest_glance in \(0, 1\]"),
        ({"scout_ranking_weight": -1.0}, "Expected scout_ranking_weight from 0, but got -1.0"),
        ({"scout_folds": 1}, "Expected scout_folds from 2, but got 1"),
        ({"mirrored_glances": 4}, "Expected mirrored_glances from 0 to 3"),
        ({"uncertain_tiles": 2}, "mirrored_glances is 0"),
        ({"closer_glance_px": 128}, "Expected a closer glance above the glance of 384 px"),
    ],
)
def test_what_the_scout_cannot_do_is_refused(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        choose_recipe("tiny", setting)
