"""Lesion boxes and masks, for scoring alone: nothing that trains can reach this module."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leafscout.errors import InputError

BOX_COLUMNS = ("image", "x_px", "y_px", "width_px", "height_px")
LESION_RED = (255, 0, 0)


@dataclass(frozen=True, eq=False)
class LesionTruth:
    """Where the lesions of photos are.

    Attributes:
        boxes: photo name → (lesions, 4) boxes in pixels, xyxy.
        box_labels: photo name → the label of each box; empty where the file has no label column.
        masks: photo name → file of its mask.
    """

    boxes: dict[str, NDArray[np.int64]]
    box_labels: dict[str, tuple[str, ...]]
    masks: dict[str, Path]

    def lesions(
        self, name: str, size_px_hw: tuple[int, int] | None = None
    ) -> NDArray[np.int64] | NDArray[np.bool_] | None:
        """Boxes or a (height, width) mask of a photo, or None where nothing is known of it.

        Args:
            name: of the photo.
            size_px_hw: height and width of the upright photo; its mask must have them.

        Raises:
            InputError: when the mask cannot be read or has another size.
        """
        key = Path(name).name
        if key in self.boxes:
            return self.boxes[key]
        path = self.masks.get(Path(name).stem)
        if path is None:
            return None
        mask = read_mask(path)
        if size_px_hw is not None and mask.shape != size_px_hw:
            (height, width), (tall, wide) = mask.shape, size_px_hw
            raise InputError(
                f"The mask {path} has {width}×{height} px, but its photo {name} has {wide}×{tall} "
                "px. Give masks of the size of the upright photos."
            )
        return mask

    def check_names(self, names: Sequence[str]) -> None:
        """Refuse truth that knows none of the photos: it belongs to others.

        Raises:
            InputError: when no photo has boxes or a mask.
        """
        known = (Path(name).name in self.boxes or Path(name).stem in self.masks for name in names)
        if not any(known):
            raise InputError(
                f"None of the {len(names)} photos, for example {names[0]}, is named in the lesion "
                "boxes or masks. Give those of these photos."
            )

    def lesions_of(self, name: str, label: str) -> NDArray[np.int64] | None:
        """The boxes of one label, where the boxes have labels."""
        key = Path(name).name
        if key not in self.boxes or not self.box_labels[key]:
            return None
        chosen = np.array([found == label for found in self.box_labels[key]], dtype=np.bool_)
        return self.boxes[key][chosen]


def read_lesion_truth(boxes: Path | None, masks: Path | None) -> LesionTruth:
    """Read lesion boxes from a CSV file, masks from a folder, or both.

    Args:
        boxes: CSV with the columns ``image,x_px,y_px,width_px,height_px`` and perhaps ``label``.
        masks: folder of PNG files named like the photos: grey, where 0 is background and
            everything else lesion, or RGB, where red (255, 0, 0) is lesion.

    Raises:
        InputError: missing files or columns, or a number that is none or makes no box; the row
            is named.
    """
    found, labels = _read_boxes(boxes) if boxes is not None else ({}, {})
    files: dict[str, Path] = {}
    if masks is not None:
        if not masks.is_dir():
            raise InputError(f"There is no folder of masks at {masks}.")
        files = {path.stem: path for path in sorted(masks.glob("*.png"))}
        if not files:
            raise InputError(f"The folder of masks {masks} holds no PNG files.")
    return LesionTruth(found, labels, files)


def _read_boxes(
    path: Path,
) -> tuple[dict[str, NDArray[np.int64]], dict[str, tuple[str, ...]]]:
    if not path.is_file():
        raise InputError(f"There is no file of lesion boxes at {path}.")
    boxes: dict[str, list[tuple[int, int, int, int]]] = {}
    labels: dict[str, list[str]] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeError as error:
        raise InputError(f"{path} is not UTF-8 text. Save it as a CSV file in UTF-8.") from error
    with io.StringIO(text, newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in BOX_COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise InputError(
                f"{path} lacks the columns {', '.join(missing)}. Expected "
                f"{','.join(BOX_COLUMNS)} and perhaps label."
            )
        for row in reader:
            left, top, width, height = _numbers(row, path, reader.line_num)
            name = Path((row["image"] or "").replace("\\", "/")).name
            boxes.setdefault(name, []).append((left, top, left + width, top + height))
            labels.setdefault(name, []).append(row.get("label") or "")
    return (
        {name: np.array(rows, dtype=np.int64) for name, rows in boxes.items()},
        {name: tuple(rows) if all(rows) else () for name, rows in labels.items()},
    )


def _numbers(row: dict[str, str], path: Path, line: int) -> tuple[int, int, int, int]:
    try:
        left, top, width, height = (round(float(row[name])) for name in BOX_COLUMNS[1:])
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path}, row {line}: expected numbers in {', '.join(BOX_COLUMNS[1:])}."
        ) from error
    if width < 1 or height < 1:
        raise InputError(
            f"{path}, row {line}: expected a box of at least 1 px, but got {width}×{height} px. "
            "Correct or remove it."
        )
    return left, top, width, height


def read_mask(path: Path) -> NDArray[np.bool_]:
    """(height, width) True on lesions.

    Raises:
        InputError: when the file is no image.
    """
    try:
        with Image.open(path) as image:
            # A palette holds label numbers; converting it would give colours.
            pixels = np.asarray(image)
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"The mask {path} cannot be read as an image.") from error
    if pixels.ndim == 2:
        return np.asarray(pixels > 0)
    return np.asarray((pixels[..., :3] == LESION_RED).all(axis=2))
