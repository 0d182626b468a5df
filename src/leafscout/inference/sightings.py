"""Everything a model sees in labelled photos when it reads every tile, kept for questioning it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leafscout.explanation.lesion_map import find_lesion_boxes, label_components
from leafscout.inference.answer import LESION_PROB, build_diagnosis
from leafscout.inference.lesion_truth import LesionTruth
from leafscout.inference.load import Model
from leafscout.model import GlanceAndFocus, choose_read
from leafscout.photos.decode import decode_photo
from leafscout.types import Evidence, FloatArray, Photo, Pixels, Tiles

MAX_REGIONS = 8
MIN_REGION_PX = 4

Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Sighting:
    """One photo, seen whole.

    Attributes:
        path: where it is.
        name: as the labels name it.
        truth: (labels,) which diseases it has.
        size_px_hw: of the upright photo.
        evidence: of all tiles.
        tiles: its grid.
        chosen: (tiles,) True where the deployed path would read.
        probs: (labels,) probabilities of the deployed path.
        probs_all: (labels,) probabilities when every tile is read.
        regions: places of lesions with their label, strongest first: marked by hand where they
            are given, else the expert's evidence for the labels that the photo truly has.
        marked: whether the regions were given.
        colours: (tiles, 7) mean and spread of red, green and blue, and roughness, 0..1.
    """

    path: Path
    name: str
    truth: NDArray[np.bool_]
    size_px_hw: tuple[int, int]
    evidence: Evidence
    tiles: Tiles
    chosen: NDArray[np.bool_]
    probs: FloatArray
    probs_all: FloatArray
    regions: tuple[tuple[str, Box], ...]
    marked: bool
    colours: NDArray[np.float64]

    @property
    def healthy(self) -> bool:
        """True when the photo has no disease."""
        return not self.truth.any()

    @property
    def tile_evidence(self) -> FloatArray:
        """(tiles,) the loudest evidence of any label; logits."""
        loudest: FloatArray = self.evidence.tile_logits.max(axis=1)
        return loudest


def see_photo(
    model: Model, path: Path, name: str, truth: NDArray[np.bool_], lesions: LesionTruth | None
) -> Sighting:
    """Look at one photo with every tile read.

    Args:
        model: the model.
        path: of the photo.
        name: as the labels name it.
        truth: (labels,) which diseases it has.
        lesions: boxes or masks of lesions, where there are any.

    Raises:
        PhotoError: when the photo cannot be used.
    """
    core, photo = model.core, decode_photo(path)
    evidence, tiles = core.forward(photo, read_all=True)
    chosen = choose(core, evidence)
    marked = None if lesions is None else lesions.lesions(name, photo.size_px_hw)
    regions = (
        find_regions(model, photo, evidence, tiles, truth)
        if marked is None
        else _marked_regions(marked, _names(model, truth))
    )
    return Sighting(
        path=path,
        name=name,
        truth=truth,
        size_px_hw=photo.size_px_hw,
        evidence=evidence,
        tiles=tiles,
        chosen=chosen,
        probs=probs_when_read(core, evidence, chosen),
        probs_all=core.label_probs(evidence),
        regions=regions,
        marked=marked is not None,
        colours=describe_tiles(photo.pixels, tiles),
    )


def choose(core: GlanceAndFocus, evidence: Evidence) -> NDArray[np.bool_]:
    """(tiles,) which tiles the deployed path reads."""
    return choose_read(evidence, core.rules.choice)


def probs_when_read(
    core: GlanceAndFocus, evidence: Evidence, read: NDArray[np.bool_]
) -> FloatArray:
    """(labels,) probabilities as if only some of the tiles read had been read."""
    return core.label_probs(replace(evidence, read=read, focus_logits=core.pool(evidence, read)))


def _names(model: Model, truth: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(name for name, has_it in zip(model.labels, truth, strict=True) if has_it)


def find_regions(
    model: Model, photo: Photo, evidence: Evidence, tiles: Tiles, truth: NDArray[np.bool_]
) -> tuple[tuple[str, Box], ...]:
    """Where the expert finds the labels that a photo truly has, strongest first.

    Args:
        model: the model.
        photo: the photo.
        evidence: of all its tiles.
        tiles: its grid.
        truth: (labels,) which diseases it has.
    """
    shown = build_diagnosis(model.core, photo, evidence, tiles, time.perf_counter())
    boxes = find_lesion_boxes(
        shown.lesion_map,
        shown.lesion_map_px,
        photo.size_px_hw,
        model.labels,
        _names(model, truth),
        min_prob=LESION_PROB,
        max_boxes=MAX_REGIONS,
    )
    return tuple((one.label, one.box_px_xyxy) for one in boxes)


def _marked_regions(
    marked: NDArray[np.int64] | NDArray[np.bool_], labels: Sequence[str]
) -> tuple[tuple[str, Box], ...]:
    """Boxes, or the bounding boxes of a mask's parts; the largest first."""
    boxes = (
        _component_boxes(np.asarray(marked, dtype=np.bool_))
        if marked.dtype == np.bool_
        else np.asarray(marked, dtype=np.int64)
    )
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    label = " or ".join(labels) or "unlabelled"
    large = [
        tuple(int(edge) for edge in boxes[index])
        for index in np.argsort(-areas, kind="stable")[:MAX_REGIONS]
        if areas[index] >= MIN_REGION_PX**2
    ]
    return tuple((label, (box[0], box[1], box[2], box[3])) for box in large)


def _component_boxes(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    numbered, count = label_components(mask)
    rows, columns = np.nonzero(numbered)
    which = numbered[rows, columns] - 1
    boxes = np.zeros((count, 4), dtype=np.int64)
    boxes[:, :2] = np.iinfo(np.int64).max
    np.minimum.at(boxes[:, 0], which, columns)
    np.minimum.at(boxes[:, 1], which, rows)
    np.maximum.at(boxes[:, 2], which, columns + 1)
    np.maximum.at(boxes[:, 3], which, rows + 1)
    return boxes


def describe_tiles(pixels: Pixels, tiles: Tiles) -> NDArray[np.float64]:
    """(tiles, 7) mean and spread of each colour and the roughness of each tile, 0..1."""
    out = np.zeros((len(tiles), 7))
    for index, (left, top, right, bottom) in enumerate(tiles.boxes_px_xyxy):
        # Every second pixel says enough about colour, in a quarter of the time.
        piece = pixels[top:bottom:2, left:right:2].astype(np.float32) / 255
        out[index, :3] = piece.mean(axis=(0, 1))
        out[index, 3:6] = piece.std(axis=(0, 1))
        out[index, 6] = np.abs(np.diff(piece, axis=1)).mean() if piece.shape[1] > 1 else 0.0
    return out
