"""The training loop. It reads from top to bottom and trains one network of one stage."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from leafscout.photos.loader import load_photos
from leafscout.training.checkpoint import load_checkpoint, save_checkpoint
from leafscout.training.progress import ProgressTask, TrainingProgress
from leafscout.training.recipes import StageSettings
from leafscout.types import Photo

CHECKPOINT_EVERY_S = 120.0


@dataclass(frozen=True)
class Validation:
    """How good a network is on the validation photos.

    Attributes:
        score: what the best epoch is chosen by; higher is better.
        loss: mean loss.
        macro_ap: mean average precision over the labels that can be validated, 0..1.
    """

    score: float
    loss: float
    macro_ap: float


class Stage(Protocol):
    """What the loop trains: a network, its photos, the loss of one photo, its validation."""

    name: str
    settings: StageSettings
    paths: list[Path]

    @property
    def network(self) -> nn.Module:
        """The network that is trained."""
        ...

    def prepare(self) -> None:
        """Put the network into training mode."""
        ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameters and learning rates for the optimiser."""
        ...

    def loss(self, index: int, photo: Photo, epoch: int) -> Tensor:
        """The loss of one training photo."""
        ...

    def validate(self) -> Validation:
        """Judge the network on the validation photos."""
        ...


@dataclass(frozen=True)
class LoopOptions:
    """What the loop needs beside the stage.

    Attributes:
        folder: where the checkpoints ``last`` and ``best`` are kept.
        seed: order of photos and everything random follow from it.
        time_s: wall time for this stage; None for no bound.
        device: where the network lives.
        mixed_precision: use bfloat16 where it is safe.
        on_epoch: called with all rows of history after each epoch.
    """

    folder: Path
    seed: int
    time_s: float | None
    device: torch.device
    mixed_precision: bool
    on_epoch: Callable[[list[dict[str, Any]]], None]


@dataclass
class _State:
    epoch: int = 0
    step: int = 0  # steps done in this epoch
    elapsed_s: float = 0.0
    best_score: float = -math.inf
    best_loss: float = math.inf
    epochs_since_best: int = 0
    loss_sum: float = 0.0
    learning_rate: float = 0.0  # of the last step
    finished: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


def train_stage(  # noqa: C901 — the loop is one story; told in pieces it is harder to follow
    stage: Stage, options: LoopOptions, progress: TrainingProgress
) -> None:
    """Train a stage to its end and leave the best weights in the network.

    A stage that was stopped goes on where it was; one that is finished is only loaded. The
    learning rate follows a warm-up and a cosine over the stage, or over its time where that is
    the tighter bound.

    Raises:
        KeyboardInterrupt: after Ctrl-C, once the checkpoint is written.
        FloatingPointError: when the loss is no longer a number.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    last, best = options.folder / "last.safetensors", options.folder / "best.safetensors"
    settings = stage.settings
    optimizer = torch.optim.AdamW(stage.parameter_groups(), weight_decay=settings.weight_decay)
    base_rates = [group["lr"] for group in optimizer.param_groups]

    state = _State()
    if last.exists():
        state = _State(**load_checkpoint(last, stage.network, optimizer))
        options.on_epoch(state.history)
    steps_per_epoch = math.ceil(len(stage.paths) / settings.photos_per_step)
    started_s = time.monotonic() - state.elapsed_s
    saved_s = time.monotonic()

    def share_done() -> float:
        done = (state.epoch * steps_per_epoch + state.step) / (settings.epochs * steps_per_epoch)
        spent = 0.0 if options.time_s is None else (time.monotonic() - started_s) / options.time_s
        return max(done, spent)

    def save(path: Path) -> None:
        state.elapsed_s = time.monotonic() - started_s
        save_checkpoint(path, stage.network, optimizer, asdict(state))

    with stop_between_steps() as stop_wanted:
        while not state.finished:
            order = np.random.default_rng([options.seed, state.epoch]).permutation(len(stage.paths))
            first = state.step * settings.photos_per_step
            title = f"{stage.name} epoch {state.epoch + 1}/{settings.epochs}"
            stage.prepare()
            photos = load_photos(stage.paths, [int(index) for index in order[first:]])
            with progress.task(title, total=len(order), done=first) as task:
                while state.step < steps_per_epoch and share_done() < 1.0:
                    rate = _rate(share_done(), settings.warmup_frac)
                    for group, base in zip(optimizer.param_groups, base_rates, strict=True):
                        group["lr"] = base * rate
                    state.learning_rate = optimizer.param_groups[-1]["lr"]
                    # Dropout must not depend on whether the run was stopped in between.
                    torch.manual_seed(hash((options.seed, state.epoch, state.step)) % 2**63)
                    size = min(settings.photos_per_step,
                               len(order) - state.step * settings.photos_per_step)  # fmt: skip
                    state.loss_sum += _step(stage, optimizer, photos, size, state, options, task)
                    state.step += 1
                    if stop_wanted():
                        save(last)
                        raise KeyboardInterrupt
                    if time.monotonic() - saved_s > CHECKPOINT_EVERY_S:
                        save(last)
                        saved_s = time.monotonic()
            photos.close()  # type: ignore[attr-defined]

            validation = stage.validate()
            better = (validation.score, -validation.loss) > (state.best_score, -state.best_loss)
            state.epochs_since_best = 0 if better else state.epochs_since_best + 1
            if better:
                state.best_score, state.best_loss = validation.score, validation.loss
            row = {
                "stage": stage.name,
                "epoch": state.epoch + 1,
                "train_loss": round(state.loss_sum / max(state.step, 1), 6),
                "val_loss": round(validation.loss, 6),
                "val_macro_ap": round(validation.macro_ap, 6),
                "learning_rate": state.learning_rate,
                "seconds": round(time.monotonic() - started_s, 1),
            }
            state.history.append(row)
            state.epoch, state.step, state.loss_sum = state.epoch + 1, 0, 0.0
            state.finished = (
                share_done() >= 1.0
                or state.epoch >= settings.epochs
                or state.epochs_since_best >= settings.patience
            )
            if better:
                save(best)
            save(last)
            options.on_epoch(state.history)
            progress.say(
                f"{stage.name} epoch {row['epoch']}: train loss {row['train_loss']:.4f}, "
                f"validation loss {validation.loss:.4f}, macro-AP {validation.macro_ap:.3f}"
                f"{' (best)' if better else ''}, {row['seconds']:.0f} s"
            )
            if stop_wanted():
                raise KeyboardInterrupt
    load_checkpoint(best, stage.network, None)
    stage.network.eval()


def _step(
    stage: Stage,
    optimizer: torch.optim.Optimizer,
    photos: Iterator[tuple[int, Photo]],
    size: int,
    state: _State,
    options: LoopOptions,
    task: ProgressTask,
) -> float:
    """One optimiser step over ``size`` photos, one photo in memory at a time."""
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for _ in range(size):
        index, photo = next(photos)
        with torch.autocast(
            options.device.type,
            dtype=torch.bfloat16,
            enabled=options.mixed_precision,
            # A stage may run its network without gradients first. The cache would then hand those
            # casts of the weights, which know no gradient, to the pass that needs one.
            cache_enabled=False,
        ):
            loss = stage.loss(index, photo, state.epoch)
        (loss / size).backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach()) / size
        task.advance(note=f"loss {total:.3f}")
    if not math.isfinite(total):
        raise FloatingPointError(
            f"The loss of the {stage.name} became {total} in epoch {state.epoch + 1}. "
            "The last good checkpoint is kept. Begin a new run with another --seed or recipe."
        )
    nn.utils.clip_grad_norm_(stage.network.parameters(), stage.settings.clip_norm)
    optimizer.step()
    return total


def _rate(share_done: float, warmup_frac: float) -> float:
    """Learning rate as a share of its peak: linear warm-up, then half a cosine to 0."""
    if share_done < warmup_frac:
        return 0.05 + 0.95 * share_done / warmup_frac
    rest = min(1.0, (share_done - warmup_frac) / (1.0 - warmup_frac))
    return 0.5 * (1.0 + math.cos(math.pi * rest))


@contextmanager
def stop_between_steps() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C wait until the step is done; the second one stops at once.

    An optimiser interrupted in the middle would leave half-updated weights.
    """
    wanted = False
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal wanted
        if wanted:
            raise KeyboardInterrupt
        wanted = True

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: wanted
    finally:
        signal.signal(signal.SIGINT, before)
