"""Truth against answers at a look, and a lesion as the scout and as the expert see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from leafscout.errors import InputError
from leafscout.explanation.lettering import (
    BAD,
    GOOD,
    INK,
    PAPER,
    QUIET,
    Canvas,
    fit_text,
    text_width_px,
)
from leafscout.explanation.panel import fit_pixels
from leafscout.glance.view import take_glance
from leafscout.types import Photo, Pixels

HEALTHY = "healthy"
CELL_PX = 240
FRAME_PX = 6
PICTURE_PX = 170
TEXT_PX = 17
GAP_PX = 16

VIEW_PX = 560
HEADING_PX = 76
CONTEXT = 3.0
"""Side of the view of a lesion, in sides of the lesion."""
MIN_VIEW_PX = 96
"""Smallest view of a lesion, in pixels of the photo: less shows nothing to know it by."""


class MosaicItem(NamedTuple):
    """One photo of a mosaic.

    Attributes:
        pixels: (height, width, 3) a thumbnail of any size.
        truth: the photo's labels; empty means healthy.
        predicted: the labels found; empty means healthy.
        probs: one a label found, 0..1, left out where there is no room; may be empty.
    """

    pixels: Pixels
    truth: tuple[str, ...]
    predicted: tuple[str, ...]
    probs: tuple[float, ...]


def draw_mosaic(items: Sequence[MosaicItem], columns: int) -> Pixels:
    """Draw thumbnails with truth and answer, ticked where both agree and crossed where not.

    Args:
        items: the photos, row by row.
        columns: photos a row.

    Returns:
        (height, width, 3) RGB.

    Raises:
        InputError: when there is no photo or no column.
    """
    if not items or columns < 1:
        raise InputError(
            f"Expected at least one photo and one column for a mosaic, but got {len(items)} "
            f"photos and {columns} columns."
        )
    columns = min(columns, len(items))
    rows = -(-len(items) // columns)
    height = 2 * FRAME_PX + PICTURE_PX + 2 * TEXT_PX + 30
    canvas = Canvas(GAP_PX + columns * (CELL_PX + GAP_PX), GAP_PX + rows * (height + GAP_PX), PAPER)
    for index, item in enumerate(items):
        row, column = divmod(index, columns)
        left, top = GAP_PX + column * (CELL_PX + GAP_PX), GAP_PX + row * (height + GAP_PX)
        _draw_cell(canvas, item, left, top, height)
    return canvas.to_pixels()


def _draw_cell(canvas: Canvas, item: MosaicItem, left: int, top: int, height: int) -> None:
    right = _diseases(item.truth) == _diseases(item.predicted)
    colour = GOOD if right else BAD
    canvas.frame((left, top, left + CELL_PX, top + height), colour, FRAME_PX)
    room_width = CELL_PX - 2 * FRAME_PX
    picture = fit_pixels(item.pixels, room_width, PICTURE_PX)
    canvas.paste(
        (
            left + FRAME_PX + (room_width - picture.shape[1]) // 2,
            top + FRAME_PX + (PICTURE_PX - picture.shape[0]) // 2,
        ),
        picture,
    )
    x, y = left + FRAME_PX + 8, top + FRAME_PX + PICTURE_PX + 10
    sign_px = 30
    room = room_width - 24 - sign_px
    names = (" + ".join(labels) or HEALTHY for labels in (item.truth, item.predicted))
    truth, said = (f"{word}: {name}" for word, name in zip(("is", "said"), names, strict=True))
    if item.predicted and len(item.probs) == len(item.predicted):
        pairs = zip(item.predicted, item.probs, strict=True)
        longer = "said: " + " + ".join(f"{name} {prob:.2f}" for name, prob in pairs)
        said = longer if text_width_px(longer, TEXT_PX) <= room else said
    canvas.write((x, y), fit_text(truth, TEXT_PX, room), TEXT_PX, QUIET)
    canvas.write((x, y + TEXT_PX + 8), fit_text(said, TEXT_PX, room), TEXT_PX, INK)
    at = (left + CELL_PX - FRAME_PX - sign_px - 8, y + 5)
    if right:
        canvas.tick(at, sign_px, colour)
    else:
        canvas.cross(at, sign_px, colour)


def _diseases(labels: tuple[str, ...]) -> frozenset[str]:
    return frozenset(labels) - {HEALTHY}


def draw_glance_comparison(
    photo: Photo, box_px_xyxy: tuple[int, int, int, int], glance_scale: float
) -> Pixels:
    """Show a lesion as the scout sees it, enlarged pixel by pixel, beside full resolution.

    Args:
        photo: the photo.
        box_px_xyxy: the lesion.
        glance_scale: pixels of the glance for one pixel of the photo, 0..1.

    Returns:
        (height, width, 3) RGB: both views show the same part of the photo, captioned with the
        lesion's size in pixels of each.

    Raises:
        InputError: when the box has no part in the photo, or the scale is not in 0..1.
    """
    height, width = photo.size_px_hw
    left, top = max(box_px_xyxy[0], 0), max(box_px_xyxy[1], 0)
    right, bottom = min(box_px_xyxy[2], width), min(box_px_xyxy[3], height)
    if right <= left or bottom <= top or not 0 < glance_scale <= 1:
        raise InputError(
            f"Expected a lesion inside the photo of {width}×{height} px and a glance scale above "
            f"0 and up to 1, but got the box {box_px_xyxy} and {glance_scale:g}."
        )
    box = left, top, right, bottom
    view = _view_around(box, photo.size_px_hw)
    glance = take_glance(photo, round(max(height, width) * glance_scale)).pixels
    across, down = glance.shape[1] / width, glance.shape[0] / height
    part = view[0] * across, view[1] * down, view[2] * across, view[3] * down
    shape_wh = _fit_shape(view)
    seen = Image.fromarray(glance).resize(shape_wh, Image.Resampling.NEAREST, box=part)
    sharp = Image.fromarray(photo.pixels).resize(shape_wh, Image.Resampling.LANCZOS, box=view)
    canvas = Canvas(2 * shape_wh[0] + 3 * GAP_PX, shape_wh[1] + HEADING_PX + GAP_PX, PAPER)
    for index, (picture, title, ratio_x, ratio_y) in enumerate(
        ((seen, "As the scout sees it", across, down), (sharp, "As the expert sees it", 1.0, 1.0))
    ):
        at = GAP_PX + index * (shape_wh[0] + GAP_PX), HEADING_PX
        size = _round_px((right - left) * ratio_x), _round_px((bottom - top) * ratio_y)
        caption = f"the lesion is {size[0]} × {size[1]} px"
        canvas.write((at[0], 14), fit_text(title, 22, shape_wh[0]), 22, INK)
        canvas.write((at[0], 46), fit_text(caption, 19, shape_wh[0]), 19, QUIET)
        canvas.paste(at, np.array(picture))
        _frame_lesion(canvas, box, view, at, shape_wh)
    return canvas.to_pixels()


def _frame_lesion(
    canvas: Canvas,
    box: tuple[int, int, int, int],
    view: tuple[int, int, int, int],
    at_px_xy: tuple[int, int],
    shape_wh: tuple[int, int],
) -> None:
    across = shape_wh[0] / (view[2] - view[0])
    down = shape_wh[1] / (view[3] - view[1])
    left, right = (at_px_xy[0] + (edge - view[0]) * across for edge in (box[0], box[2]))
    top, bottom = (at_px_xy[1] + (edge - view[1]) * down for edge in (box[1], box[3]))
    canvas.frame((left - 3, top - 3, right + 3, bottom + 3), (0, 0, 0), 4, 0.5)
    canvas.frame((left - 2, top - 2, right + 2, bottom + 2), PAPER, 2)


def _view_around(
    box: tuple[int, int, int, int], photo_size_px_hw: tuple[int, int]
) -> tuple[int, int, int, int]:
    """A square around a box, moved into the photo and no larger than it."""
    height, width = photo_size_px_hw
    side = max(round(CONTEXT * max(box[2] - box[0], box[3] - box[1])), MIN_VIEW_PX)
    across, down = min(side, width), min(side, height)
    left = min(max((box[0] + box[2] - across) // 2, 0), width - across)
    top = min(max((box[1] + box[3] - down) // 2, 0), height - down)
    return left, top, left + across, top + down


def _fit_shape(view: tuple[int, int, int, int]) -> tuple[int, int]:
    across, down = view[2] - view[0], view[3] - view[1]
    ratio = VIEW_PX / max(across, down)
    return max(1, round(across * ratio)), max(1, round(down * ratio))


def _round_px(length: float) -> str:
    """Below ten pixels a tenth matters."""
    return f"{length:.1f}".removesuffix(".0") if length < 9.95 else f"{length:.0f}"
