"""The stage of the integrated variant: what pulls at the gate, and which epoch counts as best."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from leafscout.networks import to_batch
from leafscout.photos.decode import decode_photo
from leafscout.photos.labels import LabelTable
from leafscout.training.gate_stage import GateStage
from leafscout.training.gated_recipe import (
    GatedRecipe,
    choose_gated_recipe,
    gated_recipe_from_dict,
)
from leafscout.training.gated_run import build_network

CPU = torch.device("cpu")
SMALL = {"glance_px": 128, "width": 16, "later_blocks": 1, "gate_warmup_epochs": 0}


def make_stage(spots: LabelTable, **settings: object) -> GateStage:
    recipe = choose_gated_recipe("gated", {**SMALL, **settings})
    network = build_network(recipe, len(spots.labels), seed=3)
    return GateStage(network, recipe, spots, spots, 3, CPU, mixed_precision=False)


def first_view(spots: LabelTable, index: int) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = decode_photo(spots.paths[index]).pixels[:96, :128]
    truth = torch.from_numpy(spots.truth[[index]]).float()
    return to_batch(np.ascontiguousarray(pixels)[None], CPU), truth


def train_gate_alone(stage: GateStage, spots: LabelTable, steps: int) -> None:
    optimizer = torch.optim.SGD(stage.network.gate.parameters(), lr=0.5)
    stage.prepare()
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        stage.loss_of(*first_view(spots, step % 4), epoch=0).backward()
        optimizer.step()


def mean_gate(stage: GateStage, spots: LabelTable) -> float:
    stage.network.eval()
    with torch.no_grad():
        return float(stage.network.gate(stage.network.embed(first_view(spots, 0)[0]).values).mean())


@pytest.mark.parametrize("budget", ["bottleneck", "hinge"])
def test_the_price_closes_the_gate_and_without_it_the_gate_stays_open(
    spots: LabelTable, budget: str
) -> None:
    priced = make_stage(spots, gate_weight=5.0, gate_budget=budget)
    free = make_stage(spots, gate_weight=0.0)
    before = mean_gate(priced, spots)
    for stage in (priced, free):
        train_gate_alone(stage, spots, 8)
    assert mean_gate(priced, spots) < before - 0.3
    assert mean_gate(free, spots) > before - 0.2


def test_nothing_is_asked_before_the_warm_up_is_over(spots: LabelTable) -> None:
    stage = make_stage(spots, gate_weight=5.0, gate_warmup_epochs=2, gate_kind="straight_through")
    free = make_stage(spots, gate_weight=0.0, gate_kind="straight_through")
    photo = first_view(spots, 1)
    losses = [float(stage.loss_of(*photo, epoch=epoch).detach()) for epoch in range(5)]
    assert losses[0] == losses[1] == float(free.loss_of(*photo, epoch=0).detach())
    assert losses[1] < losses[2] < losses[3] < losses[4]


def test_an_open_gate_is_the_dense_network(spots: LabelTable) -> None:
    stage = make_stage(spots, gate_kind="open", gate_weight=0.0, exact_negative_weight=0.0)
    stage.network.train()
    pixels, truth = first_view(spots, 3)
    logits = stage.network(pixels).token_logits
    pooled = (torch.logsumexp(2 * logits, dim=1) - np.log(logits.shape[1])) / 2
    expected = stage.photo_loss(pooled, truth)
    torch.testing.assert_close(stage.loss_of(pixels, truth, epoch=0), expected)


def test_slopes_are_those_of_the_photo_loss_and_change_nothing(spots: LabelTable) -> None:
    stage = make_stage(spots)
    before = {name: value.clone() for name, value in stage.network.state_dict().items()}
    slopes, kept = stage.gate_gradients(*first_view(spots, 1))
    assert slopes.shape == kept.shape == (48,)
    assert bool(kept.all())
    # A red photo in which everything is kept: dropping all would lose it.
    assert float(slopes.sum()) < 0
    assert all(
        torch.equal(before[name], value) for name, value in stage.network.state_dict().items()
    )
    assert all(parameter.grad is None for parameter in stage.network.parameters())


def test_the_best_epoch_is_one_under_full_price_and_thrifty(spots: LabelTable) -> None:
    stage = make_stage(spots, gate_warmup_epochs=2)
    early = stage.validate()
    stage.loss(0, decode_photo(spots.paths[0]), epoch=4)
    late = stage.validate()
    assert early.macro_ap == late.macro_ap
    assert early.score < 0 < late.score < late.macro_ap
    with torch.no_grad():
        stage.network.gate.layers[-1].bias.fill_(-20.0)  # type: ignore[operator, union-attr]
    assert stage.validate().score == stage.validate().macro_ap


def test_a_recipe_survives_being_written_down() -> None:
    recipe = choose_gated_recipe("gated", {"epochs": 3, "gate_weight": 0.7})
    assert isinstance(recipe, GatedRecipe)
    assert gated_recipe_from_dict(recipe.to_dict()) == recipe
    assert recipe.gate_warmup_epochs < recipe.stage.epochs
    assert replace(recipe, gate_weight=0.1) != recipe
