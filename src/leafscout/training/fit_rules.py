"""After training: fit the rules between and after the networks on the validation photos.

Everything is fitted on the path that is deployed — scout, choice, fewer tiles — not on all tiles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from leafscout.diagnosis.calibrate import Calibration, fit_calibration, sigmoid
from leafscout.diagnosis.fuse import GLANCE_WEIGHTS, fuse_evidence
from leafscout.evaluation.thresholds import bagged_f1_thresholds
from leafscout.glance.choose import ChoiceRule, choose_tiles, fit_threshold
from leafscout.model import GlanceAndFocus, Networks, Rules
from leafscout.photos.labels import LabelTable
from leafscout.photos.loader import load_photos
from leafscout.photos.tiles import cut_tiles
from leafscout.training.place_offset import measure_place_offset
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import Recipe
from leafscout.types import Evidence, FloatArray, Photo, Pixels, Tiles

FALSE_SUSPICION_FRAC = 0.05
"""Share of healthy validation photos whose glance may forbid the early exit."""

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
        choice=ChoiceRule(threshold_prob=0.5, max_tiles=1),
        glance_weight=0.0,
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
    everything = replace(rules, choice=READ_EVERYTHING)
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
    weight = glance_weight
    if weight is None:
        weight = fit_glance_weight(focus, glance, truth, exclusive=exclusive)
    fused = fuse_evidence(focus, glance, weight)
    calibration = fit_calibration(fused, truth, exclusive=exclusive)
    fit = bagged_f1_thresholds(truth, calibration.apply(fused))
    fitted = replace(
        rules,
        glance_weight=weight,
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
    return ChoiceRule(
        threshold_prob=fit_threshold(scout_probs, decisive, recipe.keep_recall),
        max_tiles=max(1, round(recipe.max_tiles_frac * largest)),
        suspicion_prob=float(min(1.0, max(0.5, suspicion))),
    )


def skip_unchosen(model: GlanceAndFocus, evidence: Evidence) -> FloatArray:
    """(labels,) focus evidence as if only the chosen tiles had been read."""
    read = choose_tiles(
        sigmoid(evidence.scout_logits).astype(np.float32),
        sigmoid(evidence.glance_logits).astype(np.float32),
        model.rules.choice,
    )
    return model.pool(evidence, read)


def fit_glance_weight(
    focus_logits: FloatArray,
    glance_logits: FloatArray,
    truth: NDArray[np.bool_],
    *,
    exclusive: bool = False,
) -> float:
    """The weight of the glance that predicts validation best, each at its own calibration.

    Returns:
        One of ``GLANCE_WEIGHTS``; the nearest to one half between equals.
    """

    def loss(weight: float) -> float:
        fused = fuse_evidence(focus_logits, glance_logits, weight)
        calibration = fit_calibration(fused, truth, exclusive=exclusive)
        probs = calibration.apply(fused).astype(np.float64)
        probs = np.clip(probs, 1e-6, 1 - 1e-6)
        return float(-np.where(truth, np.log(probs), np.log1p(-probs)).mean())

    return min(GLANCE_WEIGHTS, key=lambda weight: (round(loss(weight), 6), abs(weight - 0.5)))
