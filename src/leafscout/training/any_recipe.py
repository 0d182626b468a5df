"""A recipe of any family by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leafscout.errors import InputError, describe_unknown
from leafscout.training.gated_recipe import GATED_RECIPES, GatedRecipe, choose_gated_recipe
from leafscout.training.recipes import RECIPES, Recipe, choose_recipe
from leafscout.training.recogniser_recipe import (
    RECOGNISER_RECIPES,
    RecogniserRecipe,
    choose_recogniser_recipe,
)

AnyRecipe = Recipe | GatedRecipe | RecogniserRecipe


def check_recipe_name(name: str) -> None:
    """Refuse a name that no family has a recipe of.

    Raises:
        InputError: naming those there are.
    """
    known = (*RECIPES, *GATED_RECIPES, *RECOGNISER_RECIPES)
    if name not in known:
        raise InputError(describe_unknown("recipe", name, known, nearest=2))


def choose_any_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> AnyRecipe:
    """A recipe by name, with single settings replaced.

    Args:
        name: a key of ``RECIPES``, ``GATED_RECIPES`` or ``RECOGNISER_RECIPES``.
        overrides: fields of the recipe to replace.

    Raises:
        InputError: an unknown recipe or setting, or a value out of range.
    """
    check_recipe_name(name)
    if name in RECOGNISER_RECIPES:
        return choose_recogniser_recipe(name, overrides)
    if name in GATED_RECIPES:
        return choose_gated_recipe(name, overrides)
    return choose_recipe(name, overrides)
