"""What a recipe can ask of the expert: every objective learns, and leaves nothing behind."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from leafscout.errors import InputError
from leafscout.networks import build_expert
from leafscout.photos.decode import decode_photo
from leafscout.photos.labels import LabelTable
from leafscout.training.bag_objective import BagObjective, SeenTiles, heads_of, tile_cells
from leafscout.training.expert_stage import ExpertStage
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import BAG_OBJECTIVES, CONTEXT_POOLING_NAMES, Recipe, choose_recipe
from leafscout.training.run import train
from leafscout.training.warm_start import warm_start
from leafscout.types import Tiles

CPU = torch.device("cpu")
OPTIONS: list[dict[str, Any]] = [
    *({"bag_objective": name} for name in BAG_OBJECTIVES),
    *({"context_pooling": name} for name in CONTEXT_POOLING_NAMES),
    {"bag_objective": "copied_label", "foreground_only": True},
    {"exclusive": True},
    {"best_tile_dropout": 0.5},
    {"sparsity_weight": 1.0, "sparsity_warmup_epochs": 0},
    {"pooling": "attention"},
]


def make_stage(spots: LabelTable, recipe: Recipe) -> ExpertStage:
    torch.manual_seed(0)
    expert = build_expert("tiny", len(spots.labels))
    train, validation = spots.subset(range(8)), spots.subset(range(8, 12))
    return ExpertStage(expert, recipe, train, validation, 0, CPU, mixed_precision=False)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_teaches_the_backbone_and_the_heads(
    spots: LabelTable, recipe: Recipe, options: dict[str, Any]
) -> None:
    stage = make_stage(spots, replace(recipe, **options))
    stage.prepare()
    loss = stage.loss(1, decode_photo(spots.paths[1]), 0)
    loss.backward()
    assert torch.isfinite(loss)
    heads = heads_of(stage.network)
    parameters = [*stage.network.backbone.parameters(), *stage.network.head.parameters()]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters)
    if heads is not None:
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in heads.parameters())
        known = {id(p) for group in stage.parameter_groups() for p in group["params"]}
        assert all(id(p) in known for p in heads.parameters()), "the optimiser must know them"
    assert 0 <= stage.validate().score <= 1


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_finished_expert_is_a_plain_one(
    spots: LabelTable, recipe: Recipe, options: dict[str, Any]
) -> None:
    stage = make_stage(spots, replace(recipe, **options))
    plain = build_expert("tiny", len(spots.labels))
    plain.load_state_dict(stage.finish().state_dict())
    assert heads_of(stage.network) is None


@pytest.mark.parametrize(
    "options", [{"context_pooling": "graph"}, {"bag_objective": "background_class"}], ids=str
)
def test_heads_depend_on_the_seed_alone(
    spots: LabelTable, recipe: Recipe, options: dict[str, Any]
) -> None:
    first, second = (make_stage(spots, replace(recipe, **options)) for _ in range(2))
    for one, other in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "options",
    [
        {"context_pooling": "transformer"},
        {"bag_objective": "copied_label", "foreground_only": True},
    ],
    ids=str,
)
def test_the_warm_start_fits_the_same_objective(
    spots: LabelTable, recipe: Recipe, progress: TrainingProgress, options: dict[str, Any]
) -> None:
    stage = make_stage(spots, replace(recipe, **options))
    before = [p.detach().clone() for p in stage.network.parameters()]
    frozen = {id(p) for p in stage.network.backbone.parameters()}
    warm_start(stage, progress)
    for old, parameter in zip(before, stage.network.parameters(), strict=True):
        if id(parameter) in frozen:
            assert torch.equal(old, parameter)
    heads = heads_of(stage.network)
    changed = [*stage.network.head.parameters(), *([] if heads is None else heads.parameters())]
    moved = [
        not torch.equal(old, p)
        for old, p in zip(before, stage.network.parameters(), strict=True)
        if any(p is one for one in changed)
    ]
    assert all(moved)


def test_copied_labels_never_look_at_all_tiles(
    spots: LabelTable, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = make_stage(spots, replace(recipe, bag_objective="copied_label"))
    seen: list[int] = []
    see = stage.network.see
    monkeypatch.setattr(stage.network, "see", lambda batch: seen.append(len(batch)) or see(batch))
    stage.prepare()
    stage.loss(1, decode_photo(spots.paths[1]), 0)
    assert seen == [recipe.tiles_best + recipe.tiles_random]


def draw_tiles(tiles: int = 6, labels: int = 2) -> SeenTiles:
    rng = torch.Generator().manual_seed(0)
    logits, attention = torch.randn(2, tiles, labels, generator=rng)
    return SeenTiles(logits.clone().requires_grad_(), attention, torch.zeros(tiles, 3))


def judge(recipe: Recipe, seen: SeenTiles, stays: torch.Tensor, epoch: int = 0) -> torch.Tensor:
    objective = BagObjective(recipe, torch.ones(2), labels_complete=True)
    cells, truth = torch.zeros(len(stays), 2), torch.tensor([[1.0, 0.0]])
    network = build_expert("tiny", 2)
    return objective.loss(network, seen, seen, cells, stays, truth, epoch)


def test_a_tile_left_out_gets_nothing_from_the_bag(recipe: Recipe) -> None:
    recipe = replace(recipe, pooling="log_sum_exp", exact_negative_weight=0.0)
    seen, stays = draw_tiles(), torch.ones(6, dtype=torch.bool)
    stays[2] = False
    judge(recipe, seen, stays).backward()
    assert seen.tile_logits.grad is not None
    assert (seen.tile_logits.grad[2] == 0).all()
    assert (seen.tile_logits.grad[[0, 1, 3, 4, 5]] != 0).all()


def test_sparsity_joins_after_the_warm_up(recipe: Recipe) -> None:
    everything = torch.ones(6, dtype=torch.bool)
    pressed = replace(recipe, sparsity_weight=0.5, sparsity_warmup_epochs=2)
    losses = [judge(pressed, draw_tiles(), everything, epoch).item() for epoch in range(6)]
    plain = judge(recipe, draw_tiles(), everything).item()
    assert losses[:2] == [plain, plain]
    assert losses[2] > plain
    assert losses[2] < losses[3] < losses[4] == losses[5]


def test_cells_are_rows_and_columns() -> None:
    tiles = Tiles((20, 30), 10, (0, 10), (0, 10, 20))
    assert tile_cells(tiles, CPU).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"bag_objective": "mli"}, "no bag_objective called 'mli'. Did you mean mil"),
        ({"context_pooling": "grap"}, "no context_pooling called 'grap'. Did you mean graph"),
        ({"best_tile_dropout": 1.0}, r"best_tile_dropout in \[0, 1\), but got 1.0"),
        ({"label_smoothing": -0.1}, r"label_smoothing in \[0, 1\), but got -0.1"),
        ({"sparsity_weight": -1.0}, "sparsity_weight and sparsity_warmup_epochs from 0"),
        ({"foreground_only": True}, "foreground_only belongs to copied labels"),
        (
            {"bag_objective": "background_class", "best_tile_dropout": 0.2},
            "best_tile_dropout belongs to bag_objective='mil', but got 'background_class'",
        ),
    ],
)
def test_options_that_do_not_fit_are_named(overrides: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        choose_recipe("tiny", overrides)


def test_an_exclusive_recipe_refuses_photos_with_two_diseases(
    spots: LabelTable, progress: TrainingProgress, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(InputError, match=r"at most one disease a photo \(exclusive\), but photos"):
        train(spots.source, out, recipe="tiny", overrides={"exclusive": True}, progress=progress)
    assert not out.exists()
