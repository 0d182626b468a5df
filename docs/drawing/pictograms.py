"""A photo, its map of scores and its tiles, as small pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drawing.canvas import Canvas, Point

LEAVES = (
    (0.30, 0.30, 0.34, 0.13, -35.0),
    (0.66, 0.22, 0.30, 0.12, 30.0),
    (0.62, 0.58, 0.36, 0.15, -20.0),
    (0.33, 0.74, 0.33, 0.13, 28.0),
    (0.70, 0.86, 0.27, 0.10, -8.0),
)
"""Leaves of the drawn photo: centre, radii as shares of its width and height, turn in degrees."""

LESIONS = ((0.26, 0.315, 0.030), (0.70, 0.555, 0.040), (0.575, 0.60, 0.024))
"""Its lesions: centre and radius."""

GRID = (8, 6)
"""Rows and columns of its tiles."""


def score_places() -> NDArray[np.float64]:
    """(rows, columns) what a scout might say about the drawn photo, 0..1."""
    rows, columns = GRID
    down, across = np.mgrid[0:rows, 0:columns] + 0.5
    score = np.full(GRID, 0.04)
    for x, y, radius in LESIONS:
        apart = ((across / columns - x) * 1.3) ** 2 + ((down / rows - y) * 1.3) ** 2
        score += 22 * radius * np.exp(-apart / 0.009)
    score[6, 1] += 0.22  # a weed that looks a little like one
    clipped: NDArray[np.float64] = np.clip(score, 0, 0.95)
    return clipped


def chosen_places() -> list[tuple[int, int]]:
    """Rows and columns of the tiles that reach the threshold."""
    return [(int(row), int(column)) for row, column in np.argwhere(score_places() > 0.45)]


def draw_photo(canvas: Canvas, corner: Point, size: Point) -> None:
    """A photo with leaves and lesions."""
    canvas.rect(corner, size, "soil", "line", radius=4, stroke=1)
    for x, y, across, down, turn in LEAVES:
        centre = corner[0] + x * size[0], corner[1] + y * size[1]
        radii = across * size[0], down * size[1] * 0.75
        canvas.ellipse(centre, radii, "leaf", turn=turn)
        slope = np.deg2rad(turn)
        tip = radii[0] * 0.86 * np.cos(slope), radii[0] * 0.86 * np.sin(slope)
        canvas.curve(
            f"M{centre[0] - tip[0]:.1f} {centre[1] - tip[1]:.1f}"
            f"L{centre[0] + tip[0]:.1f} {centre[1] + tip[1]:.1f}",
            "vein",
            stroke=max(0.6, size[0] / 130),
        )
    for x, y, radius in LESIONS:
        centre = corner[0] + x * size[0], corner[1] + y * size[1]
        canvas.ellipse(centre, (radius * size[0], radius * size[0] * 0.72), "lesion", turn=-25)


def draw_scores(canvas: Canvas, corner: Point, cell: float, colour: str, *, marks: bool) -> None:
    """The map of scores; ``marks`` frames the tiles that are chosen."""
    for (row, column), score in np.ndenumerate(score_places()):
        at = corner[0] + column * cell, corner[1] + row * cell
        canvas.rect(at, (cell - 1.5, cell - 1.5), "hair", None, radius=2)
        canvas.rect(at, (cell - 1.5, cell - 1.5), colour, None, radius=2, opacity=float(score))
    for row, column in chosen_places() if marks else []:
        at = corner[0] + column * cell - 1, corner[1] + row * cell - 1
        canvas.rect(at, (cell + 0.5, cell + 0.5), "none", "focus-edge", radius=3, stroke=2)


def draw_tile(canvas: Canvas, corner: Point, side: float, *, places: bool) -> None:
    """A tile in full resolution: a lesion on a leaf; ``places`` lays evidence over it."""
    x, y = corner
    canvas.rect(corner, (side, side), "leaf", "focus-edge", radius=4, stroke=1.2)
    for shift in (0.22, 0.5, 0.78):
        canvas.curve(
            f"M{x + 2:g} {y + side * shift:g}L{x + side - 2:g} {y + side * (shift - 0.16):g}",
            "vein", stroke=1,
        )  # fmt: skip
    centre = x + side * 0.58, y + side * 0.52
    canvas.ellipse(centre, (side * 0.2, side * 0.14), "lesion", turn=-25)
    if places:
        step = side / 4
        for row in range(4):
            for column in range(4):
                near = ((column + 0.5) * step + x - centre[0], (row + 0.5) * step + y - centre[1])
                loud = float(np.exp(-(near[0] ** 2 + near[1] ** 2) / (0.06 * side * side)))
                at = x + column * step + 0.5, y + row * step + 0.5
                canvas.rect(at, (step - 1, step - 1), "focus-edge", "ground", radius=1,
                            stroke=0.5, opacity=0.1 + 0.8 * loud)  # fmt: skip
