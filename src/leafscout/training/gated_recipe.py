"""The recipe of the integrated variant: one network whose early layers drop tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from leafscout.diagnosis.pooling import POOLINGS
from leafscout.errors import InputError, describe_unknown
from leafscout.recognisers.gate_kinds import GATE_KINDS
from leafscout.training.recipes import StageSettings
from leafscout.training.stage_settings import read_value

BUDGETS = {
    "bottleneck": "what each gate says costs its divergence from a prior that keeps little",
    "hinge": "only the mean share kept beyond a wanted one costs",
}
"""How dropping is asked for."""

GATED_FAMILY = "gated"


@dataclass(frozen=True)
class GatedRecipe:
    """Everything that decides how the integrated variant is trained, beside data and seed.

    Attributes:
        name: the recipe's name.
        stem: backbone of the early layers: ``tiny``, or timm's name of a convolutional network or
            of a plain vision transformer, whose own blocks are then split at ``early_blocks``.
        view_px: long side of the view of the photo that the network reads.
        token_px: side of a token in pixels of the view, a power of two from 8.
        width: of a token.
        early_blocks: transformer blocks before the gate.
        later_blocks: transformer blocks behind it.
        num_heads: of the attention.
        pooling: evidence of tokens → evidence of the photo.
        exact_negative_weight: weight of the loss on tokens of photos without the label.
        gate_kind: a key of ``leafscout.recognisers.gate_kinds.GATE_KINDS``.
        gate_budget: a key of ``BUDGETS``.
        gate_weight: λ, the weight of that cost; 0 asks for no dropping.
        keep_share: the prior of the bottleneck, or the share wanted of the hinge, inside (0, 1).
        gate_warmup_epochs: epochs before the weight begins to rise.
        stage: how the network is trained.
    """

    name: str
    stem: str
    view_px: int
    token_px: int
    width: int
    early_blocks: int
    later_blocks: int
    num_heads: int
    pooling: str
    exact_negative_weight: float
    gate_kind: str
    gate_budget: str
    gate_weight: float
    keep_share: float
    gate_warmup_epochs: int
    stage: StageSettings
    family: str = GATED_FAMILY
    exclusive: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values, the stage nested."""
        return asdict(self)


def gated() -> GatedRecipe:
    """Learns from scratch on a CPU in minutes, from views of 512 px with tokens of 16 px."""
    return GatedRecipe(
        name="gated",
        stem="tiny",
        view_px=512,
        token_px=16,
        width=64,
        early_blocks=0,
        later_blocks=3,
        num_heads=2,
        pooling="log_sum_exp",
        exact_negative_weight=0.5,
        gate_kind="gumbel",
        gate_budget="bottleneck",
        gate_weight=0.5,
        keep_share=0.05,
        gate_warmup_epochs=8,
        stage=StageSettings(
            epochs=16, photos_per_step=1, learning_rate=2e-3, backbone_rate=1.0, patience=16
        ),
    )


GATED_RECIPES: dict[str, Callable[[], GatedRecipe]] = {"gated": gated}

NEEDLESS = ("tile_px", "expert", "scout", "expert_shrink")
"""Settings of the two-stage recipes that one network for the whole photo does not have."""


def choose_gated_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> GatedRecipe:
    """A recipe by name, with single settings replaced.

    Args:
        name: a key of ``GATED_RECIPES``.
        overrides: fields of ``GatedRecipe`` to replace; ``epochs`` replaces those of the stage and
            ``glance_px`` the size of the view. None values are passed over.

    Raises:
        InputError: unknown setting, or a value out of range.
    """
    recipe = GATED_RECIPES[name]()
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    needless = [key for key in NEEDLESS if key in given]
    if needless:
        raise InputError(
            f"The recipe {name!r} is one network for the whole photo and has no {needless[0]}. "
            "Leave that option out, or choose another recipe."
        )
    epochs = given.pop("epochs", None)
    if epochs is not None:
        epochs = read_value("epochs", epochs, 1)
        if epochs < 1:
            raise InputError(f"Expected at least 1 epoch, but got {epochs}.")
        warmup = min(recipe.gate_warmup_epochs, epochs // 2)
        recipe = replace(
            recipe, stage=replace(recipe.stage, epochs=int(epochs)), gate_warmup_epochs=warmup
        )
    if "glance_px" in given:
        given["view_px"] = given.pop("glance_px")
    known = [field.name for field in fields(GatedRecipe) if field.name not in ("stage", "family")]
    for key in given:
        if key not in known:
            raise InputError(
                f"There is no setting called {key!r} in the recipe {name!r}. Expected one of: "
                f"{', '.join(known)}."
            )
    given = {key: read_value(key, value, getattr(recipe, key)) for key, value in given.items()}
    recipe = replace(recipe, **given)
    _check(recipe)
    return recipe


def gated_recipe_from_dict(values: Mapping[str, Any]) -> GatedRecipe:
    """The inverse of ``GatedRecipe.to_dict``."""
    return GatedRecipe(**{**values, "stage": StageSettings(**values["stage"])})


def _check(recipe: GatedRecipe) -> None:
    if recipe.token_px not in (8, 16, 32):
        raise InputError(f"Expected token_px to be 8, 16 or 32, but got {recipe.token_px}.")
    if recipe.view_px < 64:
        raise InputError(f"Expected --glance-px to be at least 64, but got {recipe.view_px}.")
    if not 0.0 < recipe.keep_share < 1.0:
        raise InputError(f"Expected keep_share inside (0, 1), but got {recipe.keep_share}.")
    if recipe.gate_weight < 0 or recipe.gate_warmup_epochs < 0:
        raise InputError(
            "Expected gate_weight and gate_warmup_epochs from 0, but got "
            f"{recipe.gate_weight} and {recipe.gate_warmup_epochs}."
        )
    if recipe.later_blocks < 1 or recipe.early_blocks < 0:
        raise InputError(
            "Expected later_blocks from 1 and early_blocks from 0, but got "
            f"{recipe.later_blocks} and {recipe.early_blocks}."
        )
    for name, known in (
        ("pooling", POOLINGS),
        ("gate_kind", GATE_KINDS),
        ("gate_budget", BUDGETS),
    ):
        value = getattr(recipe, name)
        if value not in known:
            raise InputError(describe_unknown(name, value, known))
