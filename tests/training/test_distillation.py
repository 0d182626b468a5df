"""Learning from a teacher: it speaks of the student's own tiles, stays as it is, and is heeded."""

import copy
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from leafscout.errors import InputError
from leafscout.focus.expert import Expert
from leafscout.losses.distillation import soft_label_loss
from leafscout.networks import build_expert
from leafscout.photos.decode import decode_photo
from leafscout.photos.labels import LabelTable
from leafscout.training.distil_settings import DISTIL_MODES, read_levels
from leafscout.training.distillation import NetworkTutor, fit_evidence, fit_map
from leafscout.training.expert_stage import ExpertStage
from leafscout.training.expert_training import FIRST_GENERATION, ExpertTraining
from leafscout.training.loop import LoopOptions, Validation
from leafscout.training.mutual_stage import MutualStage
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import Recipe, choose_recipe

CPU = torch.device("cpu")


def build(name: str, seed: int) -> Expert:
    torch.manual_seed(seed)
    return build_expert(name, 2)


def make_stage(
    spots: LabelTable,
    recipe: Recipe,
    *,
    teacher: Expert | None = None,
    student: str = "tiny_narrow",
    photo_logits: Any = None,
    unlabelled: Sequence[Path] = (),
) -> ExpertStage:
    tutor = None if teacher is None else NetworkTutor(recipe, teacher, photo_logits)
    return ExpertStage(
        build(student, 0), recipe, spots.subset(range(8)), spots.subset(range(8, 12)), 0, CPU,
        mixed_precision=False, tutor=tutor, unlabelled=unlabelled,
    )  # fmt: skip


def loss_of(stage: ExpertStage, index: int = 3) -> Tensor:
    stage.prepare()
    paths = stage.paths
    return stage.loss(index, decode_photo(paths[index]), 0)


def test_without_soft_weight_a_teacher_changes_nothing(spots: LabelTable, recipe: Recipe) -> None:
    deaf = replace(recipe, distil_temperature=1.0, distil_soft_weight=0.0)
    alone = loss_of(make_stage(spots, recipe))
    taught = loss_of(make_stage(spots, deaf, teacher=build("tiny", 5)))
    assert torch.equal(alone, taught)


@pytest.mark.parametrize("levels", ["tile", "place", "tile+place"])
def test_a_teacher_that_agrees_leaves_the_labels_alone(
    spots: LabelTable, recipe: Recipe, levels: str
) -> None:
    recipe = replace(recipe, distil_levels=levels, distil_soft_weight=0.5)
    alone = loss_of(make_stage(spots, recipe, student="tiny"))
    same = loss_of(make_stage(spots, recipe, student="tiny", teacher=build("tiny", 0)))
    torch.testing.assert_close(same, 0.5 * alone)
    other = loss_of(make_stage(spots, recipe, student="tiny", teacher=build("tiny", 1)))
    assert other > same


def test_the_teacher_sees_the_pixels_that_the_student_learns_from(
    spots: LabelTable, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = build("tiny", 1)
    stage = make_stage(spots, recipe, teacher=teacher)
    seen: dict[str, list[Tensor]] = {"teacher": [], "student": []}
    see = Expert.see

    def note(self: Expert, tiles: Tensor) -> Any:
        seen["teacher" if self is teacher else "student"].append(tiles)
        return see(self, tiles)

    monkeypatch.setattr(Expert, "see", note)
    loss_of(stage)
    assert len(seen["teacher"]) == 1
    assert torch.equal(seen["teacher"][0], seen["student"][-1])
    assert len(seen["teacher"][0]) == recipe.tiles_best + recipe.tiles_random


def test_soft_labels_of_photos_meet_the_pooled_evidence(spots: LabelTable, recipe: Recipe) -> None:
    recipe = replace(recipe, distil_levels="photo", distil_soft_weight=1.0)
    logits = np.linspace(-3, 3, 16).reshape(8, 2).astype(np.float32)
    stage = make_stage(spots, recipe)
    stage.tutor = NetworkTutor(recipe, None, logits)
    losses = [float(loss_of(stage, index).detach()) for index in (0, 0, 7)]
    assert losses[0] == losses[1] != losses[2]
    close = NetworkTutor(recipe, None, np.full((8, 2), -20.0, dtype=np.float32))
    stage.tutor = close
    loss_of(stage).backward()
    assert stage.network.head.weight.grad is not None
    assert stage.network.head.bias is not None
    assert stage.network.head.bias.grad is not None
    assert (stage.network.head.bias.grad > 0).all(), "the teacher sees nothing, so less is better"


def test_the_teacher_stays_as_it_is_and_is_no_part_of_the_student(
    spots: LabelTable, recipe: Recipe
) -> None:
    teacher = build("tiny", 1)
    before = copy.deepcopy(teacher.state_dict())
    stage = make_stage(spots, replace(recipe, distil_features="cosine"), teacher=teacher)
    bare = set(build("tiny_narrow", 0).state_dict())
    assert set(stage.network.state_dict()) > bare, "a projection is learnt on the way"
    optimizer = torch.optim.SGD(stage.parameter_groups(), lr=0.1)
    loss_of(stage).backward()
    optimizer.step()
    assert all(one.grad is None for one in teacher.parameters())
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert set(stage.finish().state_dict()) == bare


@pytest.mark.parametrize(
    "settings",
    [
        {"distil_features": "cosine"},
        {"distil_features": "mse"},
        {"distil_attention_weight": 1.0},
    ],
)
def test_features_reach_the_backbone_without_any_soft_label(
    spots: LabelTable, recipe: Recipe, settings: dict[str, Any]
) -> None:
    recipe = replace(recipe, distil_soft_weight=0.0, **settings)
    plain = loss_of(make_stage(spots, replace(recipe, **dict.fromkeys(settings, None) | {
        "distil_features": "none", "distil_attention_weight": 0.0,
    })))  # fmt: skip
    stage = make_stage(spots, recipe, teacher=build("tiny", 1))
    loss = loss_of(stage)
    assert loss > plain
    loss.backward()
    for name, parameter in stage.network.named_parameters():
        if not name.startswith("attention"):
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_a_few_steps_bring_the_student_nearer_to_its_teacher(
    spots: LabelTable, recipe: Recipe
) -> None:
    teacher = build("tiny", 1)
    recipe = replace(recipe, distil_soft_weight=1.0, distil_temperature=1.0)
    stage = make_stage(spots, recipe, teacher=teacher)
    tiles = torch.randint(0, 255, (12, 3, 64, 64), dtype=torch.uint8)

    def away() -> float:
        with torch.no_grad():
            said = [net(tiles).tile_logits for net in (stage.network.eval(), teacher.eval())]
        return float(soft_label_loss(*said, 1.0))

    first, optimizer = away(), torch.optim.Adam(stage.network.parameters(), lr=3e-3)
    for step in range(12):
        optimizer.zero_grad()
        loss_of(stage, step % 8).backward()
        optimizer.step()
    assert away() < 0.5 * first


def test_photos_without_labels_teach_by_the_tutors_word_alone(
    spots: LabelTable, recipe: Recipe
) -> None:
    extra = spots.paths[8:10]
    recipe = replace(recipe, distil_soft_weight=0.2, best_tile_dropout=0.5)
    stage = make_stage(spots, recipe, teacher=build("tiny", 0), student="tiny", unlabelled=extra)
    assert stage.paths == [*spots.paths[:8], *extra]
    assert float(loss_of(stage, 8).detach()) == pytest.approx(0.0, abs=1e-6), "they agree"
    assert loss_of(stage, 3) > 0.01
    with pytest.raises(ValueError, match="without a tutor"):
        loss_of(make_stage(spots, recipe, unlabelled=extra), 8)


def test_finer_maps_of_the_teacher_come_to_the_students_grid() -> None:
    teacher = torch.arange(16.0).reshape(1, 1, 4, 4)
    student = torch.zeros(1, 5, 2, 2)
    assert fit_map(teacher, student).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert fit_evidence(teacher, student).flatten().tolist() == [5, 7, 13, 15]
    assert torch.equal(fit_map(teacher, torch.zeros(1, 2, 4, 4)), teacher)
    assert fit_evidence(teacher, torch.zeros(1, 2, 8, 8)).shape == (1, 1, 8, 8)


def test_a_student_of_smaller_tiles_learns_at_every_level(
    spots: LabelTable, recipe: Recipe
) -> None:
    recipe = replace(
        recipe, tile_px=128, expert_shrink=2, distil_levels="tile+place",
        distil_features="cosine", distil_attention_weight=1.0,
    )  # fmt: skip
    torch.manual_seed(0)
    student = build_expert("tiny_narrow", 2, shrink=2)
    tutor = NetworkTutor(recipe, build("tiny", 1))
    stage = ExpertStage(
        student, recipe, spots.subset(range(8)), spots.subset(range(8, 12)), 0, CPU,
        mixed_precision=False, tutor=tutor,
    )  # fmt: skip
    assert torch.isfinite(loss_of(stage))


def make_training(
    spots: LabelTable, recipe: Recipe, folder: Path, progress: TrainingProgress
) -> ExpertTraining:
    def options_for(name: str, share: float) -> LoopOptions:
        del share
        return LoopOptions(
            folder / name, seed=0, time_s=None, device=CPU, mixed_precision=False,
            on_epoch=lambda _: None,
        )  # fmt: skip

    return ExpertTraining(
        recipe, spots.subset(range(8)), spots.subset(range(8, 12)), 0, CPU,
        mixed_precision=False, options_for=options_for, progress=progress,
    )  # fmt: skip


def test_two_experts_teach_each_other_and_the_better_one_is_kept(
    spots: LabelTable, recipe: Recipe, tmp_path: Path, progress: TrainingProgress
) -> None:
    recipe = replace(recipe, distil_mode="mutual")
    expert, peer = build("tiny_narrow", 0), build("tiny_narrow", 1)
    before = [copy.deepcopy(one.state_dict()) for one in (expert, peer)]
    training = make_training(spots, recipe, tmp_path, progress)
    training.run(expert, build_peer=lambda: peer)
    for one, start in zip((expert, peer), before, strict=True):
        assert any(not torch.equal(value, start[name]) for name, value in one.state_dict().items())
    # Once more: what is finished is only loaded.
    again = build("tiny_narrow", 7)
    training.run(again, build_peer=lambda: build("tiny_narrow", 8))
    for name, value in again.state_dict().items():
        assert torch.equal(value, expert.state_dict()[name]), name


def test_peers_hear_each_other_but_are_not_pulled(spots: LabelTable, recipe: Recipe) -> None:
    experts = [build("tiny_narrow", seed) for seed in (0, 1)]
    stages = [
        ExpertStage(
            experts[mine],
            recipe,
            spots.subset(range(8)),
            spots.subset(range(8, 12)),
            mine,
            CPU,
            mixed_precision=False,
            tutor=NetworkTutor(recipe, experts[1 - mine]),
        )
        for mine in (0, 1)
    ]
    both = MutualStage(stages[0], stages[1])
    both.prepare()
    photo = decode_photo(spots.paths[3])
    stages[0].loss(3, photo, 0).backward()
    assert all(one.grad is None for one in experts[1].parameters())
    assert experts[0].head.weight.grad is not None
    assert experts[1].training, "a peer that was asked goes on learning"
    total = both.loss(3, photo, 0)
    parts = stages[0].loss(3, photo, 0) + stages[1].loss(3, photo, 0)
    torch.testing.assert_close(total, parts)
    found = [stage.validate() for stage in stages]
    mean = both.validate()
    assert mean.score == pytest.approx((found[0].score + found[1].score) / 2)
    assert mean.loss == pytest.approx((found[0].loss + found[1].loss) / 2)


def test_the_better_peer_is_copied_into_the_first(
    spots: LabelTable, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = [make_stage(spots, recipe), make_stage(spots, recipe, student="tiny_narrow")]
    stages[1].network.load_state_dict(build("tiny_narrow", 9).state_dict())
    wanted = copy.deepcopy(stages[1].network.state_dict())
    scores = {id(stages[0]): 0.2, id(stages[1]): 0.3}
    monkeypatch.setattr(
        ExpertStage, "validate", lambda self: Validation(scores[id(self)], 1.0, 0.5)
    )
    expert = MutualStage(stages[0], stages[1]).finish()
    assert expert is stages[0].network
    assert all(torch.equal(value, wanted[name]) for name, value in expert.state_dict().items())


def test_the_second_generation_learns_from_the_first(
    spots: LabelTable, recipe: Recipe, tmp_path: Path, progress: TrainingProgress
) -> None:
    expert = build("tiny_narrow", 0)
    training = make_training(spots, replace(recipe, distil_mode="self"), tmp_path, progress)
    training.run(expert)
    assert (tmp_path / FIRST_GENERATION / "best.safetensors").is_file()
    alone = build("tiny_narrow", 0)
    make_training(spots, recipe, tmp_path / "alone", progress).run(alone)
    same = [torch.equal(a, b) for a, b in zip(alone.parameters(), expert.parameters(), strict=True)]
    assert not all(same), "the second generation heard the first"


@pytest.mark.parametrize("mode", ["mutual", "self"])
def test_a_training_that_was_stopped_ends_with_the_same_expert(
    mode: str,
    spots: LabelTable,
    recipe: Recipe,
    tmp_path: Path,
    progress: TrainingProgress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = replace(recipe, distil_mode=mode)

    def run(folder: str) -> Expert:
        expert = build("tiny_narrow", 0)
        training = make_training(spots, recipe, tmp_path / folder, progress)
        training.run(expert, build_peer=lambda: build("tiny_narrow", 1))
        return expert

    whole = run("whole")
    loss, calls = ExpertStage.loss, []

    def stop_once(self: ExpertStage, index: int, photo: Any, epoch: int) -> Tensor:
        calls.append(index)
        if len(calls) == 21:  # two epochs of eight photos: the second generation, or mid-epoch
            signal.raise_signal(signal.SIGINT)
        return loss(self, index, photo, epoch)

    monkeypatch.setattr(ExpertStage, "loss", stop_once)
    with pytest.raises(KeyboardInterrupt):
        run("stopped")
    again = run("stopped")
    for name, value in again.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), name


def test_modes_that_need_somebody_say_so(
    spots: LabelTable, recipe: Recipe, tmp_path: Path, progress: TrainingProgress
) -> None:
    for mode in ("offline", "mutual"):
        training = make_training(spots, replace(recipe, distil_mode=mode), tmp_path, progress)
        with pytest.raises(ValueError, match="somebody else"):
            training.run(build("tiny_narrow", 0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distil_mode": "osmosis"}, "distil_mode called 'osmosis'.*offline, mutual, self"),
        ({"distil_levels": "leaf"}, "one or more of photo, tile, place.*'leaf'"),
        ({"distil_levels": "tile+tile"}, "but got 'tile\\+tile'"),
        ({"distil_levels": ""}, "but got ''"),
        ({"distil_mode": "mutual", "distil_levels": "photo"}, "need a finished teacher"),
        ({"distil_temperature": 0.0}, "--temperature to be above 0, but got 0.0"),
        ({"distil_temperature": -1.0}, "--temperature to be above 0, but got -1.0"),
        ({"distil_soft_weight": 1.5}, "--soft-weight from 0 to 1, but got 1.5"),
        ({"distil_features": "sound"}, "distil_features called 'sound'"),
        ({"distil_feature_weight": -1.0}, "distil_feature_weight from 0"),
        ({"distil_attention_weight": float("inf")}, "distil_attention_weight from 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_recipe("tiny", settings)


def test_levels_are_read_in_any_order() -> None:
    assert read_levels("place + photo") == ("place", "photo")
    assert all(choose_recipe("tiny", {"distil_mode": mode}) for mode in DISTIL_MODES)
