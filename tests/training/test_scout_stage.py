"""The scout's stage: targets that labels allow, kept on their places through every symmetry."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from leafscout.glance.scout import ScoutOutput
from leafscout.networks import build_scout
from leafscout.photos import augment
from leafscout.photos.decode import decode_photo
from leafscout.photos.labels import LabelTable
from leafscout.photos.tiles import lay_tiles
from leafscout.training import scout_stage
from leafscout.training.recipes import Recipe
from leafscout.training.scout_stage import ScoutStage
from leafscout.training.scout_targets import evidence_targets
from leafscout.types import Photo

CPU = torch.device("cpu")
LOGITS = np.array([[2.0, -1.0], [0.0, 3.0]], np.float32)


def test_targets_are_the_experts_probabilities_where_labels_allow_them() -> None:
    targets = evidence_targets(LOGITS, np.array([True, False]), labels_complete=True)
    np.testing.assert_allclose(targets[:, 0], 1 / (1 + np.exp(-LOGITS[:, 0])), rtol=1e-6)
    assert (targets[:, 1] == 0).all()


def test_incomplete_labels_rule_out_only_what_healthy_photos_lack() -> None:
    diseased = evidence_targets(LOGITS, np.array([True, False]), labels_complete=False)
    assert (diseased > 0).all()
    healthy = evidence_targets(LOGITS, np.array([False, False]), labels_complete=False)
    assert (healthy == 0).all()


def make_stage(
    spots: LabelTable, recipe: Recipe, evidence: list[np.ndarray], *, half: bool = False
) -> ScoutStage:
    torch.manual_seed(0)
    scout = build_scout("tiny", len(spots.labels))
    return ScoutStage(
        scout, recipe, spots.subset(range(8)), spots.subset(range(8, 12)),
        evidence[:8], evidence[8:], 0, CPU, half,
    )  # fmt: skip


@pytest.fixture
def evidence(spots: LabelTable, recipe: Recipe) -> list[np.ndarray]:
    tiles = len(lay_tiles((150, 200), recipe.tile_px))
    rng = np.random.default_rng(0)
    return [rng.standard_normal((tiles, 2)).astype(np.float32) for _ in spots.paths]


@pytest.mark.parametrize("half", [False, True])
def test_the_whole_scout_learns(
    spots: LabelTable, recipe: Recipe, evidence: list[np.ndarray], half: bool
) -> None:
    stage = make_stage(spots, recipe, evidence, half=half)
    stage.prepare()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        loss = stage.loss(3, decode_photo(spots.paths[3]), 0)
    loss.backward()
    for name, parameter in stage.network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name
    head = stage.network.head.weight.grad
    assert head is not None
    assert (head.flatten(1).abs().sum(dim=1) > 0).all(), "every map has something to learn"


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_evidence_stays_on_its_place_when_the_photo_is_turned(
    spots: LabelTable,
    recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
    turns: int,
    mirrored: bool,
) -> None:
    """A scout that reads the planted spot off the glance has no loss, however it is turned."""
    recipe = replace(recipe, glance_px=192, tile_px=64)
    pixels = np.zeros((128, 192, 3), np.uint8)
    pixels[0:64, 128:192] = 255  # just tile 2 of 2×3
    logits = np.full((6, 2), -30.0, np.float32)
    logits[2] = 30.0
    stage = make_stage(spots, recipe, [logits] * 12)

    def draw(*args: object, **kwargs: object) -> augment.Augmentation:
        return augment.Augmentation(turns, mirrored, (0, 0), (1.0, 1.0, 1.0), 0.0)

    def read_spot(glances: torch.Tensor) -> ScoutOutput:
        cells = glances.float().mean(dim=1).unfold(1, 16, 16).unfold(2, 16, 16).mean(dim=(3, 4))
        score = cells / 255 * 60 - 30
        return ScoutOutput(score, score[:, None].expand(-1, 2, -1, -1), torch.full((1, 2), 30.0))

    monkeypatch.setattr(scout_stage, "draw_augmentation", draw)
    monkeypatch.setattr(stage.network, "forward", read_spot)
    both = stage.train.truth.all(axis=1).argmax()
    assert float(stage.loss(int(both), Photo(pixels, "<array>"), 0)) < 1e-6
    # And the same evidence on any other tile would cost much.
    stage.evidence[int(both)] = logits[::-1].copy()
    assert float(stage.loss(int(both), Photo(pixels, "<array>"), 0)) > 5


def test_validation_is_judged_by_how_well_evidence_is_predicted(
    spots: LabelTable, recipe: Recipe, evidence: list[np.ndarray]
) -> None:
    stage = make_stage(spots, recipe, evidence)
    first, second = stage.validate(), stage.validate()
    assert first == second
    assert first.score == -first.loss


@pytest.mark.parametrize("shape_hw", [(64, 200), (200, 64)])
def test_photos_with_a_single_row_or_column_of_tiles_are_learnt_from(
    spots: LabelTable, recipe: Recipe, evidence: list[np.ndarray], shape_hw: tuple[int, int]
) -> None:
    stage = make_stage(spots, recipe, evidence)
    stage.prepare()
    grid = lay_tiles(shape_hw, recipe.tile_px)
    assert min(grid.rows, grid.columns) == 1
    stage.evidence[0] = np.zeros((len(grid), 2), np.float32)
    photo = Photo(np.full((*shape_hw, 3), 90, np.uint8), "leaf")
    for epoch in range(8):  # every symmetry comes up
        assert torch.isfinite(stage.loss(0, photo, epoch))
