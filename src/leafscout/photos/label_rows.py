"""What one photo's entry in a label source says, and the words that such sources use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
_BETWEEN_LABELS = re.compile(r"[\s,;|]+")


@dataclass(frozen=True)
class LabelRow:
    """One photo's entry.

    Attributes:
        path: where the photo is.
        name: the photo as the source writes it.
        labels: the diseases named; empty means healthy.
        file: the label file, or the class folder.
        row: line of the label file, from 1.
        group: what must stay on one side of a split.
        split: ``train``, ``val`` or ``test``.
    """

    path: Path
    name: str
    labels: frozenset[str]
    file: Path
    row: int | None = None
    group: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class LabelRows:
    """All entries of a source.

    Attributes:
        rows: those without a problem.
        label_order: the order that the source gives its labels, if it does.
        form: how the source was understood, in words.
        ignored_columns: columns that were not used.
    """

    rows: tuple[LabelRow, ...]
    label_order: tuple[str, ...] | None
    form: str
    ignored_columns: tuple[str, ...] = ()

    @staticmethod
    def join(parts: Sequence[LabelRows]) -> LabelRows | None:
        """All parts as one; labels that only later parts know come last."""
        if not parts:
            return None
        orders = [part.label_order for part in parts if part.label_order is not None]
        order = tuple(dict.fromkeys(label for part in orders for label in part))
        return LabelRows(
            rows=tuple(row for part in parts for row in part.rows),
            label_order=order if len(orders) == len(parts) else None,
            form=f"{len(parts)} files, {parts[0].form}",
            ignored_columns=tuple(
                dict.fromkeys(name for part in parts for name in part.ignored_columns)
            ),
        )


class LabelWords:
    """The words of label sources: names of healthy, lists of labels, names of splits."""

    def __init__(self, healthy_names: Sequence[str]) -> None:
        self._healthy = {_plain(name) for name in healthy_names}

    def means_healthy(self, name: str) -> bool:
        """Whether a name means "no disease", whatever its case, spaces or hyphens."""
        return _plain(name) in self._healthy

    def read_cell(self, cell: str) -> list[str]:
        """The names in a cell, healthy ones included, without repetition; empty for none."""
        text = cell.strip()
        if self.means_healthy(text):
            return [text]
        return list(dict.fromkeys(name for name in _BETWEEN_LABELS.split(text) if name))

    @staticmethod
    def read_split(word: str) -> str | None:
        """``train``, ``val`` or ``test``; None for a word that means none of them."""
        return _SPLIT_WORDS.get(word.strip().lower())


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().lower())
