"""The pictures of an evaluation: good diagnoses, worst mistakes, lesions at glance scale."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leafscout.errors import InputError
from leafscout.explanation.mosaic import MosaicItem, draw_glance_comparison, draw_mosaic
from leafscout.explanation.overlay import draw_overlay
from leafscout.glance.view import glance_size_px_hw
from leafscout.photos.decode import decode_photo
from leafscout.photos.labels import LabelTable
from leafscout.training.checkpoint import write_atomically
from leafscout.types import Diagnosis, Pixels

CAPTIONS = "captions.json"
BLIND_ZONE = "blind_zone"
"""Group of pictures that belong to an audit, not to an evaluation."""

DIAGNOSES = 10
MISTAKES = 8
GLANCES = 6
MOSAIC = 24
THUMBNAIL_PX = 240


def draw_pictures(
    folder: Path,
    diagnoses: Sequence[Diagnosis],
    table: LabelTable,
    truth: NDArray[np.bool_],
    glance_px: int,
) -> None:
    """Draw the pictures of an evaluation and their captions into a folder.

    Args:
        folder: emptied of the pictures of an earlier evaluation.
        diagnoses: one a photo.
        table: the photos.
        truth: (photos, labels).
        glance_px: long side of the model's glance.
    """
    folder.mkdir(exist_ok=True)
    # An audit's pictures are not ours to throw away.
    captions = [entry for entry in _read_captions(folder) if entry["group"] == BLIND_ZONE]
    audited = {entry["file"] for entry in captions}
    for old in folder.glob("*.jpg"):
        if old.name not in audited:
            old.unlink()

    def keep(group: str, number: int, pixels: Pixels, caption: str) -> None:
        captions.append(_save(folder, group, number, pixels, caption))

    groups = {
        "diagnoses": choose_examples(diagnoses, truth, DIAGNOSES),
        "worst_mistakes": choose_mistakes(diagnoses, truth, MISTAKES),
    }
    for group, chosen in groups.items():
        for number, index in enumerate(chosen):
            photo = decode_photo(table.paths[index])
            caption = _caption(diagnoses[index], table.names[index], truth[index])
            keep(group, number, draw_overlay(photo, diagnoses[index]), caption)
    for number, index in enumerate(_with_small_lesions(diagnoses, truth, GLANCES)):
        photo = decode_photo(table.paths[index])
        scale = max(glance_size_px_hw(photo.size_px_hw, glance_px)) / max(photo.size_px_hw)
        lesion = diagnoses[index].lesion_boxes[0]
        caption = f"{lesion.label} in {table.names[index]}, as the scout and as the expert see it"
        comparison = draw_glance_comparison(photo, lesion.box_px_xyxy, scale)
        keep("glance_scale", number, comparison, caption)
    items = [
        MosaicItem(
            pixels=_thumbnail(table.paths[index]),
            truth=tuple(np.array(diagnoses[index].labels)[truth[index]]),
            predicted=diagnoses[index].present,
            probs=tuple(
                float(prob)
                for prob, threshold in zip(
                    diagnoses[index].label_probs, diagnoses[index].thresholds, strict=True
                )
                if prob >= threshold
            ),
        )
        for index in np.linspace(0, len(diagnoses) - 1, min(MOSAIC, len(diagnoses))).astype(int)
    ]
    keep("mosaic", 0, draw_mosaic(items, columns=6), "truth above, diagnosis below")
    write_atomically(folder / CAPTIONS, json.dumps(captions, indent=1).encode())


def replace_pictures(folder: Path, group: str, pictures: Sequence[tuple[Pixels, str]]) -> None:
    """Replace the pictures of one group by others, and leave the rest as they are.

    Args:
        folder: of the run's pictures; made where needed.
        group: a key of ``leafscout.reports.run_report.GROUPS``.
        pictures: (height, width, 3) RGB and caption of each.
    """
    folder.mkdir(exist_ok=True)
    captions = [entry for entry in _read_captions(folder) if entry["group"] != group]
    for old in folder.glob(f"{group}_*.jpg"):
        old.unlink()
    captions += [
        _save(folder, group, number, pixels, caption)
        for number, (pixels, caption) in enumerate(pictures)
    ]
    write_atomically(folder / CAPTIONS, json.dumps(captions, indent=1).encode())


def _read_captions(folder: Path) -> list[dict[str, str]]:
    path = folder / CAPTIONS
    if not path.is_file():
        return []
    try:
        entries: list[dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{path} is damaged: it is not readable as JSON. Remove it and evaluate again."
        ) from error
    return entries


def _save(folder: Path, group: str, number: int, pixels: Pixels, caption: str) -> dict[str, str]:
    name = f"{group}_{number:02d}.jpg"
    Image.fromarray(pixels).save(folder / name, quality=85)
    return {"file": name, "group": group, "caption": caption}


def choose_examples(
    diagnoses: Sequence[Diagnosis], truth: NDArray[np.bool_], count: int
) -> list[int]:
    """Photos diagnosed rightly, the surest first, every label and healthy in turn."""
    right = [
        index
        for index, one in enumerate(diagnoses)
        if tuple(np.array(one.labels)[truth[index]]) == one.present
    ]
    columns = [np.array([index for index in right if not truth[index].any()], dtype=int)]
    columns += [
        np.array([index for index in right if truth[index, label]], dtype=int)
        for label in range(truth.shape[1])
    ]
    queues = [
        sorted(column.tolist(), key=lambda index: -_certainty(diagnoses[index]))
        for column in columns
    ]
    chosen: list[int] = []
    while len(chosen) < count and any(queues):
        for queue in queues:
            while queue and queue[0] in chosen:
                queue.pop(0)
            if queue and len(chosen) < count:
                chosen.append(queue.pop(0))
    return chosen


def choose_mistakes(
    diagnoses: Sequence[Diagnosis], truth: NDArray[np.bool_], count: int
) -> list[int]:
    """Photos with a wrong label, the most confidently wrong first."""
    regret = np.array(
        [
            max(
                (abs(float(prob) - float(threshold)) if (prob >= threshold) != is_true else 0.0)
                for prob, threshold, is_true in zip(
                    one.label_probs, one.thresholds, row, strict=True
                )
            )
            for one, row in zip(diagnoses, truth, strict=True)
        ]
    )
    order = np.argsort(-regret, kind="stable")[:count]
    return [int(index) for index in order if regret[index] > 0]


def _certainty(diagnosis: Diagnosis) -> float:
    return float(np.abs(diagnosis.label_probs - diagnosis.thresholds).min())


def _with_small_lesions(
    diagnoses: Sequence[Diagnosis], truth: NDArray[np.bool_], count: int
) -> list[int]:
    def side_px(index: int) -> int:
        left, top, right, bottom = diagnoses[index].lesion_boxes[0].box_px_xyxy
        return max(right - left, bottom - top)

    found = [
        index
        for index, one in enumerate(diagnoses)
        if one.lesion_boxes and truth[index, one.labels.index(one.lesion_boxes[0].label)]
    ]
    return sorted(found, key=side_px)[:count]


def _caption(diagnosis: Diagnosis, name: str, row: NDArray[np.bool_]) -> str:
    said = " + ".join(diagnosis.present) or "healthy"
    is_so = " + ".join(np.array(diagnosis.labels)[row]) or "healthy"
    return f"{name}: diagnosed {said}, labelled {is_so}"


def _thumbnail(path: Path) -> Pixels:
    image = Image.fromarray(decode_photo(path).pixels)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return np.asarray(image)
