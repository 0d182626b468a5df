"""How sure each stage is of the tiles: counts of tile probabilities, for the run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.diagnosis.calibrate import sigmoid
from leafscout.training.checkpoint import write_atomically
from leafscout.types import FloatArray

BINS = 20
FILE_NAME = "tile_histograms.json"


def count_tile_probs(
    tile_logits: Sequence[FloatArray], truth: NDArray[np.bool_], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Count tiles by their probability, apart for photos with the label and without it.

    Sparse evidence shows as two heaps: nearly all tiles at the left, lesions at the right, and on
    photos without the label nothing at the right.

    Args:
        tile_logits: per photo, (tiles, labels) evidence.
        truth: (photos, labels).
        labels: their names.

    Returns:
        Per label: its name and the counts ``present`` and ``absent``, each of ``BINS`` equal
        parts of 0..1.
    """
    edges = np.linspace(0.0, 1.0, BINS + 1)
    rows = []
    for column, label in enumerate(labels):
        counts = {name: np.zeros(BINS, dtype=np.int64) for name in ("present", "absent")}
        for logits, row in zip(tile_logits, truth, strict=True):
            probs = sigmoid(logits[:, column])
            counts["present" if row[column] else "absent"] += np.histogram(probs, edges)[0]
        rows.append({"label": label, **{name: part.tolist() for name, part in counts.items()}})
    return rows


def write_tile_histograms(run: Path, stages: Mapping[str, list[dict[str, Any]]]) -> Path:
    """Write ``tile_histograms.json``: the edges of the bins, and per stage what was counted.

    Args:
        run: the run folder.
        stages: stage → what ``count_tile_probs`` gave.

    Returns:
        The file written.
    """
    content = {
        "edges": [round(float(edge), 4) for edge in np.linspace(0.0, 1.0, BINS + 1)],
        "stages": [{"stage": stage, "labels": rows} for stage, rows in stages.items()],
    }
    path = run / FILE_NAME
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())
    return path
