"""Names of labels and photos that will make trouble: hidden signs, look-alikes, formulas."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from leafscout.photos.findings import Finding, error, warning
from leafscout.photos.label_table import LabelTable
from leafscout.plain_text import defuse, hidden_signs, looks_like

LONGEST_LABEL = 200
"""Characters of a label's name."""


def find_odd_names(table: LabelTable) -> Iterator[Finding]:
    """Names that training refuses, or that people and other programs will stumble over.

    Args:
        table: the photos.

    Yields:
        Errors for labels with signs that cannot be seen, or of more than 200 characters; warnings
        for labels that look alike, and for names that a spreadsheet would take for a formula.
        Each with the first row that has the name.
    """
    for label in table.labels:
        row = find_label_row(table, label)
        if hidden_signs(label):
            yield error(
                "odd_name",
                f"The label {label} holds signs that cannot be seen. Write it without them.",
                table.source,
                row,
            )
        elif len(label) > LONGEST_LABEL:
            yield error(
                "odd_name",
                f"The label {label[:40]}… has {len(label)} characters: expected at most "
                f"{LONGEST_LABEL}. Give it a shorter name.",
                table.source,
                row,
            )
        elif defuse(label) != label:
            yield warning(
                "odd_name",
                f"The label {label} starts like a formula of a spreadsheet: tables show it with "
                "an apostrophe. Correct it if it is a slip.",
                table.source,
                row,
            )
    for alike in _group_alike(table.labels):
        yield warning(
            "similar_labels",
            f"{table.source}: the labels {' and '.join(alike)} differ only in case or in signs "
            "that look alike, and count as different diseases. Spell them alike if they are one.",
            table.source,
            max((find_label_row(table, label) or 0 for label in alike), default=0) or None,
        )
    yield from _find_odd_photos(table)


def _find_odd_photos(table: LabelTable) -> Iterator[Finding]:
    rows = dict(zip(table.names, table.rows, strict=True))
    for name, path, row in zip(table.names, table.paths, table.rows, strict=True):
        if hidden_signs(name):
            yield warning(
                "odd_name",
                f"The photo {name} has signs in its name that cannot be seen. Rename it.",
                path,
                row,
            )
        elif defuse(name) != name:
            yield warning(
                "odd_name",
                f"The photo {name} starts like a formula of a spreadsheet: tables show it with an "
                "apostrophe. Rename it if that disturbs.",
                path,
                row,
            )
    for alike in _group_alike(table.names):
        yield warning(
            "similar_names",
            f"The photos {' and '.join(alike)} differ only in case or in signs that look alike: "
            "other systems may take them for one file. Rename one of them.",
            table.source,
            max((rows[name] or 0 for name in alike), default=0) or None,
        )


def _group_alike(names: Iterable[str]) -> Iterator[Sequence[str]]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[looks_like(name)].append(name)
    for _, alike in sorted(groups.items()):
        if len(alike) > 1:
            yield alike


def find_label_row(table: LabelTable, label: str) -> int | None:
    """The row that names a label first: the header of 0/1 columns, else a photo's."""
    if "column per label" in table.form:
        return 1
    shows = table.truth[:, table.labels.index(label)]
    return next((row for row, shown in zip(table.rows, shows, strict=True) if shown), None)
