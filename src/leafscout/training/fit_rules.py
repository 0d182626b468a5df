"""After training: fit the rules between and after the networks on the validation photos.

Everything is fitted on the path that is deployed — scout, choice, fewer tiles — not on all tiles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from leafscout.diagnosis.calibrate import Calibration, fit_calibration, sigmoid
from leafscout.diagnosis.fuse import fuse_evidence
from leafscout.evaluation.thresholds import bagged_f1_thresholds
from leafscout.glance.choose import ChoiceRule, fit_threshold, fit_uncertain_spread
from leafscout.model import GlanceAndFocus, Networks, Rules, choose_read
from leafscout.photos.labels import LabelTable
from leafscout.photos.loader import load_photos
from leafscout.photos.tiles import cut_tiles
from leafscout.training.place_offset import measure_place_offset
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import Recipe
from leafscout.training.scout_settings import glances_of
from leafscout.types import Evidence, FloatArray, Photo, Pixels, Tiles

FALSE_SUSPICION_FRAC = 0.05
"""Share of healthy validation photos whose glance may forbid the early exit."""

FALSE_UNCERTAIN_FRAC = 0.02
"""Share of the tiles of healthy validation photos that may count as uncertain."""

OFFSET_TILES = 32
"""Tiles on which the offset of the places is measured."""

READ_EVERYTHING = ChoiceRule(threshold_prob=0.0, max_tiles=1_000_000)

VARIANTS: dict[str, tuple[bool, float | None]] = {
    "fusion_off": (False, 0.0),
    "glance_only": (False, 1.0),
    "all_tiles": (True, 0.0),
    "all_tiles_fused": (True, None),
}
"""Name → whether every tile is read, and the weight of the glance; None fits it."""


@dataclass(frozen=True)
class FittedRules:
    """What was fitted on the validation photos.

    Attributes:
        rules: of the model.
        thresholds_fitted: (labels,) False where no validation photo has the label.
        variants: the rules of the ``VARIANTS`` that an evaluation compares the model with, each
            with its own calibration and thresholds.
    """

    rules: Rules
    thresholds_fitted: tuple[bool, ...]
    variants: dict[str, Rules]


def fit_rules(
    networks: Networks,
    recipe: Recipe,
    validation: LabelTable,
    *,
    expert_macs: int,
    scout_macs_per_px: float,
    progress: TrainingProgress,
) -> FittedRules:
    """Fit the choice of tiles, the fusion, the calibration and the thresholds.

    Args:
        networks: trained scout and expert.
        recipe: sizes, pooling and wanted recall.
        validation: photos used for nothing but validation.
        expert_macs: multiply-adds of the expert for one tile.
        scout_macs_per_px: multiply-adds of the scout for one pixel of the glance.
        progress: where to show it.

    Returns:
        The rules of the model.
    """
    labels = len(validation.labels)
    rules = Rules(
        labels=validation.labels,
        tile_px=recipe.tile_px,
        glance_px=recipe.glance_px,
        pooling=recipe.pooling,
        choice=glances_of(recipe, ChoiceRule(threshold_prob=0.5, max_tiles=1)),
        glance_weights=(0.0,) * labels,
        calibration=Calibration((1.0,) * labels, (0.0,) * labels, recipe.exclusive),
        thresholds=(0.5,) * labels,
        expert_macs=expert_macs,
        scout_macs_per_px=scout_macs_per_px,
    )
    model = GlanceAndFocus(networks, rules)
    seen: list[Evidence] = []
    lesion_tiles: list[tuple[Pixels, int]] = []
    truth = validation.truth
    with progress.task("fitting the rules", total=len(validation.paths)) as task:
        for index, photo in load_photos(validation.paths, range(len(validation.paths))):
            evidence, tiles = model.forward(photo, read_all=True)
            seen.append(evidence)
            if truth[index].any() and len(lesion_tiles) < OFFSET_TILES:
                lesion_tiles.append(find_clearest_tile(photo, tiles, evidence, truth[index]))
            task.advance()
    rules = replace(rules, place_offset_px=measure_place_offset(networks, lesion_tiles))
    chosen = replace(rules, choice=fit_choice(seen, truth, recipe))
    everything = replace(rules, choice=glances_of(recipe, READ_EVERYTHING))
    fitted, has_positives = fit_decision(networks, chosen, seen, truth, None)
    return FittedRules(
        rules=fitted,
        thresholds_fitted=has_positives,
        variants={
            name: fit_decision(networks, everything if read_all else chosen, seen, truth, weight)[0]
            for name, (read_all, weight) in VARIANTS.items()
        },
    )


def find_clearest_tile(
    photo: Photo, tiles: Tiles, evidence: Evidence, truth: NDArray[np.bool_]
) -> tuple[Pixels, int]:
    """The tile with the most evidence for one of the photo's labels, and which label that is."""
    logits = np.where(truth, evidence.tile_logits, -np.inf)
    tile, label = np.unravel_index(int(logits.argmax()), logits.shape)
    return cut_tiles(photo.pixels, tiles, [int(tile)])[0], int(label)


def fit_decision(
    networks: Networks,
    rules: Rules,
    seen: list[Evidence],
    truth: NDArray[np.bool_],
    glance_weight: float | None,
) -> tuple[Rules, tuple[bool, ...]]:
    """Fit fusion, calibration and thresholds for a given choice of tiles.

    Args:
        networks: scout and expert.
        rules: with the choice to fit for.
        seen: evidence of the validation photos, all tiles read.
        truth: (photos, labels).
        glance_weight: weight of the glance; None fits it.

    Returns:
        The rules with what was fitted, and for each label whether it had positives.
    """
    model = GlanceAndFocus(networks, rules)
    focus = np.stack([skip_unchosen(model, evidence) for evidence in seen])
    glance = np.stack([evidence.glance_logits for evidence in seen])
    exclusive = rules.calibration.exclusive
    if glance_weight is None:
        weights = fit_glance_weights(focus, glance, truth, exclusive=exclusive)
    else:
        weights = (glance_weight,) * truth.shape[1]
    fused = fuse_evidence(focus, glance, weights)
    calibration = fit_calibration(fused, truth, exclusive=exclusive)
    fit = bagged_f1_thresholds(truth, calibration.apply(fused))
    fitted = replace(
        rules,
        glance_weights=weights,
        calibration=calibration,
        thresholds=tuple(float(value) for value in fit.thresholds),
    )
    return fitted, tuple(bool(value) for value in fit.fitted)


def fit_choice(seen: list[Evidence], truth: NDArray[np.bool_], recipe: Recipe) -> ChoiceRule:
    """The choice of tiles: the highest threshold that keeps the tiles which decide.

    Args:
        seen: evidence of the validation photos, all tiles read.
        truth: (photos, labels).
        recipe: wanted recall and largest share of tiles.

    Returns:
        The rule.
    """
    scout_probs = [sigmoid(evidence.scout_logits).astype(np.float32) for evidence in seen]
    decisive = []
    for evidence, row in zip(seen, truth, strict=True):
        best = evidence.tile_logits.argmax(axis=0)
        decisive.append(
            [int(best[c]) for c in np.flatnonzero(row) if evidence.tile_logits[best[c], c] >= 0]
        )
    healthy_glance = [
        float(sigmoid(evidence.glance_logits).max())
        for evidence, row in zip(seen, truth, strict=True)
        if not row.any()
    ]
    suspicion = np.quantile(healthy_glance, 1 - FALSE_SUSPICION_FRAC) if healthy_glance else 0.5
    largest = max(len(evidence.read) for evidence in seen)
    rule = ChoiceRule(
        threshold_prob=fit_threshold(scout_probs, decisive, recipe.keep_recall),
        max_tiles=max(1, round(recipe.max_tiles_frac * largest)),
        suspicion_prob=float(min(1.0, max(0.5, suspicion))),
    )
    if not recipe.uncertain_tiles:
        return glances_of(recipe, rule)
    healthy_spreads = [
        evidence.scout_spread
        for evidence, row in zip(seen, truth, strict=True)
        if evidence.scout_spread is not None and not row.any()
    ]
    return replace(
        glances_of(recipe, rule),
        uncertain_tiles=recipe.uncertain_tiles,
        uncertain_spread=fit_uncertain_spread(healthy_spreads, FALSE_UNCERTAIN_FRAC),
    )


def skip_unchosen(model: GlanceAndFocus, evidence: Evidence) -> FloatArray:
    """(labels,) focus evidence as if only the chosen tiles had been read."""
    return model.pool(evidence, choose_read(evidence, model.rules.choice))


def fit_glance_weights(
    focus_logits: FloatArray,
    glance_logits: FloatArray,
    truth: NDArray[np.bool_],
    *,
    exclusive: bool = False,
) -> tuple[float, ...]:
    """Give glance and tiles an equal say, once each means what it says.

    Each is calibrated by itself, and the mean of the two calibrated logits is what the weights
    give, up to a scale and a shift that the fused calibration fits. Evidence that predicts nothing
    calibrates to nearly a constant, so it has next to no say. A weight chosen by the score of a
    few validation photos would fall for whichever of the two happened to do well on them.

    Args:
        focus_logits: (photos, labels) pooled evidence of the tiles.
        glance_logits: (photos, labels) evidence of the glance.
        truth: (photos, labels).
        exclusive: whether the calibrations are those of exclusive labels.

    Returns:
        (labels,) weights of the glance, 0..1.
    """
    focus = np.asarray(fit_calibration(focus_logits, truth, exclusive=exclusive).scale)
    glance = np.asarray(fit_calibration(glance_logits, truth, exclusive=exclusive).scale)
    return tuple(float(weight) for weight in glance / (focus + glance))
