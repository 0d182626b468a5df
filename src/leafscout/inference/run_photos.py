"""Photos to try a model on: those that are named, or those that its run was made with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from leafscout.errors import InputError
from leafscout.photos.decode import list_photos
from leafscout.photos.labels import LabelTable, read_labels
from leafscout.training.photo_uses import SPLITS, read_splits


def find_run_photos(run: Path, split: str, *, option: str) -> list[Path]:
    """The photos of one split of a run, where they were when it was trained.

    Args:
        run: the run folder.
        split: ``train`` or ``val``.
        option: that names other photos.

    Raises:
        InputError: when the run does not say, or they are no longer there.
    """
    if not (run / SPLITS).is_file():
        raise InputError(
            f"{run} does not say which photos it was made with: {SPLITS} is missing. "
            f"Name photos with {option}."
        )
    from leafscout.training.run_folder import read_plan

    plan = read_plan(run)
    try:
        train, validation = read_own_parts(
            run, plan, tuple(plan["labels"]), why=f"Its {split!r} photos are among"
        )
    except InputError as error:
        raise InputError(
            f"The photos that {run} was made with cannot be used: {error} "
            f"Name photos with {option}."
        ) from error
    photos = list((train if split == "train" else validation).paths)
    if not photos:
        raise InputError(f"{run} was made without {split} photos. Name photos with {option}.")
    return photos


def read_own_parts(
    run: Path, plan: dict[str, Any], labels: tuple[str, ...], *, why: str
) -> tuple[LabelTable, LabelTable]:
    """Training and validation photos of a run with their labels, where they were.

    Args:
        run: the run folder.
        plan: of the run.
        labels: the model's labels.
        why: what needs them, the beginning of a sentence: ``The baseline learns from``.

    Raises:
        InputError: when they are no longer there, or no longer the same.
    """
    data = Path(plan["data"])
    if not data.exists():
        raise InputError(f"{why} the photos that {run} was made with, but there is no {data} now.")
    table = read_labels(
        data,
        healthy_names=plan["healthy_names"],
        complete=plan["labels_complete"],
        photos_root=Path(plan["photos_root"]) if plan["photos_root"] else None,
    )
    if not (run / SPLITS).is_file():
        raise InputError(f"{run} has no {SPLITS}: it does not say which photos it was made with.")
    split_of = dict(read_splits(run))
    if tuple(table.labels) != labels or set(split_of) != set(table.names):
        raise InputError(f"{data} no longer holds the photos and labels that {run} was made with.")
    names = np.array([split_of[name] for name in table.names])
    train, validation = (np.flatnonzero(names == split) for split in ("train", "val"))
    return table.subset(train), table.subset(validation)


def list_named_photos(given: Sequence[Path]) -> list[Path]:
    """The photos that files and folders name, each once.

    Raises:
        InputError: when a folder holds none.
    """
    found: dict[Path, None] = {}
    for path in given:
        some = list_photos(path) if path.is_dir() else [path]
        if not some:
            raise InputError(f"The folder {path} holds no photos. Name another one.")
        found.update(dict.fromkeys(some))
    return list(found)
