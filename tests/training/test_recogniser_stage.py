"""The stage of a recogniser: batches, accumulation, margins kept out of figures, resuming."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from leafscout.photos.decode import decode_photo
from leafscout.photos.labels import LabelTable
from leafscout.recognisers.whole_photo import Recogniser
from leafscout.training.checkpoint import load_tensors
from leafscout.training.loop import BatchStage, LoopOptions, train_stage
from leafscout.training.progress import TrainingProgress
from leafscout.training.recogniser_recipe import choose_recogniser_recipe
from leafscout.training.recogniser_run import fit_recogniser_rules
from leafscout.training.recogniser_stage import RecogniserStage, photo_figures, repeat_photos
from leafscout.training.schedules import cosine_share

CPU = torch.device("cpu")
SMALL = {"photo_px": 64, "epochs": 2, "batch": 4, "features": 8}


def make_stage(
    spots: LabelTable, recipe: str = "small_efficientnet", *, seed: int = 3, **settings: object
) -> RecogniserStage:
    chosen = choose_recogniser_recipe(recipe, {**SMALL, **settings})
    torch.manual_seed(seed)
    network = Recogniser(chosen.shape(), len(spots.labels))
    return RecogniserStage(
        network, chosen, spots, spots, seed, CPU, mixed_precision=False,
        repeats=chosen.repeats(spots.labels),
    )  # fmt: skip


def options_for(folder: Path) -> LoopOptions:
    return LoopOptions(folder, 3, None, CPU, mixed_precision=False, on_epoch=lambda _: None)


def small_photos(stage: RecogniserStage, count: int) -> list:
    return [(index, decode_photo(stage.paths[index])) for index in range(count)]


def test_it_is_a_stage_of_batches(spots: LabelTable) -> None:
    stage = make_stage(spots)
    assert isinstance(stage, BatchStage)
    assert decode_photo(stage.paths[0]).pixels.shape == (64, 64, 3)


@pytest.fixture
def step_gradients(
    spots: LabelTable, tmp_path: Path, progress: TrainingProgress, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[torch.Tensor]]:
    """The gradients of a network as the optimiser gets them in the first step of a training."""

    def train_once(stage: RecogniserStage) -> list[torch.Tensor]:
        caught: list[list[torch.Tensor]] = []

        def catch(optimiser: torch.optim.Optimizer) -> None:
            groups = optimiser.param_groups
            caught.append([one.grad.clone() for group in groups for one in group["params"]])

        with monkeypatch.context() as patch:
            patch.setattr(torch.optim.AdamW, "step", catch)
            train_stage(stage, options_for(tmp_path / str(stage.recipe.batch)), progress)
        assert len(caught) == 1
        return caught[0]

    return train_once


ACCUMULATED = {"accumulation": 3, "epochs": 1}
"""Twelve photos in batches of five: one step, and the last batch holds two. Transformers alone:
without batch statistics a photo's gradient depends on nothing but itself."""


@pytest.mark.parametrize("recipe", ["small_vit", "small_eva_stn"])
def test_gradients_of_accumulated_batches_are_those_of_one_large_batch(
    spots: LabelTable, step_gradients: Callable[..., list[torch.Tensor]], recipe: str
) -> None:
    large, small = (
        step_gradients(make_stage(spots, recipe, batch=size, **ACCUMULATED)) for size in (12, 5)
    )
    for one, other in zip(small, large, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=3e-7)
    one, other = (torch.cat([part.flatten() for part in parts]) for parts in (small, large))
    assert float((one - other).norm() / other.norm()) < 1e-6


def test_what_is_left_between_them_is_rounding(
    spots: LabelTable,
    step_gradients: Callable[..., list[torch.Tensor]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In double precision every single gradient is the same to 1e-5 of itself, and far closer."""
    stages = [make_stage(spots, "small_vit", batch=size, **ACCUMULATED) for size in (12, 5)]
    for stage in stages:
        stage.network.double()
    # The stage computes in single precision by name; here that name means the double one.
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    large, small = (step_gradients(stage) for stage in stages)
    for one, other in zip(small, large, strict=True):
        assert one.dtype == torch.float64
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-14)


class Counting:
    """The stage's own lesson, which notes how many photos each held."""

    def __init__(self, stage: RecogniserStage) -> None:
        self.learn, self.seen = stage.batch_loss, list[int]()

    def __call__(self, photos: list, epoch: int) -> torch.Tensor:
        self.seen.append(len(photos))
        return self.learn(photos, epoch)


@pytest.mark.parametrize(("batch", "wanted"), [(4, [4, 4, 4]), (5, [5, 5, 2]), (11, [11, 1])])
def test_the_last_odd_batch_is_learnt_from(
    spots: LabelTable, tmp_path: Path, progress: TrainingProgress, batch: int, wanted: list[int]
) -> None:
    stage = make_stage(spots, batch=batch, accumulation=2, epochs=1)
    stage.batch_loss = counting = Counting(stage)  # type: ignore[method-assign]
    before = stage.network.head.weight.detach().clone()
    train_stage(stage, options_for(tmp_path), progress)
    assert counting.seen == wanted
    assert not torch.equal(before, stage.network.head.weight)


def test_figures_never_hold_the_margin(spots: LabelTable) -> None:
    stages = [
        make_stage(spots, "small_efficientnet", head="arcface", polarised=True, margin=margin)
        for margin in (0.0, 1.0)
    ]
    stages[1].network.load_state_dict(stages[0].network.state_dict())
    for stage in stages:
        stage.prepare()
    photos = small_photos(stages[0], 4)
    losses = [float(stage.batch_loss(photos, 0).detach()) for stage in stages]
    assert losses[1] > losses[0] + 0.1
    assert stages[0].notes() == stages[1].notes()
    before, after = (stage.validate().figures for stage in stages)
    assert before == after


def test_class_centres_are_learnt_and_saved(
    spots: LabelTable, tmp_path: Path, progress: TrainingProgress
) -> None:
    stage = make_stage(spots, "small_efficientnet", head="arcface", epochs=1)
    before = stage.network.head.weight.detach().clone()
    train_stage(stage, options_for(tmp_path), progress)
    assert not torch.equal(before, stage.network.head.weight)
    saved = load_tensors(tmp_path / "best.safetensors")[0]
    assert torch.equal(saved["network/head.weight"], stage.network.head.weight)


def test_only_training_photos_are_repeated(spots: LabelTable) -> None:
    stage = make_stage(spots, oversample="red:3")
    red = spots.truth[:, spots.labels.index("red")]
    assert len(stage.paths) == len(spots) + 2 * red.sum()
    assert len(stage.answer_validation()) == len(spots)
    rows = repeat_photos(spots, {"red": 2, "blue": 4})
    both = np.flatnonzero(spots.truth.all(axis=1))
    assert (rows == both[0]).sum() == 4


@pytest.mark.parametrize("loss", ["bce", "focal", "balanced"])
def test_every_loss_learns(spots: LabelTable, loss: str) -> None:
    stage = make_stage(spots, loss=loss)
    optimiser = torch.optim.Adam(stage.network.parameters(), lr=3e-3)
    stage.prepare()
    photos, found = small_photos(stage, 8), []
    for _ in range(12):
        optimiser.zero_grad()
        value = stage.batch_loss(photos, 0)
        value.backward()
        optimiser.step()
        found.append(float(value.detach()))
    assert np.mean(found[-3:]) < np.mean(found[:3])


def test_rates_follow_the_schedule(spots: LabelTable) -> None:
    cosine, plateau = (make_stage(spots, schedule=one) for one in ("cosine", "plateau"))
    assert cosine.rate(0.6, []) == cosine_share(0.6, cosine.recipe.warmup)
    flat = [{"val_f1": 0.5}] * 7
    patience = plateau.recipe.plateau_patience
    assert plateau.rate(0.9, flat[: patience + 1]) == 1.0
    assert plateau.rate(0.9, flat[: patience + 2]) == pytest.approx(0.1)


def test_a_training_stopped_in_an_epoch_goes_on_bit_by_bit(
    spots: LabelTable, tmp_path: Path, progress: TrainingProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_stage(spots)
    histories: dict[str, list] = {}

    def options(name: str) -> LoopOptions:
        return replace(
            options_for(tmp_path / name), on_epoch=lambda rows: histories.update({name: rows})
        )

    train_stage(whole, options("whole"), progress)
    stopped = make_stage(spots)
    learn, calls = stopped.batch_loss, []

    def stop_once(photos: list, epoch: int) -> torch.Tensor:
        calls.append(epoch)
        if len(calls) == 5:  # in the second epoch
            raise KeyboardInterrupt
        return learn(photos, epoch)

    monkeypatch.setattr(stopped, "batch_loss", stop_once)
    monkeypatch.setattr("leafscout.training.loop.CHECKPOINT_EVERY_S", -1.0)
    with pytest.raises(KeyboardInterrupt):
        train_stage(stopped, options("stopped"), progress)
    again = make_stage(spots)
    train_stage(again, options("stopped"), progress)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name
    keys = [key for key in histories["whole"][0] if key != "seconds"]
    for one, other in zip(histories["whole"], histories["stopped"], strict=True):
        assert [one[key] for key in keys] == [other[key] for key in keys]


def test_the_history_says_how_both_splits_are_answered(
    spots: LabelTable, tmp_path: Path, progress: TrainingProgress
) -> None:
    rows: list[dict] = []
    stage = make_stage(spots, epochs=1)
    train_stage(stage, replace(options_for(tmp_path), on_epoch=rows.extend), progress)
    wanted = {
        f"{side}_{name}" for side in ("train", "val") for name in ("loss", "f1", "map", "acc")
    }
    assert wanted <= set(rows[-1])
    assert all(0.0 <= rows[-1][name] <= 1.0 for name in wanted if not name.endswith("loss"))


def test_figures_of_perfect_and_of_opposite_answers() -> None:
    truth = np.array([[True, False], [False, True], [True, True], [False, False]])
    logits = np.where(truth, 3.0, -3.0).astype(np.float32)
    assert photo_figures(truth, logits) == {"f1": 1.0, "map": 1.0, "acc": 1.0, "label_acc": 1.0}
    assert photo_figures(truth, -logits)["acc"] == 0.0


def test_batches_say_how_each_label_fares(spots: LabelTable) -> None:
    stage = make_stage(spots)
    stage.prepare()
    stage.batch_loss(small_photos(stage, 4), 0)
    assert [word for word in ("right", "blue", "red") if word in stage.describe_batch()] == [
        "right", "blue", "red",
    ]  # fmt: skip


def learn_fifty_steps(spots: LabelTable, seed: int, *, half: bool) -> float:
    """Mean loss of the last five of fifty steps on four photos, changed alike in all steps."""
    stage = make_stage(spots, "small_vit", seed=seed, rate=3e-4)
    optimiser = torch.optim.Adam(stage.parameter_groups())
    stage.prepare()
    photos, found = small_photos(stage, 4), []
    for _ in range(50):
        optimiser.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = stage.batch_loss(photos, 0)
        loss.backward()
        optimiser.step()
        found.append(float(loss.detach()))
    assert np.mean(found[-5:]) < 0.8 * np.mean(found[:5])
    return float(np.mean(found[-5:]))


def test_half_precision_learns_alike(spots: LabelTable) -> None:
    """Over some seeds: what rounding does to one training grows from step to step, either way."""
    single, half = (
        np.array([learn_fifty_steps(spots, seed, half=wanted) for seed in range(4)])
        for wanted in (False, True)
    )
    assert half.mean() == pytest.approx(single.mean(), rel=0.01)
    np.testing.assert_allclose(half, single, rtol=0.05)


def test_labels_that_are_not_learnt_are_said_and_written_down(
    spots: LabelTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = make_stage(spots)
    lies = np.random.default_rng(0).permutation(stage.validation.truth)
    stage.validation = replace(stage.validation, truth=lies)
    with TrainingProgress() as progress:
        fit_recogniser_rules(stage, progress, tmp_path)
    said = " ".join(capsys.readouterr().err.split())
    rows = (tmp_path / "verdicts.jsonl").read_text().splitlines()
    assert rows
    assert "The network does not find" in said
    assert "try a larger --glance-px" in said


def test_a_spatial_transformer_learns_at_its_own_rate(spots: LabelTable) -> None:
    stage = make_stage(spots, "small_eva_stn", transformer_rate=0.1)
    slow, rest = stage.parameter_groups()
    assert stage.network.transformer is not None
    assert len(slow["params"]) == len(list(stage.network.transformer.parameters()))
    assert slow["lr"] == pytest.approx(0.1 * rest["lr"])
    together = [*slow["params"], *rest["params"]]
    assert {id(one) for one in together} == {id(one) for one in stage.network.parameters()}
    assert len(make_stage(spots).parameter_groups()) == 1
