"""How the scout may learn and look: settings of a recipe, and which values make sense."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from leafscout.errors import InputError, describe_unknown
from leafscout.glance.choose import ChoiceRule

if TYPE_CHECKING:
    from leafscout.training.recipes import Recipe

SCOUT_TARGETS = {
    "probability": "the expert's probability",
    "activation": "its logit, scaled robustly over all training tiles",
    "rank": "the place of its logit among all training tiles",
}
"""What the scout's score learns to predict; see ``leafscout.training.scout_targets``."""

SCOUT_RANKINGS = {
    "none": "the values of tiles alone",
    "pairwise": "and the order of every pair of tiles in a photo",
    "listwise": "and which share of the photo's evidence each tile holds",
}
"""What the scout's loss asks beside; see ``leafscout.losses.ranking``."""

SCOUT_EVIDENCES = {
    "same_photos": "of the expert on the photos that it learnt from",
    "out_of_fold_heads": "of its last layers, fitted anew without the photo; its backbone knows it",
    "out_of_fold": "of experts that never saw the photo, one a fold: as dear as it is honest",
}
"""Which evidence on the training photos the scout learns; see ``training.out_of_fold``."""

SCOUT_TUNINGS = {
    "none": "the scout is left as it is",
    "weighted_softmax": "the softmax of scores weighs the expert's evidence of chosen tiles",
    "weighted_sigmoid": "a tile counts as far as the scout would have looked",
    "reinforce": "tiles are drawn, and what the expert makes of them is the reward",
}
"""How the photo's label may teach the scout in the end; see ``training.scout_tuning``."""


def glances_of(recipe: Recipe, rule: ChoiceRule) -> ChoiceRule:
    """A rule with the recipe's glances: what is fitted must have seen what is deployed."""
    return replace(
        rule,
        mirrored_glances=recipe.mirrored_glances,
        closer_glance_px=recipe.closer_glance_px,
        closer_regions=recipe.closer_regions,
        border_exponent=recipe.border_exponent,
    )


def check_scout(recipe: Recipe) -> None:
    """Check what a recipe says about the scout's learning.

    Raises:
        InputError: for an unknown name or a number out of range.
    """
    for name, known in (
        ("scout_target", SCOUT_TARGETS),
        ("scout_ranking", SCOUT_RANKINGS),
        ("scout_evidence", SCOUT_EVIDENCES),
        ("scout_tuning", SCOUT_TUNINGS),
    ):
        value = getattr(recipe, name)
        if value not in known:
            raise InputError(describe_unknown(name, value, known, nearest=1))
    for name in ("scout_tile_share", "scout_smallest_glance"):
        value = getattr(recipe, name)
        if not 0.0 < value <= 1.0:
            raise InputError(f"Expected {name} in (0, 1], but got {value}.")
    for name in ("scout_ranking_weight", "scout_tuning_evidence"):
        value = getattr(recipe, name)
        if not value >= 0.0:
            raise InputError(f"Expected {name} from 0, but got {value}.")
    for name, least in (("scout_folds", 2), ("scout_tuning_epochs", 1)):
        value = getattr(recipe, name)
        if value < least:
            raise InputError(f"Expected {name} from {least}, but got {value}.")
    if recipe.closer_glance_px and recipe.closer_glance_px <= recipe.glance_px:
        raise InputError(
            f"Expected a closer glance above the glance of {recipe.glance_px} px, but got "
            f"closer_glance_px={recipe.closer_glance_px}."
        )
    # The rule checks the rest of what it is made of.
    rule = glances_of(recipe, ChoiceRule(threshold_prob=0.5, max_tiles=1))
    replace(rule, uncertain_tiles=recipe.uncertain_tiles)
