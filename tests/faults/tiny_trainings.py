"""Very small trainings in processes of their own, to be killed and gone on with.

A process that has imported everything forks one for each training: a training takes a second or
two then, and starts at once.
"""

import csv
import io
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from leafscout.cli import main
from leafscout.training import (
    checkpoint,
    evidence_pass,
    loop,
    out_of_fold,
    stage_state,
    stages,
    teacher,
)
from leafscout.training.progress import TrainingProgress
from leafscout.training.run import TrainOptions, train

COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200)}
PHOTOS = 10
SMALL = {
    "tile_px": 64, "glance_px": 64, "tiles_best": 2, "tiles_random": 1, "epochs": 2,
    "expert": "tiny_narrow", "scout": "tiny_narrow",
}  # fmt: skip
SIZES = ("tile_px", "glance_px", "epochs", "expert", "scout")
"""Of these, what the command line has options for."""

GATED = {"view_px": 64, "width": 16, "later_blocks": 1, "epochs": 3}

KINDS = {
    "expert, scout": ("tiny", SMALL),
    "expert, scout, joint, alternate": (
        "tiny", {**SMALL, "epochs": 1, "stages": "expert,scout,joint,alternate", "joint_epochs": 1},
    ),
    "gated": ("gated", {**GATED, "gate_budget": "hinge"}),
    "born again, scout tuned": (
        "tiny",
        {**SMALL, "distil_mode": "self", "scout_tuning": "reinforce", "scout_tuning_epochs": 1},
    ),
    "out of fold, two experts": (
        "tiny",
        {**SMALL, "epochs": 1, "distil_mode": "mutual", "scout_evidence": "out_of_fold",
         "scout_folds": 2},
    ),
    "taught": ("tiny", {**SMALL, "distil_levels": "photo+tile"}),
}  # fmt: skip
"""Name → recipe and settings: between them all stages."""

SAVING = {
    "write_atomically", "_write_noted", "_note", "keep_copy", "_flush_folder", "save_checkpoint",
    "save_tensors", "_pack", "forget",
}  # fmt: skip
"""Functions in whose lines a kill counts as inside a save."""


def write_photos(folder):
    """Ten photos of about 100 px, healthy, red, blue or both, with their splits; the label file."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, rows = np.random.default_rng(5), ["image,labels,split"]
    for index in range(PHOTOS):
        labels = [["healthy"], ["red"], ["blue"], ["red", "blue"]][index % 4]
        pixels = rng.integers(60, 110, (100, 130, 3), dtype=np.uint8)
        pixels[..., 1] += 60
        for name in labels:
            if name in COLOURS:
                top, left = rng.integers(76), rng.integers(106)
                pixels[top : top + 24, left : left + 24] = COLOURS[name]
        Image.fromarray(pixels).save(folder / f"{index}.jpg", quality=92)
        rows.append(f"{index}.jpg,{' '.join(labels)},{'train' if index < 6 else 'val'}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder / "labels.csv"


@dataclass
class Orders:
    """What a training is told beside its kind.

    Attributes:
        resume: go on.
        interval_s: between checkpoints.
        teacher: run folder, for a student.
        die_at_line: of the code that saves, counted over the whole training.
        die_in_write: of the nth file, with half of it written.
        without: protections taken away: ``rename``, ``random state``, ``optimiser``, ``notes``.
        log: where every step is written down as it begins.
        at_step: called with the number of steps before each of them.
        spoil: epoch and step in which the loss is no number, as long as the rate is the first one.
    """

    resume: bool = False
    interval_s: float = 120.0
    teacher: Path | None = None
    die_at_line: int | None = None
    die_in_write: int | None = None
    without: tuple = ()
    log: Path | None = None
    at_step: Callable | None = None
    spoil: tuple | None = None
    _counts: dict = field(default_factory=lambda: {"lines": 0, "writes": 0, "steps": 0})


def run_training(kind, data, out, orders):
    """Train in this process, and write down each step as it begins and what was counted."""
    torch.set_num_threads(1)
    obey(orders)
    recipe, overrides = KINDS[kind]
    options = TrainOptions(
        threads=1, workers=1, seed=3, resume=orders.resume, teacher=orders.teacher
    )
    train(data, out, recipe=recipe, overrides=overrides, options=options)
    sys.settrace(None)
    _write_line(orders, {"done": time.monotonic(), **orders._counts})


def run_command(data, out, orders):
    """The first kind of training as the command line does it, in this process."""
    obey(orders)
    sizes = [f"--{name.replace('_', '-')}={SMALL[name]}" for name in SIZES]
    more = [f"--set={name}={SMALL[name]}" for name in SMALL if name not in SIZES]
    given = ["train", str(data), "--out", str(out), "--recipe=tiny", "--seed=3", "--threads=1"]
    resume = ["--resume"] if orders.resume else []
    sys.argv = ["leafscout", *given, "--workers=1", *sizes, *more, *resume]
    main()


def obey(orders):
    """Change this process as it was told."""
    _log_steps(orders)
    _remove_protections(orders)
    _count_saving(orders)


def fork_training(kind, data, out, orders):
    """Begin a training in a process of its own; its number."""
    orders.log = orders.log or out.with_name(f"{out.name}.log")
    return fork(lambda: run_training(kind, data, out, orders), out.with_name(f"{out.name}.said"))


def fork(work, said):
    """Do some work in a process of its own, and let it write into a file; its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Python warns of threads, which may hold locks; those of this process are idle.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        words = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(words, 1)
        os.dup2(words, 2)
        # pytest's own files stand in the place of the true ones.
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), write_through=True)
        sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), write_through=True)
        work()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 — whatever it is: nothing of the parent may run here
        traceback.print_exc()
    finally:
        os._exit(code)
    return None


def wait_for(pid, limit_s=120.0):
    """The exit code of a child; negative for the signal that ended it."""
    timer = threading.Timer(limit_s, os.kill, (pid, signal.SIGKILL))
    timer.start()
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        timer.cancel()


def read_log(path):
    """Lines of a log as far as they are whole."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def _write_line(orders, values):
    with orders.log.open("a") as file:
        file.write(json.dumps(values) + "\n")


def _log_steps(orders):
    step, read, gather = loop._step, evidence_pass._read_tiles, evidence_pass.gather_evidence

    def noted(stage, optimizer, photos, size, state, *rest):
        # By its folder: experts of folds share a name.
        where = [rest[0].folder.name, state.epoch, state.step]
        if orders.at_step is not None:
            orders.at_step(orders._counts["steps"])
        orders._counts["steps"] += 1
        _write_line(orders, {"step": where, "at": time.monotonic()})
        if orders.spoil != (state.epoch, state.step) or state.returns:
            return step(stage, optimizer, photos, size, state, *rest)
        whole = stage.loss
        stage.loss = lambda *given: whole(*given) * float("nan")
        try:
            return step(stage, optimizer, photos, size, state, *rest)
        finally:
            del stage.loss

    store = []

    def noted_photo(expert, photo, *rest):
        _write_line(orders, {"step": [*store, photo.source], "at": time.monotonic()})
        return read(expert, photo, *rest)

    def noted_pass(expert, paths, tile_px, path, *rest, **options):
        store[:] = [path.parent.name, path.name]
        return gather(expert, paths, tile_px, path, *rest, **options)

    for module in (stages, out_of_fold, teacher):
        module.gather_evidence = noted_pass
    loop._step, evidence_pass._read_tiles = noted, noted_photo
    loop.CHECKPOINT_EVERY_S = evidence_pass.CHECKPOINT_EVERY_S = orders.interval_s


def _count_saving(orders):
    """Count lines and writes of the code that saves, and die where that was ordered."""
    counts, whole = orders._counts, Path.open

    def trace_lines(frame, event, _):
        if event == "line":
            counts["lines"] += 1
            if counts["lines"] == orders.die_at_line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace_lines

    def trace(frame, _, __):
        code = frame.f_code
        inside = code.co_filename == checkpoint.__file__ and code.co_name in SAVING
        return trace_lines if inside else None

    def open_counting(path, mode="r", *rest, **options):
        file = whole(path, mode, *rest, **options)
        if mode == "wb":
            counts["writes"] += 1
            if counts["writes"] == orders.die_in_write:
                return _HalfWriter(file)
        return file

    Path.open = open_counting
    if orders.die_at_line is not None:
        sys.settrace(trace)


class _HalfWriter:
    """A file whose writer is killed with half of the data on disk."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        os.kill(os.getpid(), signal.SIGKILL)


class _TorchWithoutSeeds:
    """PyTorch, but whoever seeds it is not heard."""

    def __getattr__(self, name):
        return getattr(torch, name)

    def manual_seed(self, _):
        return None


def _remove_protections(orders):
    if "rename" in orders.without:

        def write_in_place(path, data, before_rename=None):
            with path.open("wb") as file:
                file.write(data)
            if before_rename is not None:
                before_rename()

        checkpoint.write_atomically = write_in_place
    if "random state" in orders.without:
        loop.torch = _TorchWithoutSeeds()
    if "optimiser" in orders.without:
        whole = stage_state.load_checkpoint
        stage_state.load_checkpoint = lambda path, network, _: whole(path, network, None)
    if "notes" in orders.without:
        stage_state.NotingStage = ()


def describe_folder(run):
    """Name → digest of every file of a run, apart from times."""
    found = {}
    for path in sorted(run.rglob("*")):
        if path.is_dir():
            continue
        name = path.relative_to(run).as_posix()
        found[name] = sha256(_without_times(path)).hexdigest()
    return found


def _without_times(path):
    if path.name == "history.csv":
        with path.open(newline="") as file:
            return repr([{**row, "seconds": ""} for row in csv.DictReader(file)]).encode()
    if path.name == checkpoint.HASHES:  # of files that hold times
        return repr(sorted(json.loads(path.read_text()))).encode()
    if path.suffix == ".safetensors" and path.parent.name != "model":
        tensors, header = checkpoint.load_tensors(path)
        progress = header.get("progress", {})
        progress.pop("elapsed_s", None)
        for row in progress.get("history", []):
            row.pop("seconds")
        parts = [json.dumps(header, sort_keys=True).encode()]
        for name in sorted(tensors):
            tensor = tensors[name]
            parts += [f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode()]
            parts += [tensor.numpy().tobytes()]
        return b"\n".join(parts)
    return path.read_bytes()


def find_unloadable(run):
    """Checkpoints that cannot be read, or whose hash is not the one that was noted."""
    bad = []
    for path in sorted((run / "checkpoints").rglob("[!.]*.safetensors")):
        try:
            checkpoint.load_tensors(path)
            checkpoint._check_hash(path)
        except Exception as error:  # noqa: BLE001 — any at all counts
            bad.append(f"{path.relative_to(run)}: {error}")
    return bad


def import_everything(work, data):
    """Train once in this process, so that those who are forked find everything imported."""
    torch.set_num_threads(1)
    out = work / "warm"
    shutil.rmtree(out, ignore_errors=True)
    options = TrainOptions(threads=1, workers=1)
    progress = TrainingProgress(Console(file=io.StringIO()))
    train(data, out, overrides={**SMALL, "epochs": 1}, recipe="tiny", options=options,
          progress=progress)  # fmt: skip
    shutil.rmtree(out)
