"""What went wrong in a training, and what was not learnt, in the words of its journals."""

from __future__ import annotations

import json
from pathlib import Path

from leafscout.errors import InputError

NOTES = ("journal.jsonl", "verdicts.jsonl")
"""Files beside the checkpoints of a stage, one JSON object a line."""


def read_training_notes(run: Path) -> list[str]:
    """The sentences of all journals of a run, stage by stage.

    Args:
        run: the run folder.

    Raises:
        InputError: when a journal cannot be understood.
    """
    found = {path for name in NOTES for path in (run / "checkpoints").rglob(name)}
    return [words for path in sorted(found) for words in _read_words(path)]


def _read_words(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [str(json.loads(line)["words"]) for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"Expected {path} as leafscout writes it, but it cannot be read: "
            f"{type(error).__name__} {error}. Remove the file, or train again."
        ) from error
