"""A journal of answers beside the file that they are for: work that was stopped can go on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leafscout.errors import InputError
from leafscout.reports.diagnosis_records import Record

JOURNAL_VERSION = 1


@dataclass
class Journal:
    """Answers given so far, each on disk as soon as it is given.

    Made by ``open_journal``. The first line says what the answers depend on, every other line is
    a record. A line that a crash cut short is dropped when the journal is opened again.

    Attributes:
        path: the journal's file; it is there as long as the work is unfinished.
        records: source → record, in the order given.
    """

    path: Path
    records: dict[str, Record] = field(default_factory=dict)

    def append(self, record: Record) -> None:
        """Add a record, in memory and on disk; a later one of the same source takes its place.

        Raises:
            InputError: when the file cannot be written.
        """
        self.records[record["source"]] = record
        _append_line(self.path, record)

    def answered(self) -> set[str]:
        """Sources with an answer; those that failed may be tried again."""
        return {source for source, record in self.records.items() if "error" not in record}

    def close(self) -> None:
        """Remove the file: the work is finished and its result is safe elsewhere."""
        self.path.unlink(missing_ok=True)


def journal_path(target: Path) -> Path:
    """Where the journal of a file lies: beside it, named after it."""
    return target.with_name(f"{target.name}.part")


def open_journal(target: Path, depends_on: str, *, resume: bool) -> Journal:
    """Begin a journal, or go on with one.

    Args:
        target: the file that the answers are for.
        depends_on: what the answers depend on (a fingerprint of the model): answers of two models
            are never mixed.
        resume: go on with the journal that is there; without one, begin.

    Raises:
        InputError: when there is a journal and ``resume`` is not set, when it belongs to another
            model or is no journal, or when it cannot be written.
    """
    journal = Journal(journal_path(target))
    _remove_stillborn(journal.path)
    if not journal.path.exists():
        _append_line(journal.path, {"journal": JOURNAL_VERSION, "depends_on": depends_on})
        return journal
    if not resume:
        raise InputError(
            f"{journal.path} holds the answers of a run that was stopped. Go on with it: add "
            "--resume. Or delete that file to begin again."
        )
    head, *records = _read_lines(journal.path)
    if head.get("depends_on") != depends_on:
        raise InputError(
            f"{journal.path} holds the answers of another model. Finish it with that model, or "
            "delete that file to begin again."
        )
    journal.records.update((record["source"], record) for record in records)
    return journal


def _remove_stillborn(path: Path) -> None:
    """Remove a journal whose writer was killed before its first line was whole."""
    try:
        content = path.read_bytes() if path.is_file() else None
    except OSError:
        return  # opening it will say why
    begun = json.dumps({"journal": JOURNAL_VERSION, "depends_on": ""})[:-2].encode()
    if content is None or b"\n" in content:
        return
    if begun.startswith(content) or content.startswith(begun):
        path.unlink()


def _append_line(path: Path, values: Record) -> None:
    line = json.dumps(values, ensure_ascii=False, allow_nan=False)
    try:
        # Opened for each line: nothing stays in a buffer of this process when it is killed.
        with path.open("a", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.write(f"{line}\n")
    except OSError as error:
        raise InputError(
            f"Cannot write {path}: {error.strerror or error}. "
            "Choose a file in a folder that exists and may be written to."
        ) from error


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole lines; what was cut short is cut off on disk too, so that appending goes on."""
    try:
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            path.write_bytes(whole)
        lines = [json.loads(line) for line in whole.split(b"\n")[:-1]]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as a journal of answers ({error}). Delete it to begin again."
        ) from error
    good = lines and all(isinstance(line, dict) for line in lines) and "journal" in lines[0]
    if not good or not all("source" in line for line in lines[1:]):
        raise InputError(
            f"{path} is no journal of answers. Delete it to begin again, or name another file."
        )
    return lines
