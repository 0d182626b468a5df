"""The recipes of whole-photo recognisers: one network, one look at the photo made small."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from leafscout.errors import InputError, describe_unknown
from leafscout.recognisers.shapes import HEADS, RECOGNISERS, HeadKind, RecogniserShape
from leafscout.training.recipes import StageSettings
from leafscout.training.stage_settings import read_value

RECOGNISER_FAMILY = "recogniser"

LOSSES = {
    "bce": "binary cross-entropy, every photo and label alike",
    "focal": "the same, less of it the clearer a case is already",
    "balanced": "the same, a label weighing as much on the photos with it as on those without",
}
"""What evidence is asked for."""

SCHEDULES = {
    "cosine": "down half a cosine, by share of the training",
    "plateau": "a tenth where the validation F1 has not risen for some epochs",
}
"""How the learning rate falls."""

MOST_TIMES = 100
"""That a photo may be repeated in an epoch."""


@dataclass(frozen=True)
class RecogniserRecipe:
    """Everything that decides how a recogniser is trained, beside data and seed.

    Attributes:
        name: the recipe's name.
        encoder: ``efficientnet_b0`` to ``b7``, ``efficientnet_b0_g16_e4`` and its like, a small
            one of ``leafscout.nn.image_encoder.SMALL_ENCODERS``, or timm's name.
        photo_px: side of the square that a photo is squeezed to.
        spatial_transformer: let the network turn and frame the photo first.
        polarised: polarised attention between encoder and head; else the mean of places.
        head: a member of ``leafscout.recognisers.shapes.HEADS``.
        features: length of the vector behind polarised attention.
        margin: of ArcFace while learning, radians; answers never hold it.
        easy_margin: only where the angle is below 90 degrees.
        scale: of ArcFace's cosines at the start; it is learnt.
        loss: a key of ``LOSSES``.
        focal_gamma: of the focal loss, from 0.
        focal_alpha: weight of labels that are there in the focal loss, 0..1.
        pretrained: start from pretrained weights of the encoder.
        epochs: passes over the photos at most.
        batch: photos that go through the network at once.
        accumulation: batches whose gradients make one step.
        rate: learning rate.
        transformer_rate: share of the rate that a spatial transformer learns with, 0..1: one that
            turns photos faster than the encoder can follow loses them.
        weight_decay: 0 makes the optimiser Adam.
        warmup: share of the training during which the rate rises, for ``cosine``.
        schedule: a key of ``SCHEDULES``.
        plateau_patience: epochs without a better F1 before the rate falls, for ``plateau``.
        patience: epochs without a better validation F1 before the training ends.
        clip: gradients are scaled down to this norm.
        mixed_precision: use bfloat16 where that is faster.
        flips: mirror photos left to right and upside down.
        turn_deg: photos are turned by up to so much either way.
        shift: by up to this share of the side, 0..1.
        zoom: by up to this share larger or smaller, 0..1.
        light: spread of brightness, contrast and saturation, 0..1.
        hue_jitter: spread of hue, 0..0.5 of the circle. Colour tells diseases apart: keep it low.
        feature_weight: of a teacher's features beside the labels, 0..100; without one it means
            nothing.
        hidden_share: share of places hidden from a student whose features are taught, 0..0.9.
        oversample: ``LABEL:TIMES``, several with commas: photos with the label come so many times
            in an epoch; of the training photos alone.
    """

    name: str
    encoder: str
    photo_px: int
    spatial_transformer: bool
    polarised: bool
    head: HeadKind
    features: int
    margin: float
    easy_margin: bool
    scale: float
    loss: str = "bce"
    focal_gamma: float = 2.0
    focal_alpha: float = 0.25
    pretrained: bool = True
    epochs: int = 30
    batch: int = 16
    accumulation: int = 2
    rate: float = 1e-4
    transformer_rate: float = 0.1
    weight_decay: float = 0.0
    warmup: float = 0.0
    schedule: str = "cosine"
    plateau_patience: int = 5
    patience: int = 10
    clip: float = 1.0
    mixed_precision: bool = True
    flips: bool = True
    turn_deg: float = 30.0
    shift: float = 0.1
    zoom: float = 0.1
    light: float = 0.2
    hue_jitter: float = 0.02
    feature_weight: float = 1.0
    hidden_share: float = 0.0
    oversample: str = ""
    family: str = RECOGNISER_FAMILY

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values."""
        return asdict(self)

    def shape(self) -> RecogniserShape:
        """What the network is made of."""
        names = [field.name for field in fields(RecogniserShape)]
        return RecogniserShape(**{name: getattr(self, name) for name in names})

    def stage_settings(self) -> StageSettings:
        """What the training loop goes by."""
        return StageSettings(
            epochs=self.epochs,
            photos_per_step=self.batch * self.accumulation,
            learning_rate=self.rate,
            backbone_rate=1.0,
            weight_decay=self.weight_decay,
            warmup_frac=self.warmup,
            patience=self.patience,
            clip_norm=self.clip,
        )

    def repeats(self, labels: tuple[str, ...]) -> dict[str, int]:
        """Label → how many times its training photos come in an epoch.

        Raises:
            InputError: when ``oversample`` names a label that the photos do not have.
        """
        found = read_oversample(self.oversample)
        for label in found:
            if label not in labels:
                raise InputError(
                    f"oversample names {label!r}, but the labels of these photos are "
                    f"{', '.join(labels)}. Name one of them, as in {labels[0]}:3."
                )
        return found


def read_oversample(text: str) -> dict[str, int]:
    """``rust:3,scab:2`` → how many times photos of each label come in an epoch.

    Raises:
        InputError: when it reads otherwise.
    """
    found: dict[str, int] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        label, colon, times = part.rpartition(":")
        if not colon or not label or not times.isdecimal() or not 1 <= int(times) <= MOST_TIMES:
            raise InputError(
                f"Expected oversample as LABEL:TIMES with times from 1 to {MOST_TIMES}, such as "
                f"rust:3, several with commas, but got {part!r}."
            )
        found[label] = int(times)
    return found


_LEARNT_FROM_NOTHING: dict[str, Any] = {
    "pretrained": False,
    "epochs": 30,
    "accumulation": 1,
    "rate": 1e-3,
    "weight_decay": 0.01,
    "warmup": 0.1,
    "mixed_precision": False,
}
"""A small network that begins at chance needs larger steps and more of them."""


def _make(name: str) -> Callable[[], RecogniserRecipe]:
    own = _LEARNT_FROM_NOTHING if name.startswith("small_") else {}
    # Grouped convolutions have other shapes than those that weights were published for.
    pretrained = {} if "_g" not in RECOGNISERS[name].encoder else {"pretrained": False}
    return lambda: RecogniserRecipe(name, **asdict(RECOGNISERS[name]), **{**pretrained, **own})


RECOGNISER_RECIPES: dict[str, Callable[[], RecogniserRecipe]] = {
    name: _make(name) for name in RECOGNISERS
}
"""A recipe for each of ``leafscout.recognisers.shapes.RECOGNISERS``."""

NEEDLESS = ("tile_px", "expert", "scout", "expert_shrink", "pooling", "stages", "exclusive")
"""Settings of other recipes that one look at the whole photo does not have."""


def choose_recogniser_recipe(
    name: str, overrides: Mapping[str, Any] | None = None
) -> RecogniserRecipe:
    """A recipe by name, with single settings replaced.

    Args:
        name: a key of ``RECOGNISER_RECIPES``.
        overrides: fields of ``RecogniserRecipe`` to replace; ``glance_px`` replaces ``photo_px``.
            None values are passed over.

    Raises:
        InputError: unknown setting, or a value out of range.
    """
    recipe = RECOGNISER_RECIPES[name]()
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    needless = next((key for key in NEEDLESS if key in given), None)
    if needless is not None:
        raise InputError(
            f"The recipe {name!r} is one network that looks once at the whole photo and has no "
            f"{needless}. Leave that option out, or choose another recipe."
        )
    if any(key.startswith("distil_") for key in given):
        raise InputError(
            f"The recipe {name!r} learns a teacher's features alone, weighed by --set "
            "feature_weight=1, and takes no --distil, --soft-labels, --temperature, --soft-weight, "
            "--features or --attention-transfer. Leave those out, or choose another recipe."
        )
    if "glance_px" in given:
        given["photo_px"] = given.pop("glance_px")
    known = [one.name for one in fields(RecogniserRecipe) if one.name not in ("name", "family")]
    for key in given:
        if key not in known:
            raise InputError(describe_unknown("setting", key, known, nearest=2))
    given = {key: read_value(key, value, getattr(recipe, key)) for key, value in given.items()}
    recipe = replace(recipe, **given)
    _check(recipe)
    return recipe


_RANGES: dict[str, tuple[float, float]] = {
    "photo_px": (64, 2048),
    "features": (1, 8192),
    "margin": (0.0, 3.14),
    "focal_gamma": (0.0, 10.0),
    "focal_alpha": (0.0, 1.0),
    "epochs": (1, 100_000),
    "batch": (1, 4096),
    "accumulation": (1, 4096),
    "transformer_rate": (0.0, 1.0),
    "weight_decay": (0.0, 1.0),
    "warmup": (0.0, 0.9),
    "plateau_patience": (0, 100_000),
    "patience": (1, 100_000),
    "turn_deg": (0.0, 180.0),
    "shift": (0.0, 0.5),
    "zoom": (0.0, 0.5),
    "light": (0.0, 0.9),
    "hue_jitter": (0.0, 0.5),
    "feature_weight": (0.0, 100.0),
    "hidden_share": (0.0, 0.9),
}


def _check(recipe: RecogniserRecipe) -> None:
    for name, (low, high) in _RANGES.items():
        value = getattr(recipe, name)
        if not low <= value <= high:
            raise InputError(f"Expected {name} from {low:g} to {high:g}, but got {value}.")
    for name in ("rate", "scale", "clip"):
        value = getattr(recipe, name)
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"Expected {name} above 0, but got {value}.")
    for name, known in (("loss", LOSSES), ("schedule", SCHEDULES), ("head", HEADS)):
        value = getattr(recipe, name)
        if value not in known:
            raise InputError(describe_unknown(name, value, known))
    read_oversample(recipe.oversample)
