"""Labels in: a folder per class or a CSV file becomes one table, or a list of what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from leafscout.errors import InputError
from leafscout.photos.findings import Finding, error, warning
from leafscout.photos.label_csv import names_photos_alone, read_csv_rows
from leafscout.photos.label_folders import read_folder_rows
from leafscout.photos.label_names import find_odd_names
from leafscout.photos.label_rows import LabelRow, LabelRows, LabelWords
from leafscout.photos.label_table import (
    DEFAULT_HEALTHY_NAMES,
    SPLITS,
    LabelTable,
    write_multi_hot,
)

__all__ = [
    "DEFAULT_HEALTHY_NAMES",
    "LabelTable",
    "parse_labels",
    "read_labels",
    "write_multi_hot",
]

_SHOWN_PROBLEMS = 5


def read_labels(
    data: str | Path,
    *,
    healthy_names: Sequence[str] = DEFAULT_HEALTHY_NAMES,
    complete: bool = True,
    photos_root: Path | None = None,
) -> LabelTable:
    """Read the labels of photos.

    Understood are

    - a folder per class, directly or inside ``train``, ``val`` and ``test`` folders;
    - a CSV file with a column of photos (``image``, ``images``, ``file``, ``filename``, ``path``)
      and a column ``label`` or ``labels``; several labels stand in one cell, separated by spaces,
      commas, semicolons or bars, so a label's own name must not contain a space;
    - a CSV file with a column of photos and a 0/1 column per label;
    - a folder that holds ``labels.csv``, just one CSV file, or ``train.csv``, ``val.csv`` and
      ``test.csv``; one that names photos and no labels is left out. So the folders of the Plant
      Pathology competitions of 2020 and 2021 are understood as they are.

    CSV files may have the columns ``group`` and ``split``. Their photos are looked for in
    ``photos_root``, beside the file, and in ``images``, ``photos`` or ``train_images`` beside it.

    Args:
        data: the folder or CSV file.
        healthy_names: names that mean "no disease", whatever their case.
        complete: whether a disease that is not named is known to be absent.
        photos_root: the folder that photo names are relative to.

    Raises:
        InputError: with the first problems, by file and row.
    """
    table, findings = parse_labels(
        data, healthy_names=healthy_names, complete=complete, photos_root=photos_root
    )
    problems = [finding.message for finding in findings if finding.severity == "error"]
    if table is not None and not problems:
        return table
    more = len(problems) - _SHOWN_PROBLEMS
    lines = problems[:_SHOWN_PROBLEMS]
    if more > 0:
        lines.append(f"And {more} more problems: `leafscout check {data}` lists them all.")
    raise InputError("\n".join(lines))


def parse_labels(
    data: str | Path,
    *,
    healthy_names: Sequence[str] = DEFAULT_HEALTHY_NAMES,
    complete: bool = True,
    photos_root: Path | None = None,
) -> tuple[LabelTable | None, list[Finding]]:
    """Read the labels of photos and gather every problem instead of raising the first.

    Args:
        data: the folder or CSV file.
        healthy_names: names that mean "no disease", whatever their case.
        complete: whether a disease that is not named is known to be absent.
        photos_root: the folder that photo names are relative to.

    Returns:
        The table of the rows without a problem (None when there are none) and all findings.

    Raises:
        InputError: when there is no healthy name.
    """
    data = Path(data)
    if not healthy_names:
        raise InputError("Expected at least one name that means healthy, but got none.")
    words = LabelWords(tuple(healthy_names))
    findings: list[Finding] = []
    read = _read_rows(data, words, photos_root, findings)
    if read is None or not read.rows:
        if not findings:
            findings.append(error("bad_labels", f"{data} names no photos.", data))
        return None, findings
    read = _drop_repeated(read, data, findings)
    _check_splits(read, data, findings)
    table = _build_table(read, data, tuple(healthy_names), complete)
    _check_labels(table, findings)
    return table, findings


def _read_rows(
    data: Path, words: LabelWords, photos_root: Path | None, findings: list[Finding]
) -> LabelRows | None:
    if data.is_file():
        return read_csv_rows(data, words, photos_root, findings)
    if not data.is_dir():
        findings.append(
            error("missing", f"There is no file or folder {data}. Check the path.", data)
        )
        return None
    if (data / "labels.csv").is_file():
        return read_csv_rows(data / "labels.csv", words, photos_root, findings)
    if (data / "train.csv").is_file():
        return _read_split_files(data, words, photos_root, findings)
    tables = sorted(path for path in data.glob("*.csv") if not path.name.startswith("."))
    if len(tables) == 1:
        return read_csv_rows(tables[0], words, photos_root, findings)
    return read_folder_rows(data, words, findings)


def _read_split_files(
    data: Path, words: LabelWords, photos_root: Path | None, findings: list[Finding]
) -> LabelRows | None:
    """``train.csv`` and those of the other splits that have labels."""
    files = {}
    for split in SPLITS:
        path = data / f"{split}.csv"
        if not path.is_file():
            continue
        if split != "train" and names_photos_alone(path):
            findings.append(
                warning(
                    "unlabelled",
                    f"{path} names photos and no labels: it is not used.",
                    path,
                )
            )
            continue
        files[split] = path
    parts = [
        read_csv_rows(path, words, photos_root, findings, split=split)
        for split, path in files.items()
    ]
    return LabelRows.join([part for part in parts if part is not None])


def _drop_repeated(read: LabelRows, data: Path, findings: list[Finding]) -> LabelRows:
    """Keep the first row of every photo."""
    first: dict[Path, int] = {}
    kept: list[LabelRow] = []
    for row in read.rows:
        key = row.path.resolve()
        if key not in first:
            first[key] = len(kept)
            kept.append(row)
            continue
        before = kept[first[key]]
        where = f"{row.file.name}, row {row.row}" if row.row else str(data)
        if row.labels != before.labels:
            findings.append(
                error(
                    "conflicting_labels",
                    f"{where}: {row.name} is labelled {_say(row.labels)}, but row {before.row} "
                    f"says {_say(before.labels)}. Keep one of the rows, with all its labels.",
                    row.path,
                    row.row,
                )
            )
        elif row.split != before.split:
            findings.append(
                error(
                    "leak",
                    f"{where}: {row.name} is in {row.split} and, by row {before.row}, also in "
                    f"{before.split}. Keep it in one split.",
                    row.path,
                    row.row,
                )
            )
        else:
            findings.append(
                warning(
                    "duplicate",
                    f"{where}: {row.name} was named in row {before.row} already; the first counts.",
                    row.path,
                    row.row,
                )
            )
    return LabelRows(tuple(kept), read.label_order, read.form, read.ignored_columns)


def _say(labels: frozenset[str]) -> str:
    return " ".join(sorted(labels)) or "healthy"


def _check_splits(read: LabelRows, data: Path, findings: list[Finding]) -> None:
    without = [row for row in read.rows if row.split is None]
    if without and len(without) < len(read.rows):
        findings.append(
            error(
                "bad_labels",
                f"{data}: {len(without)} of {len(read.rows)} photos have no split, the first is "
                f"{without[0].name}. Give a split to all of them or to none.",
                without[0].path,
                without[0].row,
            )
        )


def _build_table(
    read: LabelRows, data: Path, healthy_names: tuple[str, ...], complete: bool
) -> LabelTable:
    named = {label for row in read.rows for label in row.labels}
    labels = read.label_order or tuple(sorted(named))
    truth = np.array(
        [[label in row.labels for label in labels] for row in read.rows], dtype=np.bool_
    ).reshape(len(read.rows), len(labels))
    return LabelTable(
        paths=tuple(row.path for row in read.rows),
        names=tuple(row.name for row in read.rows),
        labels=labels,
        truth=truth,
        groups=tuple(row.group for row in read.rows),
        splits=tuple(row.split for row in read.rows),
        rows=tuple(row.row for row in read.rows),
        exclusive=bool((truth.sum(axis=1) <= 1).all()),
        complete=complete,
        healthy_names=healthy_names,
        source=data,
        form=read.form,
        ignored_columns=read.ignored_columns,
    )


def _check_labels(table: LabelTable, findings: list[Finding]) -> None:
    if not table.labels:
        findings.append(
            error(
                "one_class",
                f"{table.source} names no disease: every photo is healthy. Label at least one "
                "disease.",
                table.source,
            )
        )
    elif len(table) > 1 and (table.truth == table.truth[0]).all():
        names = " ".join(np.array(table.labels)[table.truth[0]]) or "healthy"
        findings.append(
            error(
                "one_class",
                f"{table.source}: all {len(table)} photos have the same label, {names}, so there "
                "is nothing to tell apart. Add healthy photos or those of another disease.",
                table.source,
            )
        )
    findings += find_odd_names(table)
