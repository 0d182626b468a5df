"""The answer for one photo: decided, with its lesions marked and its cost counted."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.diagnosis.calibrate import sigmoid
from leafscout.diagnosis.decide import healthy_probability, reason_to_doubt
from leafscout.errors import InputError
from leafscout.explanation.lesion_map import build_lesion_map, find_lesion_boxes, lesion_cell_px
from leafscout.explanation.overlay import draw_overlay
from leafscout.model import Core
from leafscout.reports.diagnosis_page import write_diagnosis_page
from leafscout.reports.diagnosis_records import diagnosis_record, write_json
from leafscout.types import Cost, Diagnosis, Evidence, FloatArray, Photo, Pixels, Tiles

LESION_PROB = 0.5
"""Places at or above this probability are marked as lesions."""


@dataclass(frozen=True, eq=False)
class PhotoDiagnosis:
    """A diagnosis with its photo, so that it can be drawn and saved.

    Attributes:
        diagnosis: the answer.
        photo: the upright photo.
    """

    diagnosis: Diagnosis
    photo: Photo

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels found; empty means healthy."""
        return self.diagnosis.present

    @property
    def probs(self) -> dict[str, float]:
        """Label → calibrated probability, 0..1."""
        return {
            label: float(prob)
            for label, prob in zip(self.diagnosis.labels, self.diagnosis.label_probs, strict=True)
        }

    def draw(self) -> Pixels:
        """A picture of the photo with lesions, tiles looked at and probabilities."""
        return draw_overlay(self.photo, self.diagnosis)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values."""
        return diagnosis_record(self.diagnosis)

    def save(self, path: str | Path) -> Path:
        """Save as a page (``.html``), a picture (``.jpg``, ``.png``) or values (``.json``).

        Raises:
            InputError: when the ending is another one or the file cannot be written.
        """
        target = Path(path)
        suffix = target.suffix.lower()
        if suffix == ".html":
            return write_diagnosis_page(target, [(self.diagnosis, self.draw())])
        if suffix == ".json":
            write_json(target, self.to_dict())
            return target
        if suffix in {".jpg", ".jpeg", ".png"}:
            return write_picture(target, self.draw())
        raise InputError(
            f"Expected a file ending in .html, .json, .jpg or .png, but got {target.name!r}."
        )

    def __repr__(self) -> str:
        found = ", ".join(self.labels) or "healthy"
        cost = self.diagnosis.cost
        return (
            f"<{self.diagnosis.source}: {found}; "
            f"{cost.tiles_read} of {cost.tiles_total} tiles looked at>"
        )


@dataclass(frozen=True)
class Failure:
    """A photo of a folder that could not be diagnosed.

    Attributes:
        source: the photo.
        error: why, in a sentence.
    """

    source: str
    error: str


def build_diagnosis(
    core: Core, photo: Photo, evidence: Evidence, tiles: Tiles, started_s: float
) -> Diagnosis:
    """Decide, mark the lesions and count the cost.

    Args:
        core: the model.
        photo: the photo.
        evidence: what ``core.forward`` gave.
        tiles: the photo's grid.
        started_s: ``time.perf_counter()`` when the work on this photo began.
    """
    rules, read = core.rules, evidence.read
    probs = core.label_probs(evidence)
    thresholds = np.asarray(rules.thresholds, dtype=np.float32)
    present = tuple(
        label for label, found in zip(rules.labels, probs >= thresholds, strict=True) if found
    )
    cell_px = lesion_cell_px(tiles.tile_px, evidence.place_logits.shape[3])
    if not read.any():
        cell_px = tiles.tile_px // 4
    lesion_map = build_lesion_map(
        tiles,
        read,
        evidence.place_logits,
        cell_px=cell_px,
        place_offset_px=rules.place_offset_px,
    )
    lesion_boxes = find_lesion_boxes(
        lesion_map, cell_px, photo.size_px_hw, rules.labels, present, min_prob=LESION_PROB
    )
    exclusive = rules.calibration.exclusive
    tiles_read = int(read.sum())
    cost = Cost(
        macs=core.count_macs(photo.size_px_hw, tiles_read),
        macs_all_tiles=core.count_macs_all_tiles(photo.size_px_hw),
        tiles_read=tiles_read,
        tiles_total=len(tiles),
        area_read_frac=area_read(tiles, read),
        seconds=time.perf_counter() - started_s,
    )
    return Diagnosis(
        source=photo.source,
        photo_size_px_hw=photo.size_px_hw,
        labels=rules.labels,
        label_probs=probs,
        thresholds=thresholds,
        healthy_prob=healthy_probability(probs, exclusive=exclusive),
        unsure=reason_to_doubt(
            rules.labels, probs, thresholds, exclusive=exclusive, strangeness=evidence.strangeness
        ),
        tiles=tiles,
        read=read,
        scout_probs=sigmoid(evidence.scout_logits).astype(np.float32),
        tile_probs=sigmoid(evidence.tile_logits).astype(np.float32),
        lesion_map=lesion_map,
        lesion_map_px=cell_px,
        lesion_boxes=lesion_boxes,
        cost=cost,
        strangeness=evidence.strangeness,
    )


def decide_again(core: Core, first: Diagnosis, probs: FloatArray, cost: Cost) -> Diagnosis:
    """The same diagnosis with other probabilities, decided and marked anew.

    Args:
        core: the model.
        first: what was seen at one look.
        probs: (labels,) of all looks together.
        cost: of all looks together.
    """
    exclusive = core.rules.calibration.exclusive
    changed = replace(
        first,
        label_probs=probs,
        healthy_prob=healthy_probability(probs, exclusive=exclusive),
        unsure=reason_to_doubt(
            first.labels,
            probs,
            first.thresholds,
            exclusive=exclusive,
            strangeness=first.strangeness,
        ),
        cost=cost,
    )
    lesion_boxes = find_lesion_boxes(
        first.lesion_map,
        first.lesion_map_px,
        first.photo_size_px_hw,
        first.labels,
        changed.present,
        min_prob=LESION_PROB,
    )
    return replace(changed, lesion_boxes=lesion_boxes)


def area_read(tiles: Tiles, read: NDArray[np.bool_]) -> float:
    """Share of a photo's pixels inside the tiles read, overlaps counted once, 0..1."""
    boxes = tiles.boxes_px_xyxy[read]
    # Between neighbouring edges all pixels share one fate: count patches, not pixels.
    xs, ys = np.unique(boxes[:, 0::2]), np.unique(boxes[:, 1::2])
    seen = np.zeros((max(len(ys) - 1, 0), max(len(xs) - 1, 0)), dtype=np.bool_)
    for left, top, right, bottom in boxes:
        rows = slice(*np.searchsorted(ys, (top, bottom)))
        seen[rows, slice(*np.searchsorted(xs, (left, right)))] = True
    height, width = tiles.photo_size_px_hw
    return float(np.diff(ys) @ seen @ np.diff(xs)) / (height * width)


def write_picture(path: Path, pixels: Pixels) -> Path:
    """Write pixels as JPEG or PNG, without any metadata.

    Raises:
        InputError: when the file cannot be written.
    """
    from PIL import Image

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}). Choose another place for it."
        ) from error
    return path
