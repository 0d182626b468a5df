"""What an evaluation wrote about each photo, read back from a run folder."""

from __future__ import annotations

import csv
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.evaluation.differences import PhotoAnswers

TRUTH, PROB, FOUND = "truth_", "prob_", "found_"
"""How the columns of a label begin."""


@dataclass(frozen=True, eq=False)
class AnswerTable:
    """A run's ``evaluation/per_photo.csv``, photos in the order of their names.

    Attributes:
        run: the run folder.
        images: names of the photos, sorted.
        labels: sorted.
        truth: (photos, labels) bool.
        answers: what the run said.
    """

    run: Path
    images: tuple[str, ...]
    labels: tuple[str, ...]
    truth: NDArray[np.bool_]
    answers: PhotoAnswers


def read_answers(run: Path) -> AnswerTable:
    """Read what an evaluation left in a run folder.

    Raises:
        InputError: no evaluation there, or a damaged table.
    """
    path = run / "evaluation" / "per_photo.csv"
    if not run.is_dir():
        raise InputError(f"There is no run folder {run}.")
    if not path.is_file():
        raise InputError(
            f"{run} has not been evaluated: {path} is missing. Run "
            f"`leafscout evaluate {run} DATA` first, with the same DATA for every run."
        )
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = (
        sorted(key.removeprefix(TRUTH) for key in rows[0] if key.startswith(TRUTH)) if rows else []
    )
    if not labels:
        raise InputError(f"{path} holds no answers. Evaluate {run} again.")
    rows.sort(key=lambda row: row.get("image") or "")
    images = tuple(row.get("image") or "" for row in rows)
    twice = next((one for one, other in itertools.pairwise(images) if one == other), None)
    if twice is not None:
        raise InputError(f"{path} holds {twice!r} twice. Evaluate {run} again.")

    def column(name: str) -> NDArray[np.float64]:
        return _read_column(path, rows, name)

    def columns(prefix: str) -> NDArray[np.float64]:
        return np.stack([column(prefix + label) for label in labels], axis=1)

    return AnswerTable(
        run=run,
        images=images,
        labels=tuple(labels),
        truth=columns(TRUTH) > 0.5,
        answers=PhotoAnswers(
            probs=columns(PROB),
            decided=columns(FOUND) > 0.5,
            macs_share=column("macs_share"),
            tiles_read=column("tiles_read"),
        ),
    )


def _read_column(path: Path, rows: list[dict[str, Any]], name: str) -> NDArray[np.float64]:
    values = np.empty(len(rows))
    for index, row in enumerate(rows):
        try:
            values[index] = float(row[name])
            if not math.isfinite(values[index]):
                raise ValueError(row[name])  # noqa: TRY301 — told with the others below
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: expected a number in column {name} for {row.get('image')!r}, but got "
                f"{row.get(name)!r}. Evaluate the run again."
            ) from error
    return values


def read_groups(table: AnswerTable) -> NDArray[np.int64] | None:
    """(photos,) groups of the photos, where all of them are the run's own test split; else None."""
    path = table.run / "splits.csv"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        known = {
            row["image"]: int(row["group"])
            for row in csv.DictReader(file)
            if row.get("split") == "test" and (row.get("group") or "").isdigit()
        }
    if not all(image in known for image in table.images):
        return None
    return np.array([known[image] for image in table.images], dtype=np.int64)


def read_notes(run: Path) -> tuple[str, ...]:
    """What the evaluation of a run noted, such as photos that the run was trained on."""
    path = run / "evaluation.json"
    if not path.is_file():
        return ()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return tuple(str(note) for note in values.get("notes", ()))
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path} is damaged: evaluate {run} again.") from error


def check_same_photos(reference: AnswerTable, other: AnswerTable) -> None:
    """Check that two runs were evaluated on the same photos with the same labels.

    Raises:
        InputError: naming what differs.
    """
    again = "Evaluate both with the same DATA, then compare."
    if reference.labels != other.labels:
        raise InputError(
            f"{reference.run} knows the labels {', '.join(reference.labels)}, but {other.run} "
            f"knows {', '.join(other.labels)}. Only runs with the same labels can be compared."
        )
    only_first = sorted(set(reference.images) - set(other.images))
    only_other = sorted(set(other.images) - set(reference.images))
    if only_first or only_other:
        parts = [
            f"{len(names)} only in {run} (such as {names[0]})"
            for names, run in ((only_first, reference.run), (only_other, other.run))
            if names
        ]
        raise InputError(
            f"{reference.run} and {other.run} were not evaluated on the same photos: "
            f"{' and '.join(parts)}. {again}"
        )
    wrong = np.argwhere(reference.truth != other.truth)
    if len(wrong):
        row, column = wrong[0]
        raise InputError(
            f"{reference.run} and {other.run} were evaluated with different labels of "
            f"{len(set(wrong[:, 0].tolist()))} photos, such as {reference.labels[column]} of "
            f"{reference.images[row]}. {again}"
        )
