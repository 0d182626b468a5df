"""The labels of all photos as one table, whatever form they came in."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.plain_text import defuse, printable

DEFAULT_HEALTHY_NAMES = ("healthy", "background", "field", "none", "no_disease")
"""Names that mean "no disease", whatever their case."""

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Photos and what they show; healthy is the absence of every label.

    Attributes:
        paths: where the photos are.
        names: the photos as the source writes them, for example ``photos/0001.jpg``.
        labels: the diseases: in the order of one-hot columns, else sorted.
        truth: (photos, labels) bool, True where the photo shows the disease.
        groups: what must stay on one side of a split (plant, field, day), where given.
        splits: ``train``, ``val`` or ``test``, where given: for all photos or for none.
        rows: line of the label file, from 1, where there is one.
        exclusive: whether no photo of the whole source shows more than one disease.
        complete: whether a disease that is not named is known to be absent.
        healthy_names: names that were taken for "no disease".
        source: the label file or folder.
        form: how the source was understood, in words.
        ignored_columns: columns of the label file that were not used.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    labels: tuple[str, ...]
    truth: NDArray[np.bool_]
    groups: tuple[str | None, ...]
    splits: tuple[str | None, ...]
    rows: tuple[int | None, ...]
    exclusive: bool
    complete: bool
    healthy_names: tuple[str, ...]
    source: Path
    form: str
    ignored_columns: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def healthy(self) -> NDArray[np.bool_]:
        """(photos,) bool, True where no disease is named."""
        return np.asarray(~self.truth.any(axis=1))

    def subset(self, indices: Sequence[int] | NDArray[np.integer]) -> LabelTable:
        """The rows at these indices, in this order; all labels are kept."""
        chosen = [int(index) for index in indices]
        return replace(
            self,
            paths=tuple(self.paths[i] for i in chosen),
            names=tuple(self.names[i] for i in chosen),
            truth=self.truth[chosen].reshape(len(chosen), len(self.labels)),
            groups=tuple(self.groups[i] for i in chosen),
            splits=tuple(self.splits[i] for i in chosen),
            rows=tuple(self.rows[i] for i in chosen),
        )

    def with_splits(self, splits: Iterable[str]) -> LabelTable:
        """The same table with other splits.

        Args:
            splits: ``train``, ``val`` or ``test`` for every photo.

        Raises:
            InputError: when a split has another name or their number is not that of the photos.
        """
        given = tuple(str(split) for split in splits)
        if len(given) != len(self) or not set(given) <= set(SPLITS):
            raise InputError(
                f"Expected one of train, val or test for each of {len(self)} photos, but got "
                f"{len(given)} splits named {', '.join(sorted(set(given)))}."
            )
        return replace(self, splits=given)

    def describe(self) -> str:
        """Say how the source was understood, in a few sentences."""
        counts = dict(zip(self.labels, self.truth.sum(axis=0).tolist(), strict=True))
        counts["healthy"] = int(self.healthy.sum())
        several = int((self.truth.sum(axis=1) > 1).sum())
        groups = len({group for group in self.groups if group is not None})
        splits = Counter(split for split in self.splits if split is not None)
        sentences = [
            f"{self.source}: {self.form}, {len(self)} photos.",
            "Photos per label: " + ", ".join(f"{n} {c}" for n, c in counts.items()) + ".",
            "No photo shows more than one disease."
            if self.exclusive
            else f"{several} photos show more than one disease.",
            "A disease that is not named is taken to be absent."
            if self.complete
            else "Only the main disease is named: others may be present.",
            f"{groups} groups stay together." if groups else "No groups are given.",
            "Splits are given: " + ", ".join(f"{s} {splits[s]}" for s in SPLITS if splits[s]) + "."
            if splits
            else "No splits are given.",
        ]
        if self.ignored_columns:
            sentences.append(f"Columns not used: {', '.join(self.ignored_columns)}.")
        return printable(" ".join(sentences))


def write_multi_hot(
    table: LabelTable, out: Path, columns: Sequence[str] | None = None
) -> list[Path]:
    """Write ``train.csv``, ``val.csv`` and ``test.csv`` with a 0/1 column per label.

    The header is ``images``, the labels, the name of healthy, and ``group`` where groups are
    given. Photos are named relative to ``out``, so that ``read_labels(out)`` finds them and reads
    the same labels, groups and splits. A split without photos gets no file, and one left over
    from before is removed.

    Args:
        table: with a split for every photo.
        out: the folder to write to; made where needed.
        columns: all labels and the name of healthy, in the order wanted; None is the order of the
            labels, then healthy.

    Returns:
        The files written.

    Raises:
        InputError: when a photo has no split, or the columns are not the labels.
    """
    if None in table.splits:
        raise InputError(
            f"{table.splits.count(None)} photos of {table.source} have no split. "
            "Split them before writing."
        )
    out.mkdir(parents=True, exist_ok=True)
    with_groups = any(group is not None for group in table.groups)
    named = [*table.labels, table.healthy_names[0]]
    order = [named.index(name) for name in _check_columns(columns, named)]
    header = ["images", *(named[index] for index in order), *(["group"] if with_groups else [])]
    healthy = table.healthy
    written = []
    for split in SPLITS:
        path = out / f"{split}.csv"
        chosen = [index for index, given in enumerate(table.splits) if given == split]
        if not chosen:
            path.unlink(missing_ok=True)
            continue
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([defuse(name) for name in header])
        for index in chosen:
            bits = [*table.truth[index].astype(int), int(healthy[index])]
            values = [bits[place] for place in order]
            group = [table.groups[index] or ""] if with_groups else []
            name = _relative_to(table.paths[index], out)
            writer.writerow([defuse(name), *values, *map(defuse, group)])
        _write_atomically(path, text.getvalue())
        written.append(path)
    return written


def _check_columns(columns: Sequence[str] | None, named: list[str]) -> list[str]:
    wanted = named if columns is None else list(columns)
    if sorted(wanted) != sorted(named):
        raise InputError(
            f"Expected columns for {', '.join(named)}, each once, but got {', '.join(wanted)}."
        )
    return wanted


def _relative_to(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return path.resolve().as_posix()


def _write_atomically(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
