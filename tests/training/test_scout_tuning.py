"""The scout's last lessons: labels reach it through what it chooses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from leafscout.networks import build_scout
from leafscout.photos.decode import decode_photo
from leafscout.photos.labels import LabelTable
from leafscout.photos.tiles import lay_tiles
from leafscout.training.recipes import Recipe
from leafscout.training.scout_settings import SCOUT_TUNINGS
from leafscout.training.scout_stage import ScoutStage
from leafscout.training.scout_tuning import ScoutTuning

KINDS = [name for name in SCOUT_TUNINGS if name != "none"]


def make_tuning(
    spots: LabelTable, recipe: Recipe, kind: str, *, evidence_weight: float = 0.0
) -> ScoutTuning:
    """Tile 2 of every photo holds all there is to find."""
    torch.manual_seed(0)
    count = len(lay_tiles((150, 200), recipe.tile_px))
    evidence = np.full((count, 2), -6.0, np.float32)
    evidence[2] = 6.0
    chosen = replace(
        recipe, scout_tuning=kind, scout_tuning_evidence=evidence_weight, max_tiles_frac=0.4
    )
    stage = ScoutStage(
        build_scout("tiny", 2), chosen, spots.subset(range(8)), spots.subset(range(8, 12)),
        [evidence] * 8, [evidence] * 4, 0, torch.device("cpu"), mixed_precision=False,
    )  # fmt: skip
    return ScoutTuning(stage)


@pytest.mark.parametrize("kind", KINDS)
def test_the_scout_learns_from_the_label_alone(
    spots: LabelTable, recipe: Recipe, kind: str
) -> None:
    tuning = make_tuning(spots, recipe, kind)
    tuning.prepare()
    for index in range(4):
        tuning.loss(index, decode_photo(spots.paths[index]), 0).backward()
    head = tuning.network.head.weight.grad
    assert head is not None
    assert torch.isfinite(head).all()
    assert head[0].abs().sum() > 0, "the score is taught"
    assert head[1:].abs().sum() == 0, "and nothing else, without the evidence loss"


def test_the_evidence_loss_is_added_where_it_is_wanted(spots: LabelTable, recipe: Recipe) -> None:
    photo = decode_photo(spots.paths[3])
    tuning = make_tuning(spots, recipe, "weighted_sigmoid", evidence_weight=1.0)
    alone = make_tuning(spots, recipe, "weighted_sigmoid")
    for one in (tuning, alone):
        one.network.eval()
    both, path = float(tuning.loss(3, photo, 0)), float(alone.loss(3, photo, 0))
    lesson = tuning.base.take_lesson(3, photo, 0)
    assert both == pytest.approx(path + float(tuning.base.lesson_loss(lesson)), rel=1e-5)


def test_rates_are_lower_than_in_the_stage_before(spots: LabelTable, recipe: Recipe) -> None:
    tuning = make_tuning(spots, recipe, "reinforce")
    rates = [group["lr"] for group in tuning.parameter_groups()]
    before = [group["lr"] for group in tuning.base.parameter_groups()]
    assert rates == pytest.approx([0.3 * rate for rate in before])
    assert tuning.settings.epochs == recipe.scout_tuning_epochs


def test_a_better_choice_has_a_better_score(
    spots: LabelTable, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuning = make_tuning(spots, recipe, "reinforce")
    count = len(tuning.base.validation_evidence[0])

    def say(best: int) -> list[np.ndarray]:
        scores = np.zeros((count, 3), np.float32)
        scores[best, 0] = 1.0
        return [scores] * 4

    results = []
    for best in (2, count - 1):
        monkeypatch.setattr(tuning.base, "score_tiles", lambda best=best: say(best))
        # Only photos with both labels: on the others the loud tile is an error.
        keep = tuning.base.validation.truth.all(axis=1)
        assert keep.any()
        monkeypatch.setattr(
            tuning.base, "validation_evidence",
            [tuning.base.validation_evidence[0] if k else np.full((count, 2), -6, np.float32)
             for k in keep],
        )  # fmt: skip
        results.append(tuning.validate().score)
    assert results[0] > results[1]
