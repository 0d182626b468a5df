"""Megapixel digits: large, mostly empty canvases with five small digits among noise strokes.

The public yardstick of patch selection (Katharopoulos & Fleuret 2019; Bergner et al. 2023), in our
own generator. Five digits of 28 px, three of one class and two of others, lie on strokes of the
same size; other canvases hold strokes alone. A canvas is kept as a list of what lies where, so
that a thousand of them fit in memory at any size, and any region of one is drawn when it is looked
at.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

DIGIT_PX = 28
CLASSES = 10
TARGETS, OTHERS = 3, 2
"""Digits of the class that occurs most, and digits of two other classes."""

STROKE_SHAPES = 1024
PARTS = ("train", "validation", "test")
VALIDATION_DIGITS = 10_000
"""Of the training digits, so many, the last ones, are for validation; the tests have their own."""

IDX_BYTES_OFFSET = {3: 16, 1: 8}
"""Dimensions of an idx file of bytes → where its values begin."""

Gray = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class DigitPool:
    """Digits to draw from.

    Attributes:
        images: (digits, 28, 28) bytes, 0 for paper and up to 255 for ink.
        classes: (digits,) 0..9.
    """

    images: Gray
    classes: NDArray[np.int64]

    @cached_property
    def rows_of(self) -> tuple[NDArray[np.int64], ...]:
        """For each class, the rows of its digits."""
        return tuple(np.flatnonzero(self.classes == one) for one in range(CLASSES))


@dataclass(frozen=True, eq=False)
class Sheet:
    """What all canvases of one part are made from.

    Attributes:
        digits: the digits of this part alone.
        strokes: (shapes, 28, 28) bytes, noise strokes of this part alone.
    """

    digits: DigitPool
    strokes: Gray


@dataclass(frozen=True, eq=False)
class Canvas:
    """What lies where on one canvas; corners are (row, column) of the upper left pixel.

    Attributes:
        side_px: of the square canvas.
        digit_rows: (digits,) rows of the pool; none on a canvas of noise.
        digit_classes: (digits,) 0..9.
        digit_corners_px: (digits, 2).
        stroke_rows: (strokes,) rows of the sheet's strokes.
        stroke_corners_px: (strokes, 2).
    """

    side_px: int
    digit_rows: NDArray[np.int64]
    digit_classes: NDArray[np.int64]
    digit_corners_px: NDArray[np.int64]
    stroke_rows: NDArray[np.int64]
    stroke_corners_px: NDArray[np.int64]

    @property
    def is_empty(self) -> bool:
        """True for a canvas of noise alone."""
        return len(self.digit_rows) == 0

    @property
    def digit_centres_px(self) -> NDArray[np.float64]:
        """(digits, 2) row and column of the middle of each digit."""
        return self.digit_corners_px + DIGIT_PX / 2


def load_pools(folder: Path | None) -> dict[str, DigitPool]:
    """Digits for training, validation and test; no digit is in two of them.

    Args:
        folder: of MNIST's four idx files, packed or not; None takes scikit-learn's small digits,
            enlarged to 28 px.

    Raises:
        ValueError: when a file is missing or is not an idx file of bytes.
    """
    if folder is None:
        return _load_bundled()
    images = _read_idx(folder, "train-images-idx3-ubyte", 3).reshape(-1, DIGIT_PX, DIGIT_PX)
    classes = _read_idx(folder, "train-labels-idx1-ubyte", 1).astype(np.int64)
    tests = _read_idx(folder, "t10k-images-idx3-ubyte", 3).reshape(-1, DIGIT_PX, DIGIT_PX)
    test_classes = _read_idx(folder, "t10k-labels-idx1-ubyte", 1).astype(np.int64)
    held = min(VALIDATION_DIGITS, len(images) // 6)
    return {
        "train": DigitPool(images[:-held], classes[:-held]),
        "validation": DigitPool(images[-held:], classes[-held:]),
        "test": DigitPool(tests, test_classes),
    }


def _read_idx(folder: Path, name: str, dimensions: int) -> Gray:
    packed, plain = folder / f"{name}.gz", folder / name
    if not packed.is_file() and not plain.is_file():
        raise ValueError(f"There is no {name} or {name}.gz in {folder}. Give MNIST's idx files.")
    data = gzip.decompress(packed.read_bytes()) if packed.is_file() else plain.read_bytes()
    if data[:4] != bytes([0, 0, 8, dimensions]):
        raise ValueError(f"{name} in {folder} is not an idx file of bytes in {dimensions}-D.")
    return np.frombuffer(data, dtype=np.uint8, offset=IDX_BYTES_OFFSET[dimensions])


def _load_bundled() -> dict[str, DigitPool]:
    from sklearn.datasets import load_digits

    bundled = load_digits()
    images = np.stack([_enlarge(one) for one in bundled.images])
    classes = bundled.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(images))
    cuts = np.split(order, [int(0.6 * len(order)), int(0.75 * len(order))])
    return {
        part: DigitPool(images[rows], classes[rows]) for part, rows in zip(PARTS, cuts, strict=True)
    }


def _enlarge(small: NDArray[np.float64]) -> Gray:
    gray = Image.fromarray(np.round(small * (255 / 16)).astype(np.uint8))
    return np.asarray(gray.resize((DIGIT_PX, DIGIT_PX), Image.Resampling.BICUBIC))


def make_sheets(folder: Path | None) -> dict[str, Sheet]:
    """Digits and strokes of the three parts; see ``load_pools``."""
    return {
        part: Sheet(pool, draw_strokes(STROKE_SHAPES, seed=index))
        for index, (part, pool) in enumerate(load_pools(folder).items())
    }


def draw_strokes(count: int, seed: int) -> Gray:
    """(count, 28, 28) thin strokes, straight or a little bent, within the size of a digit."""
    rng = np.random.default_rng([seed, 71])
    scale = 4
    out = np.zeros((count, DIGIT_PX, DIGIT_PX), dtype=np.uint8)
    for shape in out:
        image = Image.new("L", (DIGIT_PX * scale, DIGIT_PX * scale))
        ends = rng.uniform(2 * scale, (DIGIT_PX - 2) * scale, (2, 2))
        middle = ends.mean(axis=0) + rng.normal(0, 2.5 * scale, 2)
        times = np.linspace(0, 1, 9)[:, None]
        curve = (1 - times) ** 2 * ends[0] + 2 * times * (1 - times) * middle + times**2 * ends[1]
        points = [(float(x), float(y)) for x, y in curve]
        width = int(rng.integers(4, 11))  # 1 to 2.5 px
        ImageDraw.Draw(image).line(points, int(rng.integers(150, 256)), width, joint="curve")
        shape[:] = np.asarray(image.resize((DIGIT_PX, DIGIT_PX), Image.Resampling.BOX))
    return out


def draw_canvas(
    sheet: Sheet, side_px: int, strokes: int, *, empty: bool, rng: np.random.Generator
) -> Canvas:
    """Lay out one canvas.

    Args:
        sheet: digits and strokes to draw from.
        side_px: of the canvas.
        strokes: noise strokes.
        empty: leave the digits out.
        rng: decides everything.
    """
    rows = np.zeros(0, dtype=np.int64)
    corners = np.zeros((0, 2), dtype=np.int64)
    if not empty:
        target, *others = rng.choice(CLASSES, size=1 + OTHERS, replace=False)
        wanted = rng.permutation([target] * TARGETS + others)
        rows = np.array([rng.choice(sheet.digits.rows_of[one]) for one in wanted])
        corners = _place_apart(len(wanted), side_px, rng)
    return Canvas(
        side_px=side_px,
        digit_rows=rows,
        digit_classes=sheet.digits.classes[rows],
        digit_corners_px=corners,
        stroke_rows=rng.integers(len(sheet.strokes), size=strokes),
        stroke_corners_px=rng.integers(side_px - DIGIT_PX + 1, size=(strokes, 2)),
    )


def _place_apart(count: int, side_px: int, rng: np.random.Generator) -> NDArray[np.int64]:
    placed: list[NDArray[np.int64]] = []
    while len(placed) < count:
        corner = rng.integers(side_px - DIGIT_PX + 1, size=2)
        if all(np.abs(corner - other).max() >= DIGIT_PX for other in placed):
            placed.append(corner)
    return np.stack(placed)


def draw_canvases(
    sheet: Sheet, side_px: int, strokes: int, *, full: int, empty: int, seed: int
) -> list[Canvas]:
    """Canvases with digits, then canvases of noise; the same for the same seed."""
    return [
        draw_canvas(
            sheet, side_px, strokes, empty=index >= full, rng=np.random.default_rng([seed, index])
        )
        for index in range(full + empty)
    ]


def render_region(
    canvas: Canvas, sheet: Sheet, corner_px: tuple[int, int], size_px_hw: tuple[int, int]
) -> Gray:
    """Draw a part of a canvas; outside it lies paper.

    Strokes lie beneath: where a digit has ink, it is the digit's alone.

    Args:
        canvas: what lies where.
        sheet: what it was drawn from.
        corner_px: row and column of the region's upper left pixel; may be negative.
        size_px_hw: of the region.

    Returns:
        (height, width) bytes.
    """
    out = np.zeros(size_px_hw, dtype=np.uint8)
    layers = (
        (canvas.stroke_corners_px, canvas.stroke_rows, sheet.strokes),
        (canvas.digit_corners_px, canvas.digit_rows, sheet.digits.images),
    )
    for is_digit, (corners, rows, images) in enumerate(layers):
        shifted = corners - np.asarray(corner_px)
        near = ((shifted > -DIGIT_PX) & (shifted < np.asarray(size_px_hw))).all(axis=1)
        for index in np.flatnonzero(near):
            _lay(out, images[rows[index]], shifted[index], covers=bool(is_digit))
    return out


def _lay(out: Gray, image: Gray, corner: NDArray[np.int64], *, covers: bool) -> None:
    top, left = int(corner[0]), int(corner[1])
    up, before = max(0, -top), max(0, -left)
    there = out[max(0, top) : top + DIGIT_PX, max(0, left) : left + DIGIT_PX]
    piece = image[up : up + there.shape[0], before : before + there.shape[1]]
    if covers:
        np.copyto(there, piece, where=piece > 0)
    else:
        np.maximum(there, piece, out=there)


def render_canvas(canvas: Canvas, sheet: Sheet) -> Gray:
    """(side, side) bytes: the whole canvas."""
    return render_region(canvas, sheet, (0, 0), (canvas.side_px, canvas.side_px))
