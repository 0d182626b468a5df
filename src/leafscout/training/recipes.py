"""Recipes: functions that return a complete setting of sizes, networks and stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from leafscout.diagnosis.pooling import POOLINGS
from leafscout.errors import InputError, describe_unknown
from leafscout.photos.augment import LightChange
from leafscout.training.distil_settings import check_distil
from leafscout.training.scout_settings import check_scout
from leafscout.training.stage_settings import check_joint, read_stages, read_value

VAL_FRAC = 0.2
"""Share of the training photos used for validation, where no split is given."""

MAX_TILE_PX = 2048
"""A photo smaller than a tile is continued to a whole one, so a tile must fit into memory."""


BAG_OBJECTIVES = {
    "mil": "the tiles are pooled, and what is pooled meets the photo's labels",
    "copied_label": "every tile gets the labels of its photo",
    "copied_label_smoothed": "the same, with softer positives",
    "background_class": "pooled too, with background as a class of its own",
}
"""What the expert is asked of a photo. All but the first are baselines to beat."""

CONTEXT_POOLING_NAMES = ("transformer", "graph")
"""Poolings over the features of all tiles; see ``leafscout.diagnosis.context``."""


@dataclass(frozen=True)
class StageSettings:
    """How one network is trained.

    Attributes:
        epochs: passes over the training photos at most.
        photos_per_step: photos whose gradients are added up before a step.
        learning_rate: of the new layers.
        backbone_rate: the backbone's learning rate as a share of ``learning_rate``.
        weight_decay: of AdamW.
        warmup_frac: share of the stage in which the learning rate rises.
        patience: epochs without a better validation score before the stage ends.
        clip_norm: gradients are scaled down to this norm.
    """

    epochs: int
    photos_per_step: int
    learning_rate: float
    backbone_rate: float
    weight_decay: float = 0.01
    warmup_frac: float = 0.1
    patience: int = 5
    clip_norm: float = 5.0


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a model is trained, beside the data and the seed.

    Attributes:
        name: the recipe's name.
        expert: backbone of the expert.
        scout: backbone of the scout.
        pretrained: whether the backbones start from pretrained weights.
        tile_px: side of a tile in pixels of the photo.
        glance_px: long side of the glance in pixels.
        pooling: evidence of tiles → evidence of the photo.
        place_sharpness: evidence of places → evidence of a tile; 0 is the mean, infinite the
            maximum. From scratch a sharp one learns: the mean buries a lesion in background.
        place_stride: 32, or 16 for places of half the side, told from a finer feature map as well.
        scout_stride: 16, or 32 for a scout that reads the whole backbone; its places are the same.
        expert_shrink: pixels of a tile averaged to one, along a side, before the expert sees it.
        tiles_best: tiles with the most evidence that the expert learns from, a photo and step.
        tiles_random: further tiles drawn at random.
        exact_negative_weight: weight of the loss on tiles of photos without the label.
        exact_negative_warmup_epochs: epochs before that weight begins to rise; 0 for none.
        evidence_weight: weight of a sure lesion tile against a background tile in the scout's loss.
        keep_recall: share of validation photos that must keep their decisive tiles, 0..1.
        max_tiles_frac: at most this share of a photo's tiles is read, 0..1.
        expert_stage: training of the expert.
        scout_stage: training of the scout.
        bag_objective: a key of ``BAG_OBJECTIVES``.
        copied_label_frac: share of the expert's epochs, at the start, in which every tile gets its
            photo's labels, 0..1: without pretrained features the best tiles are chance at first,
            and may stay so.
        exclusive: photos show one disease or none: a softmax with healthy at 0 instead of a
            sigmoid for each label.
        context_pooling: ``none``, or a pooling over the features of all tiles that teaches the
            expert beside ``pooling``: one of ``CONTEXT_POOLING_NAMES``.
        best_tile_dropout: chance that the strongest tile of a disease is left out of its bag.
        sparsity_weight: weight of the mean disease probability of tiles; 0 leaves it out.
        sparsity_warmup_epochs: epochs before that weight begins to rise.
        label_smoothing: of the positives of ``copied_label_smoothed``, 0..1.
        foreground_only: copy labels of diseased photos only to tiles that are not all green.
        exposure_stops: photos to learn from get up to so many stops brighter or darker, 0..3, for
            photos whose exposure varies more than in those learnt from.
        colour_change: their colour channels change by up to this share, 0..1. Colour is evidence:
            only for cameras and light that shift it.
        scout_target: what the scout's score predicts: a key of ``scout_settings.SCOUT_TARGETS``.
        scout_ranking: what its loss asks beside: a key of ``scout_settings.SCOUT_RANKINGS``.
        scout_ranking_weight: of that, against the loss of the values.
        scout_evidence: whose evidence it learns: a key of ``scout_settings.SCOUT_EVIDENCES``.
        scout_folds: folds of the training photos, for evidence out of fold.
        scout_tile_share: share of a training photo's tiles, drawn at random, that the expert reads
            to teach the scout, 0..1; below 1 it bounds the cost of huge photos.
        scout_smallest_glance: the scout learns on glances down to this share of ``glance_px``,
            0..1; below 1 it can be used on coarser glances too.
        scout_tuning: how the photo's label teaches the scout in the end: a key of
            ``scout_settings.SCOUT_TUNINGS``.
        scout_tuning_epochs: passes over the training photos of that at most.
        scout_tuning_evidence: weight of the evidence loss in it; 0 leaves the label alone.
        mirrored_glances: further glances, mirrored, that the scout takes of every photo, 0..3.
        uncertain_tiles: places for tiles on which the glances disagree; needs mirrored ones.
        closer_glance_px: long side of a closer glance at promising regions, for very large photos;
            0 for none. Needs a scout that has learnt both scales: ``scout_smallest_glance``.
        closer_regions: regions of the closer glance that are looked at, at most.
        border_exponent: how strictly a place of the scout that a tile's border cuts counts for the
            tile that holds most of it; 1 is in proportion to its area.
        distil_mode: a key of ``leafscout.training.distil_settings.DISTIL_MODES``.
        distil_levels: whose soft labels the teacher gives: photo, tile, place, or several with +.
        distil_temperature: that both evidences are divided by; above 1 the labels get softer.
        distil_soft_weight: weight of the soft labels against the photos' own, 0..1.
        distil_features: ``none``, or how the student's features are held to the teacher's:
            ``cosine`` or ``mse``.
        distil_feature_weight: weight of that.
        distil_attention_weight: weight of looking where the teacher looks; 0 leaves it out.
        stages: keys of ``stage_settings.STAGES``, in the order in which they are trained.
        joint_epochs: passes over the training photos at most, of every stage after the first two.
        joint_rate: learning rates of these stages as a share of those of the first two.
        joint_weighted: weight of the score-weighted loss, through which the scout learns from the
            photo's label; 0 leaves it out.
        joint_fresh: weight of what the scout learns from the expert's evidence of the same step;
            0 leaves it out.
    """

    name: str
    expert: str
    scout: str
    pretrained: bool
    tile_px: int
    glance_px: int
    pooling: str
    place_sharpness: float
    place_stride: int
    scout_stride: int
    expert_shrink: int
    tiles_best: int
    tiles_random: int
    exact_negative_weight: float
    evidence_weight: float
    keep_recall: float
    max_tiles_frac: float
    expert_stage: StageSettings
    scout_stage: StageSettings
    bag_objective: str = "mil"
    exact_negative_warmup_epochs: int = 0
    copied_label_frac: float = 0.0
    exclusive: bool = False
    context_pooling: str = "none"
    best_tile_dropout: float = 0.0
    sparsity_weight: float = 0.0
    sparsity_warmup_epochs: int = 3
    label_smoothing: float = 0.1
    foreground_only: bool = False
    exposure_stops: float = 0.0
    colour_change: float = 0.0
    scout_target: str = "probability"
    scout_ranking: str = "none"
    scout_ranking_weight: float = 0.5
    scout_evidence: str = "same_photos"
    scout_folds: int = 4
    scout_tile_share: float = 1.0
    scout_smallest_glance: float = 1.0
    scout_tuning: str = "none"
    scout_tuning_epochs: int = 4
    scout_tuning_evidence: float = 1.0
    mirrored_glances: int = 0
    uncertain_tiles: int = 0
    closer_glance_px: int = 0
    closer_regions: int = 8
    border_exponent: float = 8.0
    distil_mode: str = "none"
    distil_levels: str = "tile"
    distil_temperature: float = 2.0
    distil_soft_weight: float = 0.7
    distil_features: str = "none"
    distil_feature_weight: float = 1.0
    distil_attention_weight: float = 0.0
    stages: tuple[str, ...] = ("expert", "scout")
    joint_epochs: int = 4
    joint_rate: float = 0.3
    joint_weighted: float = 1.0
    joint_fresh: float = 1.0

    @property
    def light_change(self) -> LightChange:
        """How the light of photos to learn from changes beyond the usual."""
        return LightChange(self.exposure_stops, self.colour_change)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values, settings of the stages nested."""
        return {**asdict(self), "stages": list(self.stages)}


def tiny() -> Recipe:
    """Learns from scratch on a CPU in minutes; for demos, tests and small photos."""
    stage = StageSettings(
        epochs=24, photos_per_step=1, learning_rate=3e-3, backbone_rate=1.0, patience=12
    )
    return Recipe(
        name="tiny",
        expert="tiny",
        scout="tiny",
        pretrained=False,
        tile_px=128,
        glance_px=384,
        pooling="top_k_mean",
        place_sharpness=8.0,
        place_stride=32,
        scout_stride=16,
        expert_shrink=1,
        tiles_best=6,
        tiles_random=4,
        exact_negative_weight=0.5,
        evidence_weight=8.0,
        keep_recall=0.98,
        max_tiles_frac=0.5,
        expert_stage=stage,
        scout_stage=replace(stage, epochs=16, learning_rate=1e-3),
    )


def mobile() -> Recipe:
    """MobileNet-class scout and expert: fine-tunes on a CPU in well under an hour."""
    return Recipe(
        name="mobile",
        expert="mobilenetv2_100",
        scout="mobilenetv2_100",
        pretrained=True,
        tile_px=384,
        glance_px=768,
        pooling="log_sum_exp",
        place_sharpness=1.0,
        place_stride=16,
        scout_stride=32,
        expert_shrink=1,
        tiles_best=4,
        tiles_random=1,
        exact_negative_weight=0.3,
        evidence_weight=4.0,
        keep_recall=0.98,
        max_tiles_frac=0.5,
        # With frozen normalisation a backbone rate of 3e-5 already unlearns what it knows.
        expert_stage=StageSettings(
            epochs=6, photos_per_step=4, learning_rate=1e-4, backbone_rate=0.1, patience=4
        ),
        scout_stage=StageSettings(
            epochs=12, photos_per_step=4, learning_rate=3e-3, backbone_rate=0.003, patience=4
        ),
    )


def full() -> Recipe:
    """MobileNet-class scout and an EfficientNetV2-S expert; wants a GPU."""
    return replace(
        mobile(),
        name="full",
        expert="tf_efficientnetv2_s",
        expert_stage=StageSettings(
            epochs=20, photos_per_step=8, learning_rate=5e-4, backbone_rate=0.2, patience=6
        ),
        scout_stage=StageSettings(
            epochs=30, photos_per_step=16, learning_rate=1e-3, backbone_rate=0.3, patience=8
        ),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {"tiny": tiny, "mobile": mobile, "full": full}


def choose_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by name, with single settings replaced.

    Args:
        name: a key of ``RECIPES``.
        overrides: fields of ``Recipe`` to replace; ``epochs`` replaces those of both stages, and
            ``expert_epochs`` and ``scout_epochs`` those of one. None values are passed over.

    Raises:
        InputError: unknown recipe, setting or pooling, or a value out of range.
    """
    if name not in RECIPES:
        raise InputError(describe_unknown("recipe", name, RECIPES, nearest=2))
    recipe = RECIPES[name]()
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    epochs = given.pop("epochs", None)
    for stage in ("expert", "scout"):
        wanted = given.pop(f"{stage}_epochs", epochs)
        if wanted is not None:
            wanted = read_value(f"{stage}_epochs", wanted, 1)
            if wanted < 1:
                raise InputError(f"Expected at least 1 epoch, but got {wanted}.")
            key = f"{stage}_stage"
            settings = replace(getattr(recipe, key), epochs=wanted)
            recipe = replace(recipe, **{key: settings})
    known = [field.name for field in fields(Recipe) if not field.name.endswith("_stage")]
    for key in given:
        if key not in known:
            raise InputError(describe_unknown("setting", key, known, nearest=2))
    if "stages" in given:
        given["stages"] = read_stages(given["stages"])
    given = {key: read_value(key, value, getattr(recipe, key)) for key, value in given.items()}
    recipe = replace(recipe, **given)
    _check(recipe)
    return recipe


def recipe_from_dict(values: Mapping[str, Any]) -> Recipe:
    """The inverse of ``Recipe.to_dict``."""
    nested = {key: StageSettings(**values[key]) for key in ("expert_stage", "scout_stage")}
    stages = tuple(values.get("stages", ("expert", "scout")))
    return Recipe(**{**values, **nested, "stages": stages})


def choice_from_dict(values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and overrides that make ``choose_recipe`` give a recipe again, from its ``to_dict``."""
    overrides = {key: value for key, value in values.items() if not key.endswith("_stage")}
    for stage in ("expert", "scout"):
        overrides[f"{stage}_epochs"] = values[f"{stage}_stage"]["epochs"]
    return str(overrides.pop("name")), overrides


def _check(recipe: Recipe) -> None:
    if not 64 <= recipe.tile_px <= MAX_TILE_PX or recipe.tile_px % 32:
        raise InputError(
            f"Expected --tile-px to be a multiple of 32 from 64 to {MAX_TILE_PX}, but got "
            f"{recipe.tile_px}."
        )
    if recipe.expert_shrink not in (1, 2, 4) or recipe.tile_px // recipe.expert_shrink < 64:
        raise InputError(
            "Expected expert_shrink to be 1, 2 or 4 and to leave at least 64 px of a tile, but got "
            f"{recipe.expert_shrink} for tiles of {recipe.tile_px} px."
        )
    for name in ("place_stride", "scout_stride"):
        if getattr(recipe, name) not in (16, 32):
            raise InputError(f"Expected {name} to be 16 or 32, but got {getattr(recipe, name)}.")
    if recipe.glance_px < 64:
        raise InputError(f"Expected --glance-px to be at least 64, but got {recipe.glance_px}.")
    if recipe.tiles_best < 1 or recipe.tiles_random < 0:
        raise InputError(
            "Expected tiles_best from 1 and tiles_random from 0, but got "
            f"{recipe.tiles_best} and {recipe.tiles_random}."
        )
    if not 0.0 < recipe.max_tiles_frac <= 1.0:
        raise InputError(f"Expected max_tiles_frac in (0, 1], but got {recipe.max_tiles_frac}.")
    if not 0.0 < recipe.keep_recall <= 1.0:
        raise InputError(f"Expected keep_recall in (0, 1], but got {recipe.keep_recall}.")
    _check_light(recipe)
    _check_objective(recipe)
    check_scout(recipe)
    check_joint(recipe)
    check_distil(recipe)


def _check_light(recipe: Recipe) -> None:
    for name, most in (("exposure_stops", 3.0), ("colour_change", 0.9)):
        value = getattr(recipe, name)
        if not 0.0 <= value <= most:
            raise InputError(f"Expected {name} from 0 to {most:g}, but got {value}.")


def _check_objective(recipe: Recipe) -> None:
    if recipe.pooling in CONTEXT_POOLING_NAMES:
        raise InputError(
            f"The pooling {recipe.pooling!r} needs the features of every tile, which a diagnosis "
            "that reads a few tiles does not have, so a model cannot be deployed with it. Train "
            f"with context_pooling={recipe.pooling!r}, and choose a pooling of: "
            f"{', '.join(POOLINGS)}."
        )
    if recipe.pooling not in POOLINGS:
        raise InputError(describe_unknown("pooling", recipe.pooling, POOLINGS, nearest=2))
    if recipe.bag_objective not in BAG_OBJECTIVES:
        raise InputError(
            describe_unknown("bag_objective", recipe.bag_objective, BAG_OBJECTIVES, nearest=2)
        )
    contexts = ["none", *CONTEXT_POOLING_NAMES]
    if recipe.context_pooling not in contexts:
        raise InputError(
            describe_unknown("context_pooling", recipe.context_pooling, contexts, nearest=2)
        )
    for name in ("best_tile_dropout", "copied_label_frac", "label_smoothing"):
        value = getattr(recipe, name)
        if not 0.0 <= value < 1.0:
            raise InputError(f"Expected {name} in [0, 1), but got {value}.")
    if recipe.exact_negative_warmup_epochs < 0:
        raise InputError(
            "Expected exact_negative_warmup_epochs from 0, but got "
            f"{recipe.exact_negative_warmup_epochs}."
        )
    if recipe.sparsity_weight < 0 or recipe.sparsity_warmup_epochs < 0:
        raise InputError(
            "Expected sparsity_weight and sparsity_warmup_epochs from 0, but got "
            f"{recipe.sparsity_weight} and {recipe.sparsity_warmup_epochs}."
        )
    _check_belongs_together(recipe)


def _check_belongs_together(recipe: Recipe) -> None:
    wanted = {
        "exclusive": recipe.exclusive,
        "context_pooling": recipe.context_pooling != "none",
        "best_tile_dropout": recipe.best_tile_dropout > 0,
    }
    if recipe.bag_objective != "mil" and any(wanted.values()):
        option = next(name for name, given in wanted.items() if given)
        raise InputError(
            f"The option {option} belongs to bag_objective='mil', but got "
            f"{recipe.bag_objective!r}. Leave one of the two out."
        )
    if recipe.foreground_only and not recipe.bag_objective.startswith("copied_label"):
        raise InputError(
            "The option foreground_only belongs to copied labels, but got "
            f"bag_objective={recipe.bag_objective!r}: a bag holds every tile, green ones as well."
        )
