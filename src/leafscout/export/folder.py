"""The folder of an exported model: written beside its place, and moved there when it is whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from leafscout.errors import InputError
from leafscout.evaluation.validation_answers import VALIDATION_ANSWERS
from leafscout.export.parity import Parity
from leafscout.manifest import (
    MANIFEST_NAME,
    ExportEntry,
    Manifest,
    ParityEntry,
    seal_manifest,
    sha256_of,
)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of ``out`` if nothing goes wrong.

    Args:
        out: where the model goes: a new or empty folder, or one that holds an earlier export.

    Yields:
        A temporary folder beside it; removed when something goes wrong.

    Raises:
        InputError: when ``out`` holds something else or cannot be written.
    """
    if out.exists() and not (out.is_dir() and (holds_export(out) or not any(out.iterdir()))):
        raise InputError(
            f"{out} exists and is not an earlier export. Choose another folder with --out."
        )
    place = out.absolute()
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    made = [folder for folder in part.parents if not folder.exists()]
    try:
        with _explained(out):
            part.mkdir(parents=True)
        yield part
        with _explained(out):
            _take_place(part, place)
        made = []
    finally:
        shutil.rmtree(part, ignore_errors=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"The folder {out} cannot be written ({error.strerror or error}). "
            "Choose another one with --out."
        ) from error


def _take_place(part: Path, out: Path) -> None:
    old = part.with_suffix(".old")
    if out.exists():
        out.rename(old)
    try:
        part.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def holds_export(folder: Path) -> bool:
    """Whether a folder holds an exported model and nothing else."""
    try:
        values = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        known = {MANIFEST_NAME, VALIDATION_ANSWERS, *values["files"]}
        return values["export"] is not None and {one.name for one in folder.iterdir()} <= known
    except (OSError, ValueError, KeyError, TypeError):
        return False


def describe_parity(parity: Parity) -> ParityEntry:
    """The comparison as the manifest holds it."""
    return ParityEntry(
        photos=len(parity.photos),
        max_prob_change=parity.max_prob_change,
        max_scout_change=parity.max_scout_change,
        decisions_changed=len(parity.decisions_changed),
        choices_changed=len(parity.choices_changed),
        borderline=parity.borderline,
        logit_cosine=parity.logit_cosine,
    )


def write_manifest(folder: Path, source: Manifest, export: ExportEntry) -> Manifest:
    """Write the manifest beside the graphs, with their hashes.

    Args:
        folder: holds the graphs and nothing else.
        source: of the model that was exported.
        export: what was made of it.

    Returns:
        The manifest. A promise is kept only where the numbers are those it was made with.
    """
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
    promise = source.promise if export.precision == "fp32" else None
    manifest = source.model_copy(update={"files": files, "export": export, "promise": promise})
    (folder / MANIFEST_NAME).write_bytes(seal_manifest(manifest))
    return manifest
