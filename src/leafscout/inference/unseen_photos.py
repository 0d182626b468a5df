"""Which labelled photos may judge a run: those that had no part in making its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.photos.fingerprint import fingerprint_many
from leafscout.photos.labels import LabelTable, read_labels
from leafscout.training.photo_uses import find_uses


def read_run_labels(data: Path, plan: dict[str, Any], photos_root: Path | None) -> LabelTable:
    """Read labels as the run read its own: the same names mean healthy, the same are complete."""
    return read_labels(
        data,
        healthy_names=plan["healthy_names"],
        complete=plan["labels_complete"],
        photos_root=photos_root,
    )


def unseen_photos(
    run: Path, data: Path, plan: dict[str, Any], photos_root: Path | None, *, force: bool
) -> tuple[LabelTable, list[str]]:
    """The photos to evaluate on, and what a reader must know about them.

    Args:
        run: the run folder.
        data: photos with labels.
        plan: of the run.
        photos_root: folder that the label file's photo names start from.
        force: take photos that made the model, and say so.

    Raises:
        InputError: photos that made the model, and neither ``force`` nor a test split among them.
    """
    table = read_run_labels(data, plan, photos_root)
    splits = find_uses(run, fingerprint_many(table.paths))
    overlap = [index for index, split in enumerate(splits) if split not in (None, "test")]
    if not overlap:
        return table, []
    test = [index for index, split in enumerate(splits) if split == "test"]
    if test and not force:
        note = (
            f"Evaluated on the {len(test)} photos of the run's own test split; the "
            f"{len(overlap)} that it was trained or validated on were left out."
        )
        return table.subset(test), [note]
    if not force:
        raise InputError(
            f"{len(overlap)} of the {len(splits)} photos in {data} were used to train or validate "
            f"{run} (for example {table.names[overlap[0]]}): figures on them would flatter the "
            "model. Give other photos, or add --force to see them marked as such."
        )
    note = (
        f"FORCED: {len(overlap)} of {len(splits)} photos were used to train or validate this "
        "model. These figures say nothing about new photos."
    )
    return table, [note]


def align_labels(table: LabelTable, labels: tuple[str, ...]) -> NDArray[np.bool_]:
    """(photos, model's labels) truth; refuses labels that the model does not know."""
    unknown = [name for name in table.labels if name not in labels]
    if unknown:
        raise InputError(
            f"{table.source} has labels that the model does not know: {', '.join(unknown)}. "
            f"It was trained on: {', '.join(labels)}."
        )
    truth = np.zeros((len(table.paths), len(labels)), dtype=np.bool_)
    for column, name in enumerate(table.labels):
        truth[:, labels.index(name)] = table.truth[:, column]
    return truth
