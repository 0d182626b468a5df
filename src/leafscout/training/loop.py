"""The training loop. It reads from top to bottom and trains one network of one stage."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import nn

from leafscout.photos.loader import load_photos
from leafscout.training.checkpoint import (
    forget,
    keep_copy,
    load_checkpoint,
    load_tensors,
    save_checkpoint,
)
from leafscout.training.kept_epochs import keep_epoch
from leafscout.training.progress import ProgressTask, TrainingProgress
from leafscout.training.recovery import (
    JOURNAL,
    StepError,
    describe_halving,
    give_memory_back,
    is_out_of_memory,
    write_events,
)
from leafscout.training.schedules import cosine_share
from leafscout.training.stage import BatchStage as BatchStage
from leafscout.training.stage import LoopOptions as LoopOptions
from leafscout.training.stage import NotingStage
from leafscout.training.stage import Stage as Stage
from leafscout.training.stage import Validation as Validation
from leafscout.training.stage_state import (
    StageState,
    count_waiting,
    do_less,
    note_event,
    restore,
    return_to_good,
)
from leafscout.types import Photo

CHECKPOINT_EVERY_S = 120.0


def train_stage(  # noqa: C901 — the loop is one story; told in pieces it is harder to follow
    stage: Stage, options: LoopOptions, progress: TrainingProgress
) -> None:
    """Train a stage to its end and leave the best weights in the network.

    A stage that was stopped goes on where it was; one that is finished is only loaded. The
    learning rate follows a warm-up and a cosine over the stage, or over its time where that is
    the tighter bound.

    Raises:
        KeyboardInterrupt: after Ctrl-C, once the checkpoint is written.
        FloatingPointError: when the loss is no number or runs away, and lower rates did not help.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    last, best, good = (options.folder / f"{name}.safetensors" for name in ("last", "best", "good"))
    settings = stage.settings
    optimizer = torch.optim.AdamW(stage.parameter_groups(), weight_decay=settings.weight_decay)
    base_rates = [group["lr"] for group in optimizer.param_groups]

    state, fresh = StageState(), not last.exists()
    if not fresh:
        state = restore(last, stage, optimizer)
        options.on_epoch(state.history)
        write_events(options.folder / JOURNAL, state.events)
        for _ in range(state.halvings):
            do_less(stage)
    stopping = count_waiting(state, settings)
    steps_per_epoch = math.ceil(len(stage.paths) / settings.photos_per_step)
    started_s = time.monotonic() - state.elapsed_s
    saved_s, validation_s = time.monotonic(), math.inf

    def share_done() -> float:
        done = (state.epoch * steps_per_epoch + state.step) / (settings.epochs * steps_per_epoch)
        spent = 0.0 if options.time_s is None else (time.monotonic() - started_s) / options.time_s
        return max(done, spent)

    def save(path: Path) -> None:
        state.elapsed_s = time.monotonic() - started_s
        if isinstance(stage, NotingStage):
            state.notes = stage.notes()
        save_checkpoint(path, stage.network, optimizer, asdict(state))

    if fresh:
        # What a pretrained network has cost by now, downloads and all, is not lost either.
        save(last)
    if state.step == 0 and state.watch.is_well():
        keep_copy(last, good)
    with stop_between_steps() as stop_wanted:
        while not state.finished:
            order = np.random.default_rng([options.seed, state.epoch]).permutation(len(stage.paths))
            first = state.step * settings.photos_per_step
            title = f"{stage.name} epoch {state.epoch + 1}/{settings.epochs}"
            stage.prepare()
            photos = load_photos(stage.paths, [int(index) for index in order[first:]])
            try:
                with progress.task(title, total=len(order), done=first) as task:
                    while state.step < steps_per_epoch and share_done() < 1.0:
                        rate = state.rate_scale * _rate(stage, share_done(), state.history)
                        for group, base in zip(optimizer.param_groups, base_rates, strict=True):
                            group["lr"] = base * rate
                        state.learning_rate = optimizer.param_groups[-1]["lr"]
                        # Dropout must not depend on whether the run was stopped in between.
                        torch.manual_seed(hash((options.seed, state.epoch, state.step)) % 2**63)
                        size = min(settings.photos_per_step,
                                   len(order) - state.step * settings.photos_per_step)  # fmt: skip
                        loss = _step(stage, optimizer, photos, size, state, options, task)
                        state.loss_sum += loss
                        state.step += 1
                        if stop_wanted():
                            save(last)
                            raise KeyboardInterrupt
                        if time.monotonic() - saved_s > CHECKPOINT_EVERY_S:
                            save(last)
                            saved_s = time.monotonic()
                photos.close()  # type: ignore[attr-defined]
                began_s = time.monotonic()
                if began_s - saved_s + validation_s > CHECKPOINT_EVERY_S:
                    # Else a kill during a long validation would lose what was learnt before it.
                    save(last)
                validation = _validate(stage)
                validation_s = time.monotonic() - began_s
            except StepError as error:
                photos.close()  # type: ignore[attr-defined]
                state = return_to_good(error, stage, optimizer, state, options, progress)
                stopping = count_waiting(state, settings)
                save(last)
                continue
            except (MemoryError, RuntimeError) as error:
                photos.close()  # type: ignore[attr-defined]
                if not is_out_of_memory(error) or (smaller := do_less(stage)) is None:
                    raise
                give_memory_back(error, options.device)
                state.halvings += 1
                words = describe_halving(stage.name, state.epoch + 1, smaller)
                note_event(state, stage, options, progress, "out of memory", words)
                continue
            stopping.update(state.epoch + 1, validation.score, validation.loss)
            state.stopping, better = stopping.state_dict(), stopping.is_best
            row = {
                "stage": stage.name,
                "epoch": state.epoch + 1,
                "train_loss": round(state.loss_sum / max(state.step, 1), 6),
                "val_loss": round(validation.loss, 6),
                "val_macro_ap": round(validation.macro_ap, 6),
                **{name: round(value, 6) for name, value in validation.figures.items()},
                "learning_rate": state.learning_rate,
                "seconds": round(time.monotonic() - started_s, 1),
            }
            state.history.append(row)
            state.epoch, state.step, state.loss_sum = state.epoch + 1, 0, 0.0
            state.finished = (
                share_done() >= 1.0 or state.epoch >= settings.epochs or stopping.stopped
            )
            if options.keep_epochs:
                keep_epoch(options.folder, state.epoch, stage.network)
            if better:
                save(best)
            save(last)  # after all else: what stands before it is done again after a kill
            saved_s = time.monotonic()
            if state.watch.is_well():
                keep_copy(last, good)
            options.on_epoch(state.history)
            progress.say(
                f"{stage.name} epoch {row['epoch']}: train loss {row['train_loss']:.4f}, "
                f"validation loss {validation.loss:.4f}, macro-AP {validation.macro_ap:.3f}"
                f"{' (best)' if better else ''}, {row['seconds']:.0f} s"
            )
            if stop_wanted():
                raise KeyboardInterrupt
    forget(good)
    load_checkpoint(best, stage.network, None)
    stage.network.eval()


def _validate(stage: Stage) -> Validation:
    validation = stage.validate()
    if not math.isfinite(validation.loss):
        raise StepError(f"became {validation.loss}", ())
    return validation


def show_history(options: LoopOptions) -> None:
    """Hand the history of a stage on that was trained before and is not needed any more."""
    last = options.folder / "last.safetensors"
    if last.exists():
        options.on_epoch(load_tensors(last)[1]["progress"]["history"])


def _step(
    stage: Stage,
    optimizer: torch.optim.Optimizer,
    photos: Iterator[tuple[int, Photo]],
    size: int,
    state: StageState,
    options: LoopOptions,
    task: ProgressTask,
) -> float:
    """One optimiser step over ``size`` photos, one batch in memory at a time.

    A batch counts by its photos, so the last one of an epoch may hold fewer.
    """
    optimizer.zero_grad(set_to_none=True)
    total, seen = 0.0, []
    at_once = stage.photos_at_once if isinstance(stage, BatchStage) else 1
    for first in range(0, size, at_once):
        batch = [next(photos) for _ in range(min(at_once, size - first))]
        names = [stage.paths[index].name for index, _ in batch]
        seen += names
        with torch.autocast(
            options.device.type,
            dtype=torch.bfloat16,
            enabled=options.mixed_precision,
            # A stage may run its network without gradients first. The cache would then hand those
            # casts of the weights, which know no gradient, to the pass that needs one.
            cache_enabled=False,
        ):
            if isinstance(stage, BatchStage):
                loss = stage.batch_loss(batch, state.epoch)
            else:
                loss = stage.loss(*batch[0], state.epoch)
        if not math.isfinite(float(loss.detach())):
            raise StepError(f"became {float(loss.detach())}", names)
        (len(batch) * loss / size).backward()  # type: ignore[no-untyped-call]
        total += len(batch) * float(loss.detach()) / size
        note = stage.describe_batch() if isinstance(stage, BatchStage) else ""
        task.advance(len(batch), note=f"loss {total:.3f}  {note}".rstrip())
    state.watch.look(total, seen)
    norm = nn.utils.clip_grad_norm_(stage.network.parameters(), stage.settings.clip_norm)
    if not math.isfinite(float(norm)):
        raise StepError(f"had a gradient of length {float(norm)}", seen)
    optimizer.step()
    return total


def _rate(stage: Stage, share_done: float, history: Sequence[Mapping[str, Any]]) -> float:
    if isinstance(stage, BatchStage):
        return stage.rate(share_done, history)
    return cosine_share(share_done, stage.settings.warmup_frac)


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
