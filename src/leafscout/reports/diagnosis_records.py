"""Diagnoses as JSON and CSV: one record a photo, with everything but the pixels."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from leafscout.errors import InputError
from leafscout.evaluation.json_values import json_safe
from leafscout.plain_text import defuse
from leafscout.types import Diagnosis

FORMAT_VERSION = 1
DIGITS = 6
HOT_PROB = 0.5
"""Evidence at or above it counts as lesion in the summary of a lesion map."""

Record = dict[str, Any]


def diagnosis_record(diagnosis: Diagnosis) -> Record:
    """A diagnosis as values that JSON can hold; boxes are xyxy in pixels of the upright photo.

    The lesion map is summarised: its size, and per label its peak and the share of the photo at
    or above 0.5.
    """
    height, width = diagnosis.photo_size_px_hw
    cost = diagnosis.cost
    record: Record = {
        "format": FORMAT_VERSION,
        "source": diagnosis.source,
        "photo_size_px": {"width": width, "height": height},
        "diagnosis": diagnosis.present,
        "healthy": diagnosis.healthy,
        "healthy_prob": diagnosis.healthy_prob,
        "unsure": diagnosis.unsure,
        "labels": [
            {"label": name, "prob": prob, "threshold": threshold, "present": prob >= threshold}
            for name, prob, threshold in zip(
                diagnosis.labels,
                diagnosis.label_probs.tolist(),
                diagnosis.thresholds.tolist(),
                strict=True,
            )
        ],
        "tiles": _describe_tiles(diagnosis),
        "lesion_boxes": [
            {"label": box.label, "box_px_xyxy": box.box_px_xyxy, "prob": box.prob}
            for box in diagnosis.lesion_boxes
        ],
        "lesion_map": _summarise_lesion_map(diagnosis),
        "cost": {
            "macs": cost.macs,
            "macs_all_tiles": cost.macs_all_tiles,
            "macs_frac": cost.macs / cost.macs_all_tiles if cost.macs_all_tiles else None,
            "tiles_read": cost.tiles_read,
            "tiles_total": cost.tiles_total,
            "area_read_frac": cost.area_read_frac,
            "seconds": cost.seconds,
        },
    }
    rounded: Record = json_safe(_round_floats(record))
    return rounded


def failure_record(source: str, error: str) -> Record:
    """The record of a photo that could not be diagnosed.

    Args:
        source: the photo.
        error: why, in a sentence.
    """
    return {"format": FORMAT_VERSION, "source": source, "error": error}


def _describe_tiles(diagnosis: Diagnosis) -> Record:
    boxes = diagnosis.tiles.boxes_px_xyxy
    return {
        "tile_px": diagnosis.tiles.tile_px,
        "rows": diagnosis.tiles.rows,
        "columns": diagnosis.tiles.columns,
        "highest_scout_prob": float(diagnosis.scout_probs.max()),
        "read": [
            {
                "index": index,
                "box_px_xyxy": boxes[index].tolist(),
                "scout_prob": float(diagnosis.scout_probs[index]),
                "probs": dict(
                    zip(diagnosis.labels, diagnosis.tile_probs[index].tolist(), strict=True)
                ),
            }
            for index in np.flatnonzero(diagnosis.read).tolist()
        ],
    }


def _summarise_lesion_map(diagnosis: Diagnosis) -> Record:
    _, rows, columns = diagnosis.lesion_map.shape
    height, width = diagnosis.photo_size_px_hw
    cell = diagnosis.lesion_map_px
    # The last cells are cut by the border: count each by the pixels that it covers.
    tall = np.minimum(cell, height - cell * np.arange(rows)).astype(np.float64)
    wide = np.minimum(cell, width - cell * np.arange(columns)).astype(np.float64)
    shares = (tall @ (diagnosis.lesion_map >= HOT_PROB) @ wide) / (height * width)
    peaks = diagnosis.lesion_map.max(axis=(1, 2))
    return {
        "cell_px": cell,
        "rows": rows,
        "columns": columns,
        "labels": [
            {"label": name, "peak_prob": float(peak), "lesion_area_frac": float(share)}
            for name, peak, share in zip(diagnosis.labels, peaks, shares, strict=True)
        ],
    }


def _round_floats(value: object) -> object:
    """Six digits: more are float32's noise and would only fill the file."""
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, Mapping):
        return {key: _round_floats(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_round_floats(entry) for entry in value]
    return value


def write_json(path: Path, record: Record | Sequence[Record]) -> None:
    """Write a record, or a list of them, as indented JSON.

    Raises:
        InputError: when the file cannot be written; an older file stays as it was.
    """
    with open_atomically(path) as file:
        json.dump(record, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def write_json_lines(path: Path, records: Iterable[Record]) -> None:
    """Write one record a line.

    Raises:
        InputError: when the file cannot be written; an older file stays as it was.
    """
    lines = [json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records]
    with open_atomically(path) as file:
        file.writelines(f"{line}\n" for line in lines)


def write_csv(path: Path, records: Iterable[Record]) -> None:
    """Write one row a photo: diagnosis, probability per label, tiles looked at, cost.

    Text that a spreadsheet would take for a formula gets a leading apostrophe. Photos that could
    not be diagnosed have their reason in the column ``error``.

    Args:
        path: the file.
        records: of ``diagnosis_record`` or ``failure_record``; labels may differ.

    Raises:
        InputError: when the file cannot be written; an older file stays as it was.
    """
    rows = [_flatten_record(record) for record in records]
    probs = dict.fromkeys(key for row in rows for key in row if key.startswith("prob "))
    header = ["source", "diagnosis", "healthy_prob", *probs, *_COST_COLUMNS, "unsure", "error"]
    text = io.StringIO()
    # The writer quotes what its line ending holds: this one covers both kinds of line break.
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([defuse(name) for name in header])
    for row in rows:
        writer.writerow([defuse(row.get(name)) for name in header])
    with open_atomically(path) as file:
        file.write(text.getvalue())


_COST_COLUMNS = (
    "lesion_boxes", "tiles_read", "tiles_total", "area_read_frac", "macs", "macs_all_tiles",
    "macs_frac", "seconds",
)  # fmt: skip


def _flatten_record(record: Record) -> Record:
    row: Record = {"source": record["source"], "error": record.get("error")}
    if "labels" not in record:
        return row
    row |= {
        "diagnosis": " ".join(record["diagnosis"]) or "healthy",
        "healthy_prob": record["healthy_prob"],
        "unsure": record["unsure"],
        "lesion_boxes": len(record["lesion_boxes"]),
        **record["cost"],
    }
    return row | {f"prob {entry['label']}": entry["prob"] for entry in record["labels"]}


@contextlib.contextmanager
def open_atomically(path: Path) -> Iterator[TextIO]:
    """Open a text file that takes its place only once it is whole.

    Raises:
        InputError: when the folder is missing, or the file cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # File names need not be valid text: what is not is written as an escape, not refused.
        with draft.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            yield file
        draft.replace(path)
    except OSError as error:
        raise InputError(
            f"Cannot write {path}: {error.strerror or error}. "
            "Choose a file in a folder that exists and may be written to."
        ) from error
    finally:
        # Gone already after a success; a folder that cannot be written holds none.
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
