"""Four questions about a canvas of digits, and how well they were answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from megapixel_canvases import CLASSES, Canvas

TASKS = ("majority", "max", "top", "multi")
CHOICES = TASKS[:3]
"""Tasks with one digit as the answer; the last asks for a set."""


class Answers(NamedTuple):
    """Answers for many canvases.

    Attributes:
        choices: (canvases, 3) the digit that occurs most, the largest, the topmost; −1 for none.
        present: (canvases, 10) bool, which digits occur.
    """

    choices: NDArray[np.int64]
    present: NDArray[np.bool_]


def answer_truly(canvases: Sequence[Canvas]) -> Answers:
    """The right answers."""
    choices = np.full((len(canvases), len(CHOICES)), -1, dtype=np.int64)
    present = np.zeros((len(canvases), CLASSES), dtype=np.bool_)
    for row, canvas in enumerate(canvases):
        classes = canvas.digit_classes
        present[row, classes] = True
        if not canvas.is_empty:
            topmost = canvas.digit_corners_px[:, 0].argmin()
            counts = np.bincount(classes, minlength=CLASSES)
            choices[row] = counts.argmax(), classes.max(), classes[topmost]
    return Answers(choices, present)


def score_answers(given: Answers, truth: Answers) -> dict[str, float]:
    """Accuracy of each task on the canvases with digits, and quiet canvases among the others.

    Returns:
        A share, 0..1, for each of ``TASKS``, and ``quiet``: canvases of noise on which no digit
        is said to occur; NaN where there are none.
    """
    full = truth.choices[:, 0] >= 0
    right = (given.choices == truth.choices)[full]
    exact = (given.present == truth.present).all(axis=1)
    scores = {task: float(right[:, index].mean()) for index, task in enumerate(CHOICES)}
    scores["multi"] = float(exact[full].mean())
    scores["quiet"] = float(exact[~full].mean()) if (~full).any() else float("nan")
    return scores


def digits_inside(
    canvas: Canvas, tile_corners_px: NDArray[np.int64], tile_px: int
) -> NDArray[np.bool_]:
    """(digits,) True where the middle of a digit lies in one of the tiles.

    Args:
        canvas: the canvas.
        tile_corners_px: (tiles, 2) row and column of the upper left pixel.
        tile_px: side of a tile.
    """
    away = canvas.digit_centres_px[:, None] - tile_corners_px[None]
    inside: NDArray[np.bool_] = ((away >= 0) & (away < tile_px)).all(axis=2).any(axis=1)
    return inside
