"""The loop: it learns, keeps the best, and a stopped stage ends as if it had never stopped."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leafscout.errors import InputError
from leafscout.photos.labels import LabelTable
from leafscout.training.checkpoint import load_tensors
from leafscout.training.loop import LoopOptions, Validation, train_stage
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import StageSettings
from leafscout.types import Photo

SETTINGS = StageSettings(
    epochs=3, photos_per_step=5, learning_rate=0.01, backbone_rate=1.0, patience=9
)


@dataclass
class ColourStage:
    """A small network with dropout that learns a photo's mean redness."""

    paths: list[Path]
    settings: StageSettings = SETTINGS
    name: str = "colours"
    scores: list[float] = field(default_factory=list)
    at_photo: Callable[[int], None] | None = None
    seen: int = 0
    order: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.Dropout2d(0.3), nn.Conv2d(8, 1, 3)
        )
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def prepare(self) -> None:
        self.network.train()

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.network.parameters()), "lr": self.settings.learning_rate}]

    def loss(self, index: int, photo: Photo, epoch: int) -> Tensor:  # noqa: ARG002
        self.seen += 1
        self.order.append(index)
        if self.at_photo is not None:
            self.at_photo(self.seen)
        pixels = torch.from_numpy(photo.pixels[None].copy()).permute(0, 3, 1, 2).float() / 255
        redness = float((photo.pixels[..., 0] > 150).mean() * 30)
        return (self.network(pixels).mean() - redness) ** 2

    def validate(self) -> Validation:
        self.network.eval()
        score = self.scores.pop(0) if self.scores else 0.0
        return Validation(score=score, loss=1.0, macro_ap=0.5)


@pytest.fixture
def options(tmp_path: Path) -> LoopOptions:
    return LoopOptions(
        folder=tmp_path / "stage",
        seed=3,
        time_s=None,
        device=torch.device("cpu"),
        mixed_precision=False,
        on_epoch=lambda _: None,
    )


def test_it_learns_and_reports_every_epoch(
    spots: LabelTable, options: LoopOptions, progress: TrainingProgress
) -> None:
    histories: list[list[dict[str, Any]]] = []
    stage = ColourStage(list(spots.paths), replace(SETTINGS, epochs=8))
    train_stage(stage, replace(options, on_epoch=lambda rows: histories.append([*rows])), progress)
    assert [len(rows) for rows in histories] == list(range(1, 9))
    rows = histories[-1]
    assert rows[-1]["train_loss"] < 0.7 * rows[0]["train_loss"]
    assert [row["epoch"] for row in rows] == list(range(1, 9))
    assert {row["stage"] for row in rows} == {"colours"}
    for start in range(0, 96, 12):
        assert sorted(stage.order[start : start + 12]) == list(range(12)), "every photo once"
    assert stage.order[:12] != stage.order[12:24], "in another order each time"
    assert not stage.network.training


def run(paths: list[Path], options: LoopOptions, progress: TrainingProgress) -> ColourStage:
    stage = ColourStage(paths)
    train_stage(stage, options, progress)
    return stage


@pytest.mark.parametrize("stop_at", [2, 10, 12, 13, 24, 33, 36])
def test_a_stopped_stage_ends_bit_for_bit_like_one_that_was_not(
    spots: LabelTable,
    options: LoopOptions,
    progress: TrainingProgress,
    tmp_path: Path,
    stop_at: int,
) -> None:
    paths = list(spots.paths)
    whole = run(paths, replace(options, folder=tmp_path / "whole"), progress)

    before = signal.getsignal(signal.SIGINT)  # a shell's background jobs ignore it
    stopped = ColourStage(paths)
    stopped.at_photo = lambda seen: signal.raise_signal(signal.SIGINT) if seen == stop_at else None
    with pytest.raises(KeyboardInterrupt):
        train_stage(stopped, options, progress)
    assert signal.getsignal(signal.SIGINT) is before
    resumed = run(paths, options, progress)

    assert stopped.order + resumed.order == whole.order
    for name, value in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], value), name
    files = [load_tensors(folder / "last.safetensors") for folder in
             (tmp_path / "whole", options.folder)]  # fmt: skip
    for name, value in files[0][0].items():
        assert torch.equal(files[1][0][name], value), name
    histories = [header["progress"]["history"] for _, header in files]
    for row in (*histories[0], *histories[1]):
        row.pop("seconds")
    assert histories[0] == histories[1]


def test_ctrl_c_while_the_last_epoch_is_validated_still_stops(
    spots: LabelTable, options: LoopOptions, progress: TrainingProgress
) -> None:
    class Stopped(ColourStage):
        def validate(self) -> Validation:
            if self.seen == 36:
                signal.raise_signal(signal.SIGINT)
            return super().validate()

    with pytest.raises(KeyboardInterrupt):
        train_stage(Stopped(list(spots.paths)), options, progress)
    resumed = run(list(spots.paths), options, progress)
    assert resumed.seen == 0, "all was saved"


def test_the_second_ctrl_c_stops_at_once(
    spots: LabelTable, options: LoopOptions, progress: TrainingProgress
) -> None:
    stage = ColourStage(list(spots.paths))

    def twice(seen: int) -> None:
        if seen == 7:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    stage.at_photo = twice
    with pytest.raises(KeyboardInterrupt):
        train_stage(stage, options, progress)
    assert stage.seen == 7


def test_the_best_epoch_is_what_remains(
    spots: LabelTable, options: LoopOptions, progress: TrainingProgress
) -> None:
    stage = ColourStage(list(spots.paths), scores=[0.2, 0.9, 0.5])
    kept: list[dict[str, Tensor]] = []

    def note(rows: list[dict[str, Any]]) -> None:
        kept.append({k: v.clone() for k, v in stage.network.state_dict().items()})

    train_stage(stage, replace(options, on_epoch=note), progress)
    final = stage.network.state_dict()
    assert all(torch.equal(final[name], kept[1][name]) for name in final)
    assert not all(torch.equal(final[name], kept[2][name]) for name in final)


def test_patience_ends_a_stage_that_no_longer_improves(
    spots: LabelTable, options: LoopOptions, progress: TrainingProgress
) -> None:
    settings = replace(SETTINGS, epochs=50, patience=2)
    stage = ColourStage(list(spots.paths), settings, scores=[0.5, 0.6, 0.6, 0.1, 0.9])
    train_stage(stage, options, progress)
    assert stage.scores == [0.9]


def test_time_ends_a_stage_and_its_learning_rate_follows(
    spots: LabelTable,
    options: LoopOptions,
    progress: TrainingProgress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A clock that moves by a hundredth of a second whenever it is read, however busy the machine.
    ticks = count()
    clock = SimpleNamespace(monotonic=lambda: 0.01 * next(ticks))
    monkeypatch.setattr("leafscout.training.loop.time", clock)
    rows: list[dict[str, Any]] = []
    stage = ColourStage(list(spots.paths), replace(SETTINGS, epochs=100_000, patience=100_000))
    on_epoch = lambda history: rows.append(history[-1])  # noqa: E731
    train_stage(stage, replace(options, time_s=1.0, on_epoch=on_epoch), progress)
    assert 0.9 < rows[-1]["seconds"] < 1.5
    assert rows[-1]["learning_rate"] < 0.1 * SETTINGS.learning_rate


def test_a_finished_stage_is_only_loaded(
    spots: LabelTable, options: LoopOptions, progress: TrainingProgress
) -> None:
    first = run(list(spots.paths), options, progress)
    again = run(list(spots.paths), options, progress)
    assert again.seen == 0
    for name, value in first.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], value)


def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(
    spots: LabelTable, options: LoopOptions, progress: TrainingProgress
) -> None:
    class Broken(ColourStage):
        def loss(self, index: int, photo: Photo, epoch: int) -> Tensor:
            return super().loss(index, photo, epoch) * (float("nan") if epoch == 1 else 1.0)

    with pytest.raises(FloatingPointError, match="loss of the colours became nan in epoch 2"):
        train_stage(Broken(list(spots.paths)), options, progress)
    tensors, header = load_tensors(options.folder / "last.safetensors")
    assert header["progress"]["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in tensors.values())


def test_a_damaged_checkpoint_is_named(
    spots: LabelTable, options: LoopOptions, progress: TrainingProgress
) -> None:
    run(list(spots.paths), options, progress)
    (options.folder / "last.safetensors").write_bytes(b"\x00" * 50)
    with pytest.raises(InputError, match=r"last\.safetensors is not a LeafScout file"):
        run(list(spots.paths), options, progress)
