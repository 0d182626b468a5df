"""A training whose scout learns out of fold, from few tiles, and through what it chooses."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import leafscout
from leafscout.manifest import read_manifest
from leafscout.training.progress import TrainingProgress
from leafscout.training.run import TrainOptions, train

SETTINGS = {
    "tile_px": 64,
    "glance_px": 96,
    "expert_epochs": 1,
    "scout_epochs": 1,
    "scout_target": "activation",
    "scout_ranking": "pairwise",
    "scout_folds": 2,
    "scout_smallest_glance": 0.5,
    "scout_tuning": "weighted_sigmoid",
    "scout_tuning_epochs": 1,
    "mirrored_glances": 1,
    "uncertain_tiles": 1,
    "closer_glance_px": 192,
    "closer_regions": 2,
    "border_exponent": 4.0,
}


@pytest.mark.parametrize(
    "evidence", [{"scout_evidence": "out_of_fold_heads"}, {"scout_tile_share": 0.5}]
)
def test_from_photos_to_a_model_that_looks_as_it_was_told(
    spot_writer: Callable[..., Path], tmp_path: Path, progress: TrainingProgress,
    evidence: dict[str, object],
) -> None:  # fmt: skip
    data = spot_writer(tmp_path / "photos", 12)
    run = train(
        data, tmp_path / "run", recipe="tiny", overrides={**SETTINGS, **evidence},
        options=TrainOptions(threads=1, workers=1), progress=progress,
    )  # fmt: skip
    choice = read_manifest(run / "model").choice
    assert (choice.mirrored_glances, choice.uncertain_tiles) == (1, 1)
    assert (choice.closer_glance_px, choice.closer_regions) == (192, 2)
    assert choice.border_exponent == 4.0
    assert choice.uncertain_spread >= 0
    model = leafscout.load(run)
    photo = tmp_path / "photos" / "03.jpg"
    alone = model.diagnose(photo).diagnosis
    (again,) = [one.diagnosis for one in model.diagnose_many([photo]) if one]
    np.testing.assert_array_equal(alone.read, again.read)
    np.testing.assert_array_equal(alone.label_probs, again.label_probs)
    rules = model.core.rules
    glances_px = 64 * 96 + 2 * 128 * 128
    spent = 2 * rules.scout_macs_per_px * glances_px + rules.expert_macs * alone.cost.tiles_read
    assert alone.cost.macs == pytest.approx(spent, rel=1e-3)
