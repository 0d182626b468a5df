"""The rules are fitted on the path that is deployed."""

from dataclasses import replace

import numpy as np
import pytest

from leafscout.diagnosis.calibrate import Calibration
from leafscout.glance.choose import ChoiceRule, choose_tiles
from leafscout.model import GlanceAndFocus, GlanceEvidence, Networks, Rules, TileEvidence
from leafscout.photos.labels import LabelTable
from leafscout.training.fit_rules import (
    VARIANTS,
    fit_choice,
    fit_decision,
    fit_glance_weights,
    fit_rules,
    skip_unchosen,
)
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import Recipe
from leafscout.types import Evidence, Pixels

TILES = 20


class SpotNetworks:
    """Knows red and blue spots by their colour."""

    def run_scout(self, glance: Pixels) -> GlanceEvidence:
        maps = self._logits(glance.reshape(glance.shape[0] // 16, 16, -1, 16, 3).mean((1, 3)))
        photo = np.array([-1.0, -1.0], np.float32)
        return GlanceEvidence(maps.max(axis=0), maps, photo)

    def run_expert(self, tiles: Pixels) -> TileEvidence:
        cells = tiles.reshape(len(tiles), 4, tiles.shape[1] // 4, 4, -1, 3).mean((2, 4))
        places = np.stack([self._logits(one) for one in cells])
        return TileEvidence(places.max(axis=(2, 3)), np.zeros((len(tiles), 2)), places)

    @staticmethod
    def _logits(colour: np.ndarray) -> np.ndarray:
        blue, red = colour[..., 2] - colour[..., 1], colour[..., 0] - colour[..., 1]
        return (np.stack([blue, red]) / 10).astype(np.float32)


def make_evidence(seed: int, truth: np.ndarray) -> Evidence:
    """A photo whose lesion tiles the expert finds and the scout mostly sees."""
    rng = np.random.default_rng(seed)
    tile_logits = rng.normal(-5, 0.5, (TILES, 2)).astype(np.float32)
    scout = rng.normal(-4, 1, TILES).astype(np.float32)
    for label in np.flatnonzero(truth):
        tile = int(rng.integers(TILES))
        tile_logits[tile, label] = 4
        scout[tile] = rng.normal(1, 2)
    glance = np.where(truth, 1.0, -1.0) + rng.normal(0, 2, 2)
    return Evidence(
        scout_logits=scout,
        scout_label_logits=np.repeat(scout[:, None], 2, axis=1),
        glance_logits=glance.astype(np.float32),
        read=np.ones(TILES, np.bool_),
        tile_logits=tile_logits,
        attention_logits=np.zeros((TILES, 2), np.float32),
        focus_logits=np.zeros(2, np.float32),
        place_logits=np.zeros((0, 2, 1, 1), np.float32),
    )


@pytest.fixture
def validation() -> tuple[list[Evidence], np.ndarray]:
    truth = np.array([[False, False], [True, False], [False, True], [True, True]] * 15)
    return [make_evidence(index, row) for index, row in enumerate(truth)], truth


@pytest.mark.parametrize("recall", [0.8, 0.95, 1.0])
def test_the_wanted_share_of_photos_keeps_every_tile_that_decides(
    validation: tuple[list[Evidence], np.ndarray], recipe: Recipe, recall: float
) -> None:
    seen, truth = validation
    rule = fit_choice(seen, truth, replace(recipe, keep_recall=recall, max_tiles_frac=1.0))
    kept = []
    for evidence, row in zip(seen, truth, strict=True):
        read = choose_tiles(
            (1 / (1 + np.exp(-evidence.scout_logits))).astype(np.float32), np.zeros(2), rule
        )
        if row.any():
            kept.append(all(read[evidence.tile_logits[:, c].argmax()] for c in np.flatnonzero(row)))
    assert np.mean(kept) >= recall
    assert rule.max_tiles == TILES
    assert 0.5 <= rule.suspicion_prob <= 1


def test_tiles_are_capped_at_the_recipes_share(
    validation: tuple[list[Evidence], np.ndarray], recipe: Recipe
) -> None:
    assert fit_choice(*validation, replace(recipe, max_tiles_frac=0.25)).max_tiles == 5


def test_few_healthy_photos_lose_their_early_exit(
    validation: tuple[list[Evidence], np.ndarray], recipe: Recipe
) -> None:
    seen, truth = validation
    rule = fit_choice(seen, truth, recipe)
    glances = [e.glance_logits.max() for e, row in zip(seen, truth, strict=True) if not row.any()]
    suspected = 1 / (1 + np.exp(-np.array(glances))) > rule.suspicion_prob
    assert suspected.mean() <= 0.1


def test_without_healthy_or_diseased_photos_there_is_still_a_rule(recipe: Recipe) -> None:
    for row in ([True, False], [False, False]):
        truth = np.array([row] * 3)
        rule = fit_choice([make_evidence(i, truth[i]) for i in range(3)], truth, recipe)
        assert isinstance(rule, ChoiceRule)


@pytest.mark.parametrize("trusted", ["focus", "glance"])
def test_the_weight_goes_to_the_evidence_that_predicts(trusted: str) -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((200, 2)) < 0.4
    good = (np.where(truth, 2, -2) + rng.normal(0, 1, truth.shape)).astype(np.float32)
    noise = rng.normal(0, 2, truth.shape).astype(np.float32)
    pair = (good, noise) if trusted == "focus" else (noise, good)
    weights = fit_glance_weights(*pair, truth)
    assert all(weight <= 0.1 if trusted == "focus" else weight >= 0.9 for weight in weights)


def test_the_scale_of_evidence_gives_it_no_more_say() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((400, 2)) < 0.4
    one, other = (
        (np.where(truth, 2, -2) + rng.normal(0, 2, truth.shape)).astype(np.float32)
        for _ in range(2)
    )
    weights = fit_glance_weights(one, 10 * other, truth)
    # Ten times as loud, one tenth the weight: both say the same after it.
    ratios = np.array(weights) * 10 / (1 - np.array(weights))
    np.testing.assert_allclose(ratios, 1.0, atol=0.35)


def make_rules(recipe: Recipe) -> Rules:
    return Rules(
        labels=("blue", "red"), tile_px=recipe.tile_px, glance_px=recipe.glance_px,
        pooling="max", choice=ChoiceRule(0.5, 3), glance_weights=(0.0, 0.0),
        calibration=Calibration((1.0, 1.0), (0.0, 0.0)), thresholds=(0.5, 0.5),
        expert_macs=1, scout_macs_per_px=1.0,
    )  # fmt: skip


def test_calibration_and_thresholds_belong_to_what_is_read(
    validation: tuple[list[Evidence], np.ndarray], recipe: Recipe
) -> None:
    seen, truth = validation
    networks: Networks = SpotNetworks()
    little = replace(make_rules(recipe), choice=ChoiceRule(0.9, 1))
    much = replace(make_rules(recipe), choice=ChoiceRule(0.0, 99))
    few, _ = fit_decision(networks, little, seen, truth, 0.0)
    many, fitted = fit_decision(networks, much, seen, truth, 0.0)
    assert fitted == (True, True)
    assert few.choice == little.choice
    assert few.calibration != many.calibration
    # Reading all tiles separates perfectly here, and the fitted rules find that.
    model = GlanceAndFocus(networks, many)
    probs = many.calibration.apply(np.stack([skip_unchosen(model, one) for one in seen]))
    np.testing.assert_array_equal(probs >= np.array(many.thresholds), truth)


def test_labels_that_validation_lacks_are_said_to_be_unfitted(
    validation: tuple[list[Evidence], np.ndarray], recipe: Recipe
) -> None:
    seen, truth = validation
    _, fitted = fit_decision(SpotNetworks(), make_rules(recipe), seen, truth & [True, False], None)
    assert fitted == (True, False)


def test_rules_from_photos_to_numbers(
    spots: LabelTable, recipe: Recipe, progress: TrainingProgress
) -> None:
    fitted = fit_rules(
        SpotNetworks(), replace(recipe, pooling="max"), spots,
        expert_macs=7, scout_macs_per_px=0.5, progress=progress,
    )  # fmt: skip
    rules = fitted.rules
    assert (rules.labels, rules.expert_macs, rules.scout_macs_per_px) == (spots.labels, 7, 0.5)
    assert set(fitted.variants) == set(VARIANTS)
    assert fitted.variants["glance_only"].glance_weights == (1.0, 1.0)
    assert fitted.variants["fusion_off"].choice == rules.choice
    assert fitted.variants["all_tiles"].choice.threshold_prob == 0.0
    model = GlanceAndFocus(SpotNetworks(), rules)
    from leafscout.photos.decode import decode_photo

    probs = [model.label_probs(model.forward(decode_photo(path))[0]) for path in spots.paths]
    np.testing.assert_array_equal(np.stack(probs) >= np.array(rules.thresholds), spots.truth)


def test_the_rule_carries_the_recipes_glances_and_fits_the_spread_on_healthy_photos(
    validation: tuple[list[Evidence], np.ndarray], recipe: Recipe
) -> None:
    seen, truth = validation
    rng = np.random.default_rng(0)
    spread = [
        replace(one, scout_spread=rng.uniform(0, 3 if row.any() else 1, TILES).astype(np.float32))
        for one, row in zip(seen, truth, strict=True)
    ]
    plain = fit_choice(seen, truth, recipe)
    assert (plain.mirrored_glances, plain.uncertain_tiles, plain.uncertain_spread) == (0, 0, 0.0)
    rule = fit_choice(spread, truth, replace(recipe, mirrored_glances=2, uncertain_tiles=3))
    assert (rule.mirrored_glances, rule.uncertain_tiles) == (2, 3)
    assert rule.uncertain_spread == pytest.approx(0.98, abs=0.02), "what 2% of healthy tiles reach"
    assert rule.threshold_prob == plain.threshold_prob
