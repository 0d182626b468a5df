"""The figures of epochs: two published training logs replayed, and tables that come back."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from leafscout.errors import InputError
from leafscout.training.early_stopping import EarlyStopping
from leafscout.training.history import (
    EpochFigures,
    TrainingLog,
    read_history,
    read_log,
    write_log,
)
from leafscout.training.run_folder import write_rows
from leafscout.training.schedules import PlateauRate

# The log of EVA-CLIP with a spatial transformer. At hand were all figures of its first epoch, and
# F1 and mean average precision of the validation photos of every epoch; no others.
EVA_VAL_F1 = (
    0.3884, 0.7307, 0.7694, 0.8616, 0.8686, 0.8742, 0.8794, 0.8713, 0.8661, 0.8771, 0.8660, 0.8655,
    0.8708, 0.8705, 0.8692, 0.8720, 0.8707,
)  # fmt: skip
EVA_VAL_MAP = (
    0.6193, 0.8878, 0.9032, 0.9208, 0.9238, 0.9231, 0.9334, 0.9242, 0.9238, 0.9294, 0.9226, 0.9224,
    0.9253, 0.9255, 0.9270, 0.9253, 0.9260,
)  # fmt: skip

# The history of Swin with polarised attention and an ArcFace head, whole: loss and accuracy of
# training and validation, then F1 and mean average precision of both.
SWIN = (
    (0.0197, 0.8701, 0.0496, 0.9198, 0.5646, 0.8262, 0.6493, 0.9048),
    (0.0094, 0.9424, 0.0467, 0.9409, 0.8507, 0.8500, 0.9191, 0.9235),
    (0.0066, 0.9642, 0.0445, 0.9431, 0.9082, 0.8482, 0.9618, 0.9214),
    (0.0050, 0.9748, 0.0457, 0.9177, 0.9383, 0.8158, 0.9791, 0.9254),
    (0.0037, 0.9817, 0.0446, 0.9227, 0.9561, 0.8287, 0.9874, 0.9200),
    (0.0023, 0.9887, 0.0435, 0.9268, 0.9747, 0.8297, 0.9954, 0.9192),
    (0.0021, 0.9897, 0.0427, 0.9394, 0.9759, 0.8515, 0.9956, 0.9227),
    (0.0016, 0.9926, 0.0428, 0.9268, 0.9826, 0.8349, 0.9978, 0.9182),
)


def eva_epochs() -> tuple[EpochFigures, ...]:
    epochs = [
        EpochFigures(number, val_f1=f1, val_map=mean)
        for number, (f1, mean) in enumerate(zip(EVA_VAL_F1, EVA_VAL_MAP, strict=True), start=1)
    ]
    first = {"train_loss": 0.4665, "train_f1": 0.2551, "train_map": 0.3618, "train_acc": 0.1967}
    epochs[0] = replace(epochs[0], **first, val_loss=0.2867, val_acc=0.4950)
    return tuple(epochs)


def swin_epochs() -> tuple[EpochFigures, ...]:
    names = (
        "train_loss", "train_acc", "val_loss", "val_acc", "train_f1", "val_f1", "train_map",
        "val_map",
    )  # fmt: skip
    return tuple(
        EpochFigures(number, **dict(zip(names, row, strict=True)))
        for number, row in enumerate(SWIN, start=1)
    )


def replay(epochs: tuple[EpochFigures, ...], planned: int, patience: int = 10) -> TrainingLog:
    """Run a training's figures through what decides about it."""
    stopping, plateau = EarlyStopping(patience), PlateauRate(1e-4, factor=0.1, patience=5)
    saved, lowered, done = [], [], []
    for epoch in epochs:
        done.append(epoch)
        assert epoch.val_f1 is not None
        stop = stopping.update(epoch.epoch, epoch.val_f1)
        if stopping.is_best:
            saved.append(epoch.epoch)
        if plateau.update(epoch.val_f1):
            lowered.append((epoch.epoch, plateau.rate))
        if stop:
            break
    assert stopping.best_epoch is not None
    return TrainingLog(
        epochs=tuple(done),
        planned=planned,
        saved=tuple(saved),
        lowered=tuple(lowered),
        stopped=stopping.stopped,
        best=(stopping.best_epoch, stopping.best_score),
        notes=("Original complex samples: 355",),
    )


def test_a_published_log_is_replayed_to_its_very_end() -> None:
    log = replay(eva_epochs(), planned=30)
    assert log.best == (7, 0.8794)
    assert log.stopped
    assert log.epochs[-1].epoch == 17
    assert [epoch for epoch, _ in log.lowered] == [13]
    assert log.lowered[0][1] == pytest.approx(1e-5)
    assert log.saved == (1, 2, 3, 4, 5, 6, 7)


def test_with_another_patience_the_replay_ends_elsewhere() -> None:
    assert replay(eva_epochs(), 30, patience=9).epochs[-1].epoch == 16
    assert not replay(eva_epochs(), 30, patience=11).stopped


def test_the_second_published_history_ends_with_its_plan() -> None:
    log = replay(swin_epochs(), planned=8)
    assert log.best == (7, 0.8515)
    assert not log.stopped
    assert log.lowered == ()
    assert log.saved == (1, 2, 7)


def test_a_log_is_written_in_the_known_form() -> None:
    lines = write_log(replay(eva_epochs(), planned=30)).splitlines()
    assert lines[:5] == [
        "Original complex samples: 355",
        "Epoch 1/30",
        "Train Loss: 0.4665 | Train F1: 0.2551 | Train mAP: 0.3618 | Train Acc: 0.1967",
        "Val Loss: 0.2867 | Val F1: 0.3884 | Val mAP: 0.6193 | Val Acc: 0.4950",
        "保存最佳模型于 epoch 1",
    ]
    assert "Epoch 13: reducing learning rate of group 0 to 1.0000e-05." in lines
    assert lines[-2:] == ["早停", "训练完成。最佳验证 F1 分数: 0.8794 在 epoch 7"]


@pytest.mark.parametrize("name", ["eva", "swin"])
def test_every_epoch_of_a_log_comes_back(name: str) -> None:
    epochs, planned = (eva_epochs(), 30) if name == "eva" else (swin_epochs(), 8)
    log = replay(epochs, planned)
    again = read_log(write_log(log))
    assert [epoch for epoch, _ in again.lowered] == [epoch for epoch, _ in log.lowered]
    assert replace(again, lowered=()) == replace(log, lowered=())
    assert write_log(again) == write_log(log)
    assert len(again.epochs) == (17 if name == "eva" else 8)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nothing", "found none"),
        ("Epoch 2/3", "epoch 2, but 1 was expected"),
        ("Train Loss: 0.1", "before its first epoch"),
    ],
)
def test_a_text_that_is_no_log_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_log(text)


def test_a_runs_table_is_read(tmp_path: Path) -> None:
    for epochs in (eva_epochs(), swin_epochs()):
        rows = [{"stage": "recogniser", **asdict(epoch), "seconds": 1.0} for epoch in epochs]
        write_rows(tmp_path / "history.csv", rows)
        assert read_history(tmp_path / "history.csv") == epochs


def test_a_damaged_history_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_history(tmp_path / "none.csv")
    (tmp_path / "history.csv").write_text("epoch,val_f1\n1,0.5\n2,high\n", encoding="utf-8")
    with pytest.raises(InputError, match="Row 3"):
        read_history(tmp_path / "history.csv")
