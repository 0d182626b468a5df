"""The figures of every epoch, from a run's table or as lines of a training log, and back."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from leafscout.errors import InputError

FIGURES = ("loss", "f1", "map", "acc")

_SHOWN = {"loss": "Loss", "f1": "F1", "map": "mAP", "acc": "Acc"}
_SIDES = {"train": "Train", "val": "Val"}
_EPOCH = re.compile(r"Epoch (\d+)/(\d+)")
_FIGURE = re.compile(r"(Train|Val) (Loss|F1|mAP|Acc): (-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|nan)")
_SAVED = re.compile(r"保存最佳模型于 epoch (\d+)")
_LOWERED = re.compile(r"Epoch (\d+): reducing learning rate of group 0 to (\d\.\d+e[+-]\d+)\.?")
_STOPPED = "早停"
_DONE = re.compile(r"训练完成。最佳验证 F1 分数: (\d+\.\d+) 在 epoch (\d+)")


@dataclass(frozen=True)
class EpochFigures:
    """What is known of one epoch; None where a figure was not kept.

    Attributes:
        epoch: from 1.
        train_loss: mean loss of the training photos.
        train_f1: macro-F1 of the training photos, 0..1.
        train_map: mean average precision of the training photos, 0..1.
        train_acc: share of training photos whose labels are all right, 0..1.
        val_loss: the same of the validation photos, as the three below.
        val_f1: macro-F1.
        val_map: mean average precision.
        val_acc: share of photos whose labels are all right.
    """

    epoch: int
    train_loss: float | None = None
    train_f1: float | None = None
    train_map: float | None = None
    train_acc: float | None = None
    val_loss: float | None = None
    val_f1: float | None = None
    val_map: float | None = None
    val_acc: float | None = None


@dataclass(frozen=True)
class TrainingLog:
    """A training as its log tells it.

    Attributes:
        epochs: their figures, in order.
        planned: how many epochs there were to be.
        saved: epochs whose model was kept as the best so far.
        lowered: epoch → learning rate from then on, where it was lowered.
        stopped: whether training ended early.
        best: epoch and F1 that the last line names; None where it was not written.
        notes: lines above the first epoch and below the last that are none of these, in order.
    """

    epochs: tuple[EpochFigures, ...]
    planned: int
    saved: tuple[int, ...] = ()
    lowered: tuple[tuple[int, float], ...] = ()
    stopped: bool = False
    best: tuple[int, float] | None = None
    notes: tuple[str, ...] = ()


def read_log(text: str) -> TrainingLog:
    """Read a training log in the form that ``write_log`` writes.

    Args:
        text: lines as in ``Epoch 1/30``, ``Train Loss: 0.4665 | Train F1: 0.2551``,
            ``保存最佳模型于 epoch 1``; lines of no such form are kept as notes.

    Raises:
        InputError: when there is no epoch, epochs are not in order, or figures come before the
            first epoch.
    """
    log = TrainingLog((), 0)
    for number, line in enumerate((line.strip() for line in text.splitlines()), start=1):
        if line:
            log = _read_line(log, line, number)
    if not log.epochs:
        raise InputError("Expected a training log with lines as 'Epoch 1/30', but found none.")
    return log


def _read_line(log: TrainingLog, line: str, number: int) -> TrainingLog:
    if match := _EPOCH.fullmatch(line):
        epoch, planned = map(int, match.groups())
        if epoch != len(log.epochs) + 1:
            raise InputError(
                f"Line {number} of the training log is epoch {epoch}, but "
                f"{len(log.epochs) + 1} was expected."
            )
        return replace(log, epochs=(*log.epochs, EpochFigures(epoch)), planned=planned)
    if found := _FIGURE.findall(line):
        if not log.epochs:
            raise InputError(f"Line {number} of the training log comes before its first epoch.")
        values: dict[str, Any] = {
            f"{side.lower()}_{name.lower()}": float(value) for side, name, value in found
        }
        return replace(log, epochs=(*log.epochs[:-1], replace(log.epochs[-1], **values)))
    if match := _SAVED.fullmatch(line):
        return replace(log, saved=(*log.saved, int(match[1])))
    if match := _LOWERED.fullmatch(line):
        return replace(log, lowered=(*log.lowered, (int(match[1]), float(match[2]))))
    if line == _STOPPED:
        return replace(log, stopped=True)
    if match := _DONE.fullmatch(line):
        return replace(log, best=(int(match[2]), float(match[1])))
    return replace(log, notes=(*log.notes, line))


def write_log(log: TrainingLog) -> str:
    """A training as log lines, figures with four digits; ``read_log`` gives the same back.

    Notes come first.
    """
    lines = list(log.notes)
    lowered = dict(log.lowered)
    for epoch in log.epochs:
        lines.append(f"Epoch {epoch.epoch}/{log.planned}")
        for side, shown in _SIDES.items():
            figures = [
                f"{shown} {_SHOWN[name]}: {value:.4f}"
                for name in FIGURES
                if (value := getattr(epoch, f"{side}_{name}")) is not None
            ]
            if figures:
                lines.append(" | ".join(figures))
        if epoch.epoch in lowered:
            rate = lowered[epoch.epoch]
            lines.append(f"Epoch {epoch.epoch}: reducing learning rate of group 0 to {rate:.4e}.")
        if epoch.epoch in log.saved:
            lines.append(f"保存最佳模型于 epoch {epoch.epoch}")
    if log.stopped:
        lines.append(_STOPPED)
    if log.best is not None:
        lines.append(f"训练完成。最佳验证 F1 分数: {log.best[1]:.4f} 在 epoch {log.best[0]}")
    return "\n".join(lines) + "\n"


def read_history(path: Path) -> tuple[EpochFigures, ...]:
    """Read the ``history.csv`` of a run; figures that it does not hold stay unknown.

    Raises:
        InputError: when the file cannot be read, or a cell is not a number.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f"The history {path} cannot be read: {error.strerror}.") from error
    names = [field.name for field in fields(EpochFigures)]
    epochs = []
    for number, row in enumerate(rows, start=2):
        try:
            values: dict[str, Any] = {
                name: float(row[name]) for name in names[1:] if row.get(name) not in (None, "")
            }
            epochs.append(EpochFigures(int(row["epoch"]), **values))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"Row {number} of {path} is not a row of figures.") from error
    return tuple(epochs)
