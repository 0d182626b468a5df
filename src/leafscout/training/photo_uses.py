"""What a run has used photos for: training, validation, its test, or a promise."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from leafscout.photos.fingerprint import Fingerprint
from leafscout.plain_text import undo_defuse

SPLITS = "splits.csv"
"""Every photo of a run with its split, in a run folder."""

PROMISE_PHOTOS = "promise_photos.csv"
"""Photos that a promise was calibrated on, beside ``splits.csv`` in a run folder."""

COPY_BITS = 2
"""Perceptual hashes that differ in at most so many of 64 bits are taken for copies of one photo.

Among 321 coffee leaves on one kind of background no two different ones are as near as that.
"""


def read_splits(run: Path) -> list[tuple[str, str]]:
    """Name and split of every photo of a run, in the order of the run.

    Args:
        run: the run folder; its ``splits.csv`` is there.

    Raises:
        OSError: when the file cannot be read.
    """
    with (run / SPLITS).open(encoding="utf-8", newline="") as file:
        return [
            (undo_defuse(row.get("image") or ""), row.get("split") or "")
            for row in csv.DictReader(file)
        ]


def find_uses(
    run: Path, fingerprints: Sequence[Fingerprint], *, copies: bool = False
) -> list[str | None]:
    """What a run has used photos for.

    Args:
        run: the run folder.
        fingerprints: of the photos.
        copies: also recognise resized, recompressed or turned copies of its photos.

    Returns:
        For each photo ``train``, ``val``, ``test`` or ``promise``; None for new ones.
    """
    uses: dict[str, str] = {}
    pictures: list[tuple[int, str]] = []
    for name, fixed in ((SPLITS, None), (PROMISE_PHOTOS, "promise")):
        if (run / name).is_file():
            with (run / name).open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    uses[row["sha256"]] = fixed or row["split"]
                    if fixed is None:
                        pictures.append((int(row["perceptual_hash"], 16), row["split"]))

    def use_of_copy(phash: int) -> str | None:
        near = (use for known, use in pictures if (known ^ phash).bit_count() <= COPY_BITS)
        return next(near, None) if copies else None

    return [uses.get(one.sha256) or use_of_copy(int(one.phash_hex, 16)) for one in fingerprints]
