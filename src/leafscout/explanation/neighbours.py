"""A photo beside those that a model finds most alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from leafscout.explanation.lettering import INK, PAPER, QUIET, RULE, Canvas, fit_text
from leafscout.explanation.mosaic import HEALTHY
from leafscout.explanation.panel import fit_pixels
from leafscout.types import Pixels

CELL_PX = 200
GAP_PX = 14
TEXT_PX = 16


class Neighbour(NamedTuple):
    """A photo that lies near another.

    Attributes:
        pixels: (height, width, 3) a thumbnail of any size.
        truth: its labels; none means healthy.
        cosine: of the angle between the features of both, −1..1.
    """

    pixels: Pixels
    truth: tuple[str, ...]
    cosine: float


def draw_neighbours(pixels: Pixels, name: str, nearest: Sequence[Neighbour]) -> Pixels:
    """Draw a photo and, behind a rule, those nearest to it with their labels.

    Args:
        pixels: (height, width, 3) a thumbnail of the photo.
        name: of the photo.
        nearest: the nearest one first.

    Returns:
        (height, width, 3) RGB.
    """
    step = CELL_PX + GAP_PX
    width = GAP_PX + step * (1 + len(nearest)) + GAP_PX
    height = 2 * GAP_PX + CELL_PX + 2 * TEXT_PX + 12
    canvas = Canvas(width, height, PAPER)
    _draw_cell(canvas, GAP_PX, pixels, name, "most alike:")
    rule_px = step + GAP_PX // 2
    canvas.fill((rule_px, GAP_PX, rule_px + 2, height - GAP_PX), RULE)
    for index, one in enumerate(nearest, start=1):
        words = " + ".join(one.truth) or HEALTHY
        left = 2 * GAP_PX + index * step
        _draw_cell(canvas, left, one.pixels, words, f"cosine {one.cosine:.2f}")
    return canvas.to_pixels()


def _draw_cell(canvas: Canvas, left: int, pixels: Pixels, first: str, second: str) -> None:
    small = fit_pixels(pixels, CELL_PX, CELL_PX)
    canvas.paste(
        (
            left + (CELL_PX - small.shape[1]) // 2,
            GAP_PX + (CELL_PX - small.shape[0]) // 2,
        ),
        small,
    )
    top = GAP_PX + CELL_PX + 6
    canvas.write((left, top), fit_text(first, TEXT_PX, CELL_PX), TEXT_PX, INK)
    canvas.write((left, top + TEXT_PX + 6), fit_text(second, TEXT_PX, CELL_PX), TEXT_PX, QUIET)
