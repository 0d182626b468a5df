"""The expert's stage: which tiles it learns from, and that it learns in any precision."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.diagnosis.pooling import POOLINGS
from leafscout.networks import build_expert
from leafscout.photos.decode import decode_photo
from leafscout.photos.labels import LabelTable
from leafscout.training.expert_stage import ExpertStage, judge
from leafscout.training.recipes import Recipe
from leafscout.training.tile_selection import rank_for_learning

CPU = torch.device("cpu")


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    tiles=st.integers(1, 40),
    labels=st.integers(1, 4),
    extra=st.integers(0, 5),
    random=st.integers(0, 5),
)
def test_the_best_tile_of_every_label_is_learned_from(
    seed: int, tiles: int, labels: int, extra: int, random: int
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.integers(-3, 4, (tiles, labels)).astype(np.float32)  # with ties
    best = labels + extra
    chosen = rank_for_learning(logits, best, random, np.random.default_rng(seed))
    again = rank_for_learning(logits, best, random, np.random.default_rng(seed))
    np.testing.assert_array_equal(chosen, again)
    assert len(chosen) == min(tiles, best + random)
    assert (np.diff(chosen) > 0).all(), "sorted, without repeats"
    assert (logits[chosen].max(axis=0) == logits.max(axis=0)).all()


def test_random_tiles_depend_on_the_seed_and_reach_every_tile() -> None:
    logits = np.arange(20, dtype=np.float32)[:, None]
    drawn = [
        set(rank_for_learning(logits, 2, 3, np.random.default_rng(seed)).tolist())
        for seed in range(60)
    ]
    assert all({18, 19} < one for one in drawn)
    assert set.union(*drawn) == set(range(20))


def make_stage(spots: LabelTable, recipe: Recipe, *, half: bool = False) -> ExpertStage:
    torch.manual_seed(0)
    expert = build_expert("tiny", len(spots.labels))
    return ExpertStage(
        expert, recipe, spots.subset(range(8)), spots.subset(range(8, 12)), 0, CPU, half
    )


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("pooling", sorted(POOLINGS))
def test_every_pooling_teaches_the_whole_network(
    spots: LabelTable, recipe: Recipe, pooling: str, half: bool
) -> None:
    stage = make_stage(spots, replace(recipe, pooling=pooling), half=half)
    stage.prepare()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        loss = stage.loss(1, decode_photo(spots.paths[1]), 0)
    assert loss.dtype == torch.float32
    loss.backward()
    for name, parameter in stage.network.named_parameters():
        if name.startswith("attention") and pooling != "gated_attention":
            continue
        # A bias added to every attention score cancels in the softmax.
        if name != "attention.score.bias":
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
        if parameter.grad is not None:
            assert torch.isfinite(parameter.grad).all(), name
    assert stage.network.training, "scoring must leave the network in training mode"


def test_the_loss_depends_on_seed_epoch_and_photo_alone(spots: LabelTable, recipe: Recipe) -> None:
    photo = decode_photo(spots.paths[1])

    def loss(stage: ExpertStage, epoch: int) -> float:
        stage.prepare()
        torch.manual_seed(7)
        return float(stage.loss(1, photo, epoch).detach())

    first, second = make_stage(spots, recipe), make_stage(spots, recipe)
    assert loss(first, 0) == loss(second, 0)
    assert loss(first, 1) != loss(second, 0)


def test_the_first_epochs_may_copy_labels_to_tiles(spots: LabelTable, recipe: Recipe) -> None:
    photo = decode_photo(spots.paths[1])
    four = replace(recipe, expert_stage=replace(recipe.expert_stage, epochs=4))

    def losses(changed: Recipe) -> list[float]:
        found = []
        for epoch in range(4):
            stage = make_stage(spots, changed)
            stage.prepare()
            torch.manual_seed(7)
            found.append(float(stage.loss(1, photo, epoch).detach()))
        return found

    bags = losses(replace(four, copied_label_frac=0.0))
    copied = losses(replace(four, bag_objective="copied_label"))
    both = losses(replace(four, copied_label_frac=0.5))
    assert both == [*copied[:2], *bags[2:]]
    assert set(bags).isdisjoint(copied)
    # A baseline that asks something else of a photo asks it from its first epoch.
    background = replace(four, bag_objective="background_class")
    assert losses(replace(background, copied_label_frac=0.5)) == losses(background)


def test_validation_is_judged_by_average_precision(spots: LabelTable, recipe: Recipe) -> None:
    validation = make_stage(spots, recipe).validate()
    assert 0 <= validation.score <= 1
    assert validation.loss > 0
    truth = np.array([[True, False], [False, True], [False, False]])
    logits = torch.tensor([[3.0, -3.0], [-3.0, 3.0], [-3.0, -3.0]])
    assert judge(logits, truth, torch.ones(2)).macro_ap == 1.0
    assert judge(-logits, truth, torch.ones(2)).macro_ap == pytest.approx(1 / 3)
