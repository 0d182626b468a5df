"""Trainings that go wrong: found at the step, gone back from, and said in words.

The long part spoils a step of every kind of training.
"""

import json
import os
import signal
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from kill_trainings import Trainings, sum_up
from rich.console import Console
from tiny_trainings import KINDS, SMALL, fork_training, wait_for, write_photos
from torch import nn

from leafscout.photos.labels import read_labels
from leafscout.reports.run_report import write_run_report
from leafscout.training import evidence_pass, loop, stage_state
from leafscout.training.checkpoint import load_tensors
from leafscout.training.evidence_pass import gather_evidence
from leafscout.training.expert_stage import ExpertStage
from leafscout.training.loop import LoopOptions, Validation, train_stage
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import StageSettings, choose_recipe
from leafscout.training.recovery import (
    JOURNAL,
    MOST_RETURNS,
    VERDICTS,
    LossWatch,
    StepError,
)
from leafscout.training.run import TrainOptions, train

SETTINGS = StageSettings(
    epochs=3, photos_per_step=2, learning_rate=0.05, backbone_rate=1.0, patience=9
)
CPU = torch.device("cpu")
NO_ROOM = "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Ten small photos and their label file."""
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def said():
    """What the progress shows."""
    return StringIO()


@pytest.fixture
def progress(said):
    """It goes into a text."""
    return TrainingProgress(Console(file=said, force_terminal=False, width=500))


@pytest.fixture
def options(tmp_path):
    """Of the loop."""
    return LoopOptions(tmp_path / "stage", 3, None, CPU, False, lambda _: None)


@dataclass
class Slope:
    """A network of some weights with dropout; its loss is whatever ``bend`` makes of it."""

    paths: list
    settings: StageSettings = SETTINGS
    name: str = "slope"
    bend: object = lambda stage, value, epoch, index: value  # noqa: ARG005
    losses: list = field(default_factory=list)
    room: int | None = None  # tiles

    def __post_init__(self):
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.25), nn.Linear(4, 1))

    def prepare(self):
        self.network.train()

    def parameter_groups(self):
        return [{"params": list(self.network.parameters()), "lr": self.settings.learning_rate}]

    def loss(self, index, photo, epoch):
        colours = torch.from_numpy(photo.pixels.reshape(-1, 3).mean(axis=0)).float() / 255
        given = torch.cat([colours, torch.ones(1)])
        value = (self.network(given).sum() - float(index % 2)) ** 2
        value = self.bend(self, value, epoch, index)
        self.losses.append(float(value.detach()))
        return value

    def validate(self):
        self.network.eval()
        return Validation(score=0.0, loss=1.0, macro_ap=0.5)


def at(epoch, number):
    """Whether a loss is the nth of an epoch, and nothing was gone back from yet."""
    return lambda stage, now: now == epoch and len(stage.losses) == 10 * epoch + number


def read_journal(folder):
    """All events, in order."""
    path = folder / JOURNAL
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def is_sound(network):
    """All weights are numbers."""
    return all(bool(torch.isfinite(value).all()) for value in network.state_dict().values())


def lose_the_number(stage, value, epoch, index):
    """Not a number, once, at the sixth photo of the second epoch."""
    return value * float("nan") if at(1, 5)(stage, epoch) else value


def lose_the_gradient(stage, value, epoch, index):
    """A loss that is a number, but its gradient is none."""
    if not at(1, 5)(stage, epoch):
        return value
    return value + torch.sqrt(stage.network[0].weight.sum() * 0.0)


@pytest.mark.parametrize("bend", [lose_the_number, lose_the_gradient])
def test_a_step_that_is_no_number_is_gone_back_from(photos, options, progress, said, bend):
    paths = list(read_labels(photos).paths)
    stage = Slope(paths, bend=bend)
    rows = []
    train_stage(stage, replace(options, on_epoch=lambda given: rows.append([*given])), progress)
    assert is_sound(stage.network)
    assert np.isfinite([row["train_loss"] for row in rows[-1]]).all()
    assert [row["epoch"] for row in rows[-1]] == [1, 2, 3]
    (event,) = read_journal(options.folder)
    assert (event["event"], event["epoch"], event["step"]) == ("went back", 2, 3)
    batch = np.random.default_rng([3, 1]).permutation(10)[4:6]
    named = {paths[index].name for index in batch}
    assert set(event["photos"]) <= named
    assert paths[batch[1]].name in event["photos"]
    assert event["words"] in " ".join(said.getvalue().split())
    assert "0.3 of the learning rate" in event["words"]
    # The peak of the rate is lower from here on.
    assert rows[-1][1]["learning_rate"] < 0.3 * SETTINGS.learning_rate
    assert not (options.folder / "good.safetensors").exists()


def test_without_the_look_at_gradients_the_weights_are_lost(
    photos, options, progress, monkeypatch, record
):
    monkeypatch.setattr(loop.nn.utils, "clip_grad_norm_", lambda *_: torch.ones(()))
    stage = Slope(list(read_labels(photos).paths), bend=lose_the_gradient)
    train_stage(stage, options, progress)  # the losses that follow are none either
    found = read_journal(options.folder)
    assert found[0]["step"] > 3, "found too late"
    record(
        "a gradient that is no number", without="the look at the gradient's length",
        noticed=f"found {found[0]['step'] - 3} step later, with weights that are no numbers",
    )  # fmt: skip


def test_after_three_returns_it_says_what_to_look_at(photos, options, progress):
    paths = list(read_labels(photos).paths)

    def bend(stage, value, epoch, index):
        return value * float("inf") if epoch == 1 and index == 7 else value

    stage = Slope(paths, bend=bend)
    with pytest.raises(
        FloatingPointError,
        match=r"loss of the slope became inf in epoch 2, .*Look at the photos .*: 7\.jpg\.",
    ):
        train_stage(stage, options, progress)
    events = [event["event"] for event in read_journal(options.folder)]
    assert events == [*MOST_RETURNS * ["went back"], "given up"]
    tensors, header = load_tensors(options.folder / "last.safetensors")
    assert header["progress"]["epoch"] == 1
    assert header["progress"]["rate_scale"] == pytest.approx(0.027)
    assert all(bool(torch.isfinite(value).all()) for value in tensors.values())
    with pytest.raises(FloatingPointError, match="returns"):
        train_stage(Slope(paths, bend=bend), options, progress)


FAR_TOO_FAST = replace(SETTINGS, learning_rate=10.0, epochs=6)


def test_a_loss_that_runs_away_is_found_and_a_lower_rate_helps(photos, options, progress):
    stage = Slope(list(read_labels(photos).paths), FAR_TOO_FAST)
    train_stage(stage, options, progress)
    events = read_journal(options.folder)
    assert events
    assert all("ran away to" in event["words"] for event in events)
    assert max(stage.losses[-10:]) < 10


def test_what_was_gone_back_from_survives_a_stop(photos, options, progress, tmp_path):
    """The stopped run ends bit for bit as the other one, events and all."""
    paths = list(read_labels(photos).paths)
    whole = Slope(paths, FAR_TOO_FAST)
    train_stage(whole, options, progress)
    assert read_journal(options.folder)
    other = replace(options, folder=tmp_path / "other")
    before = signal.getsignal(signal.SIGINT)
    for stop_at in (7, 11, 9, 13):

        def bend(stage, value, epoch, index, stop_at=stop_at):
            if len(stage.losses) == stop_at:
                signal.raise_signal(signal.SIGINT)
            return value

        with pytest.raises(KeyboardInterrupt):
            train_stage(Slope(paths, FAR_TOO_FAST, bend=bend), other, progress)
    assert signal.getsignal(signal.SIGINT) is before
    resumed = Slope(paths, FAR_TOO_FAST)
    train_stage(resumed, other, progress)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], value), name
    assert read_journal(other.folder) == read_journal(options.folder)


def test_noise_is_no_alarm():
    rng = np.random.default_rng(0)
    for scale in (0.01, 1.0, 30.0):
        watch = LossWatch()
        for loss in scale * rng.exponential(size=20_000) * np.linspace(1, 0.05, 20_000):
            watch.look(float(loss), ())
        assert watch.is_well()


@pytest.mark.parametrize("start", [0.001, 1.0, 40.0])
def test_growth_is_an_alarm(start):
    watch = LossWatch()
    for _ in range(20):
        watch.look(start, ())

    def grow():
        for step in range(200):
            watch.look(start + 1.2**step, ())

    with pytest.raises(StepError, match="ran away"):
        grow()
    with pytest.raises(StepError, match="jumped to"):
        LossWatch(10, start, start).look(1e6, ())


# Memory ------------------------------------------------------------------------------------------


def expert_stage(photos, **changes):
    """The expert of a very small recipe."""
    table = read_labels(photos)
    recipe = choose_recipe("tiny", {**SMALL, "tiles_best": 4, "epochs": 1, **changes})
    torch.manual_seed(0)
    from leafscout.networks import build_expert

    network = build_expert("tiny_narrow", len(table.labels))
    half = np.arange(5), np.arange(5, 10)
    train, validation = (table.subset(part) for part in half)
    return ExpertStage(network, recipe, train, validation, 0, CPU, mixed_precision=False)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"),
                                   RuntimeError(NO_ROOM), MemoryError()])  # fmt: skip
@pytest.mark.parametrize("learning", [True, False], ids=["in training", "in validation"])
def test_too_little_memory_halves_tiles(photos, options, progress, monkeypatch, error, learning):
    stage, most = expert_stage(photos), []
    whole = stage.network.see

    def see(batch):
        if stage.network.training == learning:
            most.append(len(batch))
            if len(batch) > 2:
                raise error
        return whole(batch)

    monkeypatch.setattr(stage.network, "see", see)
    train_stage(stage, options, progress)
    assert max(most) > 2
    assert most[-1] <= 2
    events = read_journal(options.folder)
    assert {event["event"] for event in events} == {"out of memory"}
    assert f"reads {stage.tiles_at_once} at a time" in events[-1]["words"]
    resumed = expert_stage(photos)
    monkeypatch.setattr(resumed.network, "see", resumed.network.see)
    train_stage(resumed, options, progress)
    assert resumed.tiles_at_once == stage.tiles_at_once, "a resumed stage does no more at a time"
    assert resumed.recipe.tiles_best == stage.recipe.tiles_best


def test_where_one_tile_is_too_much_the_error_goes_on(photos, options, progress, monkeypatch):
    stage = expert_stage(photos)

    def see(_):
        raise RuntimeError(NO_ROOM)

    monkeypatch.setattr(stage.network, "see", see)
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        train_stage(stage, options, progress)
    assert stage.tiles_at_once == 1


def test_another_error_is_not_taken_for_it(photos, options, progress, monkeypatch):
    stage = expert_stage(photos)

    def see(_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(stage.network, "see", see)
    with pytest.raises(RuntimeError, match="shapes"):
        train_stage(stage, options, progress)
    assert read_journal(options.folder) == []


def test_the_evidence_pass_reads_fewer_tiles_at_a_time(photos, progress, said, tmp_path):
    stage, most = expert_stage(photos), []
    paths, whole = stage.paths, stage.network.forward
    plain = gather_evidence(
        stage.network, paths, 64, tmp_path / "a", CPU, mixed_precision=False, progress=progress
    )

    def forward(batch):
        most.append(len(batch))
        if len(batch) > 1:
            raise RuntimeError(NO_ROOM)
        return whole(batch)

    stage.network.forward = forward
    slow = gather_evidence(
        stage.network, paths, 64, tmp_path / "b", CPU, mixed_precision=False, progress=progress
    )
    assert max(most) > 1
    assert "1 tiles are read at a time" in said.getvalue()
    for one, other in zip(plain, slow, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert evidence_pass.TILES_AT_ONCE > 1


# Whole trainings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["tiny", "gated"])
def test_labels_that_cannot_be_learnt_are_in_the_report(recipe, photos, tmp_path):
    """Labels dealt at random: the run says so, on the screen, in its folder and in its report."""
    rows = photos.read_text().splitlines()
    dealt = [
        f"{row.split(',')[0]},{'red' if index in (0, 3, 4, 8, 9) else 'healthy'},"
        f"{row.split(',')[2]}"
        for index, row in enumerate(rows[1:])
    ]
    file = photos.with_name(f"dealt_{recipe}.csv")
    file.write_text("\n".join([rows[0], *dealt]) + "\n")
    overrides = {**SMALL, "epochs": 1} if recipe == "tiny" else {**KINDS["gated"][1], "epochs": 1}
    text = StringIO()
    out = train(
        file, tmp_path / "run", recipe=recipe, overrides=overrides,
        options=TrainOptions(threads=1, workers=1),
        progress=TrainingProgress(Console(file=text, width=500)),
    )  # fmt: skip
    stage = "expert" if recipe == "tiny" else "gated"
    (line,) = (out / "checkpoints" / stage / VERDICTS).read_text().splitlines()
    words = json.loads(line)["words"]
    assert "does not find red better than chance" in words
    assert words in " ".join(text.getvalue().split())
    assert words in write_run_report(out).read_text(encoding="utf-8")


@pytest.mark.faults
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_a_spoilt_step_in_every_stage_of_every_kind(tmp_path, record):
    """Every stage goes back once; killed and gone on with it ends the same."""
    trainings = Trainings(tmp_path, spoil=(0, 2))
    kills, stages, wrong = [], 0, []
    for number, kind in enumerate(KINDS):
        trainings.reference(kind)
        run = tmp_path / "whole" / str(number)
        folders = {path.parent for path in run.rglob("last.safetensors")}
        for folder in folders:
            stages += 1
            events = read_journal(folder)
            sound = all(
                bool(torch.isfinite(value).all())
                for path in folder.glob("*.safetensors")
                for value in load_tensors(path)[0].values()
                if value.is_floating_point()
            )
            if [event["event"] for event in events] != ["went back"] or not sound:
                wrong.append(str(folder))
        kills += [trainings.kill(10 * number + turn, kind, "anywhere") for turn in range(2)]
    found = sum_up(kills)
    record(
        "a loss that is no number, in every stage", kinds=len(KINDS), stages=stages,
        wrong=len(wrong), kills=found["kills"], different=found["different"],
    )  # fmt: skip
    assert wrong == []
    assert found["different"] == found["unloadable"] == found["not_ended"] == 0


@pytest.mark.faults
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_without_going_back_a_spoilt_step_ends_the_training(tmp_path, record, monkeypatch):
    monkeypatch.setattr(stage_state, "MOST_RETURNS", 0)
    trainings = Trainings(tmp_path, spoil=(0, 2))
    orders = trainings._orders("gated", interval_s=0.0)
    code = wait_for(fork_training("gated", trainings.data, tmp_path / "run", orders))
    record(
        "a loss that is no number", without="going back to a good state",
        noticed=f"the training ends with exit code {code}",
    )  # fmt: skip
    assert code == 1
    assert "The last good checkpoint is kept" in Path(tmp_path / "run.said").read_text()
