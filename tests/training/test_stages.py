"""Stages after the first two: their order, what they learn, and that they never make it worse."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from leafscout.diagnosis.calibrate import Calibration
from leafscout.errors import InputError
from leafscout.glance.choose import ChoiceRule
from leafscout.model import GlanceAndFocus, Rules
from leafscout.networks import TorchNetworks, build_expert, build_scout
from leafscout.photos.decode import decode_photo
from leafscout.photos.labels import LabelTable
from leafscout.training.chosen_tiles import (
    ChosenTilesStage,
    draw_chosen,
    pool_as_deployed,
    scout_photos,
)
from leafscout.training.joint_stage import JointStage, ScoutAndExpert
from leafscout.training.loop import Validation
from leafscout.training.recipes import Recipe, choose_recipe, recipe_from_dict
from leafscout.training.run import TrainOptions, train
from leafscout.training.scout_settings import glances_of
from leafscout.training.stage_settings import time_frac
from leafscout.training.stages import StageRunner

CPU = torch.device("cpu")


def networks(recipe: Recipe) -> ScoutAndExpert:
    torch.manual_seed(0)
    expert = build_expert(recipe.expert, 2, sharpness=recipe.place_sharpness)
    scout = build_scout(recipe.scout, 2)
    # Both start at a prior; here they should say something about what they see.
    torch.nn.init.normal_(scout.head.weight, std=0.5)
    return ScoutAndExpert(expert, scout)


def joint(recipe: Recipe, spots: LabelTable) -> JointStage:
    return JointStage(networks(recipe), recipe, spots, spots, 0, CPU, mixed_precision=False)


def test_stages_may_be_given_with_commas_and_survive_json() -> None:
    recipe = choose_recipe("tiny", {"stages": "expert, scout,joint"})
    assert recipe.stages == ("expert", "scout", "joint")
    assert recipe_from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_a_plan_from_before_there_were_stages_has_the_first_two() -> None:
    values = choose_recipe("tiny").to_dict()
    del values["stages"]
    assert recipe_from_dict(values).stages == ("expert", "scout")


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        ("scout", "begin with expert, but got scout"),
        ("joint,expert,scout", "begin with expert, but got joint, expert, scout"),
        ("expert", "needs a scout"),
        ("expert,joint,scout", "scout right after expert"),
        ("expert,scout,expert", "The stage expert comes twice .* use --stages .*alternate"),
        ("expert,scout,join", "no stage called 'join'. Did you mean joint"),
        ("", "no stage called ''"),
    ],
)
def test_stages_out_of_order_are_named(stages: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        choose_recipe("tiny", {"stages": stages})


@pytest.mark.parametrize("name", ["joint_epochs", "joint_rate", "joint_weighted", "joint_fresh"])
def test_settings_of_later_stages_are_checked(name: str) -> None:
    with pytest.raises(InputError, match=name):
        choose_recipe("tiny", {name: -1})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"tiles_best": "8"}, 8),
        ({"tiles_best": 8.0}, 8),
        ({"keep_recall": "0.9"}, 0.9),
        ({"keep_recall": 1}, 1.0),
        ({"foreground_only": "yes", "bag_objective": "copied_label"}, True),
        ({"exclusive": "No"}, False),
        ({"pooling": "max"}, "max"),
    ],
)
def test_settings_are_read_as_what_they_are(given: dict[str, Any], expected: Any) -> None:
    name = next(iter(given))
    value = getattr(choose_recipe("tiny", given), name)
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"tiles_best": "many"}, "tiles_best to be a number, but got 'many'"),
        ({"tiles_best": 2.5}, "tiles_best to be a whole number, but got 2.5"),
        ({"tiles_best": True}, "tiles_best to be a number, but got True"),
        ({"tiles_best": "inf"}, "tiles_best to be a whole number"),
        ({"keep_recall": "nan"}, "keep_recall to be a number"),
        ({"exclusive": "maybe"}, "exclusive to be yes or no, but got 'maybe'"),
        ({"pooling": 3}, "pooling to be a word, but got 3"),
        ({"epochs": "few"}, "expert_epochs to be a number, but got 'few'"),
    ],
)
def test_settings_of_another_kind_are_named(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        choose_recipe("tiny", given)


def test_a_joint_stage_does_not_pull_the_scout_to_another_target() -> None:
    given = {"stages": "expert,scout,joint", "scout_target": "rank"}
    with pytest.raises(InputError, match=r"learnt scout_target='rank' before.*joint_fresh=0"):
        choose_recipe("tiny", given)
    assert choose_recipe("tiny", {**given, "joint_fresh": 0.0}).scout_target == "rank"
    assert choose_recipe("tiny", {**given, "stages": "expert,scout"}).joint_fresh > 0


def test_time_is_shared_as_before_and_later_stages_leave_some() -> None:
    assert time_frac(("expert", "scout"), 0) == pytest.approx(0.6)
    assert time_frac(("expert", "scout"), 1) == pytest.approx(0.85)
    stages, left = ("expert", "scout", "joint", "alternate"), 1.0
    for index in range(len(stages)):
        left *= 1 - time_frac(stages, index)
    assert 0 < left < 0.1


def test_the_number_of_tiles_varies_and_random_ones_are_mixed_in() -> None:
    recipe = choose_recipe("tiny", {"tiles_best": 6, "tiles_random": 3, "max_tiles_frac": 0.5})
    score = np.arange(20, dtype=np.float32)
    drawn = [draw_chosen(score, recipe, np.random.default_rng(seed)) for seed in range(200)]
    assert {len(chosen) for chosen in drawn} == {4, 5, 6, 7, 8, 9}
    assert all(19 in chosen for chosen in drawn), "the best is always read"
    assert set(np.concatenate(drawn)) == set(range(20)), "every tile has its chance"
    assert all(len(set(chosen)) == len(chosen) for chosen in drawn)


def test_no_more_tiles_are_drawn_than_there_are() -> None:
    recipe = choose_recipe("tiny", {"tiles_best": 6, "tiles_random": 3})
    chosen = draw_chosen(np.zeros(2, dtype=np.float32), recipe, np.random.default_rng(0))
    assert set(chosen) <= {0, 1}


@pytest.mark.parametrize("pooling", ["max", "top_k_mean", "noisy_or", "gated_attention"])
def test_training_pools_as_a_diagnosis_does(
    recipe: Recipe, spots: LabelTable, pooling: str
) -> None:
    recipe = replace(recipe, pooling=pooling)
    both = networks(recipe).eval()
    rules = Rules(
        labels=("a", "b"), tile_px=recipe.tile_px, glance_px=recipe.glance_px, pooling=pooling,
        choice=glances_of(recipe, ChoiceRule(threshold_prob=0.0, max_tiles=4)),
        glance_weights=(0.0, 0.0),
        calibration=Calibration((1.0, 1.0), (0.0, 0.0)), thresholds=(0.5, 0.5),
        expert_macs=1, scout_macs_per_px=1.0,
    )  # fmt: skip
    model = GlanceAndFocus(TorchNetworks(both.scout, both.expert, CPU), rules)
    evidence, _ = model.forward(decode_photo(spots.paths[3]))
    said = scout_photos(both.scout, spots.paths[3:4], recipe, CPU)[0]
    np.testing.assert_allclose(said.score, evidence.scout_logits, atol=1e-5)
    np.testing.assert_allclose(said.guess, evidence.scout_label_logits, atol=1e-5)
    pooled = pool_as_deployed(
        pooling,
        torch.from_numpy(evidence.tile_logits[evidence.read]),
        torch.from_numpy(evidence.attention_logits[evidence.read]),
        torch.from_numpy(said.score),
        torch.from_numpy(said.guess),
        torch.from_numpy(np.flatnonzero(evidence.read)),
    )
    np.testing.assert_allclose(pooled[0].numpy(), evidence.focus_logits, atol=1e-4)


def gradient(stage: JointStage) -> tuple[float, float]:
    """Largest gradient of the scout's score and of the expert's head."""
    stage.prepare()
    stage.network.zero_grad(set_to_none=True)
    loss = stage.loss(3, decode_photo(stage.paths[3]), epoch=0)
    loss.backward()  # type: ignore[no-untyped-call]
    score, head = stage.network.scout.head.weight.grad, stage.network.expert.head.weight.grad
    return (
        0.0 if score is None else float(score[0].abs().max()),
        0.0 if head is None else float(head.abs().max()),
    )


def test_the_scouts_score_learns_through_either_way_around_the_hard_choice(
    recipe: Recipe, spots: LabelTable
) -> None:
    # With the strongest tile deciding, the unread ones hand nothing to the score by themselves.
    recipe = replace(recipe, pooling="max", max_tiles_frac=1.0, tiles_best=12, tiles_random=12)
    none = joint(replace(recipe, joint_weighted=0.0, joint_fresh=0.0), spots)
    weighted = joint(replace(recipe, joint_fresh=0.0), spots)
    fresh = joint(replace(recipe, joint_weighted=0.0), spots)
    assert gradient(none)[0] == 0.0, "a hard choice has no gradient"
    assert gradient(weighted)[0] > 0.0
    assert gradient(fresh)[0] > 0.0
    assert min(gradient(stage)[1] for stage in (none, weighted, fresh)) > 0.0


def test_a_joint_step_reads_no_more_tiles_than_the_first_stage_learns_from(
    recipe: Recipe, spots: LabelTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, seen = joint(recipe, spots), []
    run_expert = stage.network.expert.forward

    def count(tiles: torch.Tensor) -> Any:
        seen.append(len(tiles))
        return run_expert(tiles)

    monkeypatch.setattr(stage.network.expert, "forward", count)
    for epoch in range(6):
        stage.loss(1, decode_photo(stage.paths[1]), epoch)
    assert max(seen) <= recipe.tiles_best + recipe.tiles_random
    assert len(set(seen)) > 1


def test_the_expert_learns_from_what_was_scouted_in_whatever_way_the_photo_is_turned(
    recipe: Recipe, spots: LabelTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores that single out the spot's tile must lead to a tile with the spot in every turn."""
    recipe = replace(recipe, tiles_best=1, tiles_random=0)
    both = networks(recipe)
    photo = decode_photo(spots.paths[1])  # one red spot of 24 px
    from leafscout.photos.tiles import cut_tiles, lay_tiles

    tiles = lay_tiles(photo.size_px_hw, recipe.tile_px)
    cut = cut_tiles(photo.pixels, tiles).astype(float)
    redness = (cut[..., 0] - cut[..., 1]).max(axis=(1, 2))
    scouted = [
        said._replace(score=redness.astype(np.float32))
        for said in scout_photos(both.scout, spots.paths[1:2], recipe, CPU)
    ]
    table = spots.subset([1])
    stage = ChosenTilesStage(
        both.expert, recipe, table, table, 0, CPU,
        mixed_precision=False, scouted=scouted, validation_scouted=scouted,
    )  # fmt: skip
    read: list[torch.Tensor] = []
    see = both.expert.see

    def note(batch: torch.Tensor) -> Any:
        read.append(batch)
        return see(batch)

    monkeypatch.setattr(both.expert, "see", note)
    for epoch in range(12):
        stage.loss(0, photo, epoch)
    assert all(len(batch) == 1 for batch in read)
    assert all(float((batch[:, 0] - batch[:, 1]).max()) > 60 for batch in read)


class Judged:
    """A stage that has learnt something, for better or worse."""

    def __init__(self, network: torch.nn.Module, after: float) -> None:
        self.network, self.name = network, "joint"
        self.scores = [0.5, after]

    def validate(self) -> Validation:
        score = self.scores.pop(0)
        return Validation(score=score, loss=1.0, macro_ap=score)


@pytest.mark.parametrize(("after", "kept"), [(0.4, False), (0.5, True), (0.6, True)])
def test_a_later_stage_is_kept_only_where_it_helps(
    recipe: Recipe,
    spots: LabelTable,
    tmp_path: Path,
    progress: Any,
    monkeypatch: pytest.MonkeyPatch,
    after: float,
    kept: bool,
) -> None:
    both = networks(recipe)
    runner = StageRunner(
        both.expert, both.scout, recipe, spots, spots, 0, CPU, False, tmp_path,
        lambda *_: None, progress,  # type: ignore[arg-type]
    )  # fmt: skip
    bias = both.expert.head.bias
    assert bias is not None
    before = float(bias.detach()[0])

    def learn(stage: Judged, *_: Any) -> None:
        with torch.no_grad():
            bias.add_(1.0)

    monkeypatch.setattr("leafscout.training.stages.train_stage", learn)
    assert runner._improve(Judged(both, after), "joint", 0.5) is kept  # type: ignore[arg-type]
    assert float(bias.detach()[0]) == pytest.approx(before + kept)
    assert runner.outcomes["joint"]["kept"] is kept


SETTINGS = {
    "tile_px": 64, "glance_px": 208, "tiles_best": 4, "tiles_random": 2, "epochs": 3,
    "joint_epochs": 2,
}  # fmt: skip
OPTIONS = TrainOptions(threads=1, workers=1, seed=4)


@pytest.mark.slow
@pytest.mark.parametrize("last", ["joint", "alternate"])
def test_a_run_with_a_third_stage_resumes_where_it_stopped(
    spot_writer: Callable[..., Path], tmp_path: Path, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = spot_writer(tmp_path / "photos", 16)
    settings = {**SETTINGS, "stages": f"expert,scout,{last}"}
    whole = train(data, tmp_path / "whole", recipe="tiny", overrides=settings, options=OPTIONS)
    outcomes = json.loads((whole / "stages.json").read_text(encoding="utf-8"))
    first = {"joint": "joint", "alternate": "expert_alternate"}[last]
    assert first in outcomes
    assert set(outcomes[first]) == {"kept", "before", "after"}

    stage: Any = {"joint": JointStage, "alternate": ChosenTilesStage}[last]
    loss, calls = stage.loss, []

    def stop(self: Any, index: int, photo: Any, epoch: int) -> Any:
        calls.append(index)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return loss(self, index, photo, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "loss", stop)
        with pytest.raises(KeyboardInterrupt):
            train(data, tmp_path / "cut", recipe="tiny", overrides=settings, options=OPTIONS)
    train(
        data, tmp_path / "cut", recipe="tiny", overrides=settings,
        options=replace(OPTIONS, resume=True),
    )  # fmt: skip
    for name in ("manifest.json", "expert.safetensors", "scout.safetensors"):
        file = Path("model") / name
        assert (tmp_path / "cut" / file).read_bytes() == (whole / file).read_bytes(), name


def test_a_run_cannot_go_on_with_other_stages(
    spot_writer: Callable[..., Path], tmp_path: Path
) -> None:
    data = spot_writer(tmp_path / "photos", 8)
    settings = {**SETTINGS, "epochs": 1}
    train(data, tmp_path / "run", recipe="tiny", overrides=settings, options=OPTIONS)
    with pytest.raises(InputError, match="begun with another recipe"):
        train(
            data, tmp_path / "run", recipe="tiny",
            overrides={**settings, "stages": "expert,scout,joint"},
            options=replace(OPTIONS, resume=True),
        )  # fmt: skip
