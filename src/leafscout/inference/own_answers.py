"""What a run's model says of the run's own validation photos: gathered once, kept beside it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from leafscout.evaluation.validation_answers import (
    VALIDATION_ANSWERS,
    VERSION,
    ValidationAnswers,
    read_validation_answers,
)
from leafscout.inference.load import Model
from leafscout.inference.runtimes import EXPORTS, StoredModel
from leafscout.manifest import Manifest

_OTHER = {
    "version", "leafscout", "thresholds", "thresholds_fitted", "files", "promise", "export",
    "digest",
}  # fmt: skip
"""What a manifest holds that no probability depends on."""


def fingerprint_model(manifest: Manifest) -> str:
    """What a model's answers depend on, whatever runtime gives them; thresholds do not count."""
    files = manifest.files if manifest.export is None else manifest.export.source_files
    rest = manifest.model_dump(mode="json", exclude=_OTHER)
    text = json.dumps([sorted(files.items()), rest], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_own_answers(model: Model) -> ValidationAnswers | None:
    """What is kept beside a model; None where nothing is, or the model was changed since.

    Raises:
        InputError: when the file is damaged.
    """
    place = next((path for path in _places(model.run) if path.is_file()), None)
    if place is None:
        return None
    kept = read_validation_answers(place)
    if kept is None or kept.labels != model.labels:
        return None
    return kept if kept.model == fingerprint_model(model.manifest) else None


def copy_own_answers(source: StoredModel, folder: Path) -> None:
    """Let an exported model take along what its source says of the validation photos."""
    kept = read_validation_answers(source.folder / VALIDATION_ANSWERS)
    if kept is not None and kept.model == fingerprint_model(source.manifest):
        (folder / VALIDATION_ANSWERS).write_bytes(kept.to_json())


def _places(folder: Path) -> list[Path]:
    """Where the answers of a run folder, a model folder or an export in a run may lie."""
    folders = [folder, folder / "model"]
    if folder.resolve().parent.name == EXPORTS:
        folders.append(folder.resolve().parent.parent / "model")
    return [one / VALIDATION_ANSWERS for one in folders]


def begin_own_answers(model: Model, truth: list[list[int]]) -> ValidationAnswers:
    """No answers yet, with the truth of the validation photos.

    Args:
        model: the model.
        truth: (photos, labels) 0 or 1.
    """
    return ValidationAnswers(
        version=VERSION,
        model=fingerprint_model(model.manifest),
        labels=model.labels,
        truth=tuple(tuple(row) for row in truth),
        probs={},
    )


def keep_own_answers(run: Path, answers: ValidationAnswers) -> None:
    """Keep them in a run's model folder and beside the models exported from it."""
    from leafscout.training.checkpoint import write_atomically

    folders = [run / "model", *(path.parent for path in (run / EXPORTS).glob("*/manifest.json"))]
    for folder in folders:
        write_atomically(folder / VALIDATION_ANSWERS, answers.to_json())
