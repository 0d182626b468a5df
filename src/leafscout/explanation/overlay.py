"""One picture that a plant pathologist reads at a glance: verdict, photo, heat, closest look."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from leafscout.errors import InputError
from leafscout.explanation import panel
from leafscout.explanation.bars import bars_height_px, draw_bars
from leafscout.explanation.heat import fade_unread, paint_heat, resample_map
from leafscout.explanation.lettering import Canvas, tag_size_px
from leafscout.explanation.panel import Scale
from leafscout.types import Diagnosis, Photo, Pixels

MIN_WIDTH_PX = 640
MAX_TAGS = 8
MAX_BOLD_FRAMES = 12
WIDE_ASPECT = 1.9
"""Photos wider than this take the whole width, with the panel below."""

SLENDER_ASPECT = 0.4
"""Photos slimmer than this are drawn less tall: they leave the panel too much room."""

BoxXyxy = tuple[float, float, float, float]


@dataclass(frozen=True)
class Layout:
    """Where things stand on the canvas, in its pixels.

    Attributes:
        height_px: of the canvas.
        photo_px_xywh: the photo.
        tile_corners_px_xy: left, top of the pictures of the closest look.
        tile_side_px: their side.
        bars_px_xyw: left, top and width of the bars.
        bar_columns: columns of bars.
    """

    height_px: int
    photo_px_xywh: tuple[int, int, int, int]
    tile_corners_px_xy: tuple[tuple[int, int], ...]
    tile_side_px: int
    bars_px_xyw: tuple[int, int, int]
    bar_columns: int


def draw_overlay(photo: Photo, diagnosis: Diagnosis, *, width_px: int = 1600) -> Pixels:
    """Draw a diagnosis over its photo.

    What was only glanced at is greyed, tiles that were looked at are framed (the closest look
    thickly), evidence is laid over as heat on one absolute scale, and lesions are boxed and named.
    Beside or below stand the loudest tile at full resolution, with and without heat, and a bar per
    label with its threshold.

    Args:
        photo: the photo, of any size and aspect ratio.
        diagnosis: its diagnosis.
        width_px: width of the picture.

    Returns:
        (height, ``width_px``, 3) RGB.

    Raises:
        InputError: when the diagnosis is of a photo of another size, or the picture too narrow.
    """
    if photo.size_px_hw != diagnosis.photo_size_px_hw:
        raise InputError(
            f"Expected the photo that was diagnosed, {diagnosis.photo_size_px_hw} px (height, "
            f"width), but {photo.source} has {photo.size_px_hw} px. Give the same photo."
        )
    if width_px < MIN_WIDTH_PX:
        raise InputError(
            f"Expected a picture at least {MIN_WIDTH_PX} px wide, but got {width_px} px. "
            "Choose a larger width."
        )
    scale = Scale(width_px)
    layout = lay_out(diagnosis, scale)
    canvas = Canvas(width_px, layout.height_px)
    panel.draw_header(canvas, diagnosis, scale)
    _draw_photo(canvas, photo, diagnosis, layout, scale)
    left, top, width, height = layout.photo_px_xywh
    panel.draw_legend(canvas, diagnosis, (left, top + height + scale.px(10)), width, scale)
    panel.draw_closest_look(
        canvas, photo, diagnosis, layout.tile_corners_px_xy, layout.tile_side_px, scale
    )
    bars_left, bars_top, bars_width = layout.bars_px_xyw
    draw_bars(canvas, diagnosis, (bars_left, bars_top), bars_width, layout.bar_columns, scale)
    return canvas.to_pixels()


def lay_out(diagnosis: Diagnosis, scale: Scale) -> Layout:
    """Place photo, closest look and bars: the panel below wide photos, beside others."""
    height, width = diagnosis.photo_size_px_hw
    if width / height >= WIDE_ASPECT:
        return _lay_out_below(diagnosis, scale, width / height)
    return _lay_out_beside(diagnosis, scale, width / height)


def _lay_out_below(diagnosis: Diagnosis, scale: Scale, aspect: float) -> Layout:
    pad, gap, side = scale.px(28), scale.px(28), scale.px(384)
    top = panel.header_height_px(diagnosis, scale) + scale.px(20)
    photo_width = scale.width_px - 2 * pad
    photo_height = max(1, round(photo_width / aspect))
    row = top + photo_height + scale.px(90)
    pictures = 2 if diagnosis.read.any() else 1
    corners = tuple((pad + index * (side + gap), row) for index in range(pictures))
    bars_left = pad + pictures * (side + gap)
    bars_width = scale.width_px - pad - bars_left
    columns = 1
    while bars_height_px(diagnosis, columns, scale) > side + scale.px(30) and bars_width // (
        columns + 1
    ) >= scale.px(250):
        columns += 1
    bars_height = bars_height_px(diagnosis, columns, scale)
    return Layout(
        height_px=row + max(side, bars_height - scale.px(30)) + pad,
        photo_px_xywh=(pad, top, photo_width, photo_height),
        tile_corners_px_xy=corners,
        tile_side_px=side,
        bars_px_xyw=(bars_left, row - scale.px(30), bars_width),
        bar_columns=columns,
    )


def _lay_out_beside(diagnosis: Diagnosis, scale: Scale, aspect: float) -> Layout:
    pad, gap = scale.px(28), scale.px(28)
    top = panel.header_height_px(diagnosis, scale) + scale.px(20)
    room = scale.width_px - 2 * pad - gap - scale.px(384)
    tallest = scale.px(1400 if aspect > SLENDER_ASPECT else 900)
    photo_width = max(1, min(room, round(tallest * aspect)))
    photo_height = max(1, round(photo_width / aspect))
    left_bottom = top + photo_height + scale.px(44)
    panel_left = pad + photo_width + gap
    panel_width = scale.width_px - pad - panel_left
    columns = max(1, min(3, panel_width // scale.px(300)))
    bars_height = bars_height_px(diagnosis, columns, scale)
    free = max(left_bottom - top - bars_height - gap, scale.px(300))
    corners, side = _fit_closest_look(
        (panel_left, top), (panel_width, free), 2 if diagnosis.read.any() else 1, scale
    )
    right_bottom = corners[-1][1] + side + gap
    bars = panel_left, right_bottom, panel_width
    if right_bottom + bars_height // 2 > left_bottom and photo_width >= scale.px(500):
        # The panel is the longer column already: the bars go below the photo.
        columns = max(1, min(3, photo_width // scale.px(300)))
        bars = pad, left_bottom + scale.px(8), photo_width
        left_bottom += bars_height_px(diagnosis, columns, scale)
    else:
        right_bottom += bars_height
    return Layout(
        height_px=max(left_bottom, right_bottom) + scale.px(8),
        photo_px_xywh=(pad, top, photo_width, photo_height),
        tile_corners_px_xy=corners,
        tile_side_px=side,
        bars_px_xyw=bars,
        bar_columns=columns,
    )


def _fit_closest_look(
    start_px_xy: tuple[int, int], room_px_wh: tuple[int, int], pictures: int, scale: Scale
) -> tuple[tuple[tuple[int, int], ...], int]:
    """Corners and side of the pictures: one above the other or abreast, whichever is larger."""
    gap, title, most = scale.px(28), scale.px(44), scale.px(640)
    width, height = room_px_wh
    stacked = min(width, height // pictures - title, most)
    stacked = max(stacked, min(width, scale.px(384)))
    abreast = min((width - gap * (pictures - 1)) // pictures, height - title, most)
    side = max(stacked, abreast)
    across, down = (side + gap, 0) if abreast > stacked else (0, side + title)
    left, top = start_px_xy[0], start_px_xy[1] + scale.px(30)
    return tuple((left + i * across, top + i * down) for i in range(pictures)), side


def _draw_photo(
    canvas: Canvas, photo: Photo, diagnosis: Diagnosis, layout: Layout, scale: Scale
) -> None:
    left, top, width, height = layout.photo_px_xywh
    photo_height, photo_width = diagnosis.photo_size_px_hw
    across, down = width / photo_width, height / photo_height

    def place(box: Iterable[int]) -> BoxXyxy:
        x0, y0, x1, y1 = box
        return left + x0 * across, top + y0 * down, left + x1 * across, top + y1 * down

    read = np.flatnonzero(diagnosis.read).tolist()
    tile_boxes = [place(diagnosis.tiles.boxes_px_xyxy[index].tolist()) for index in read]
    pixels = panel.stretch_pixels(photo.pixels, width, height)
    if read:
        looked_at = np.zeros((height, width), dtype=np.bool_)
        for box in tile_boxes:
            x0, y0, x1, y1 = (round(edge) for edge in box)
            looked_at[y0 - top : y1 - top, x0 - left : x1 - left] = True
        heat = resample_map(
            panel.shown_map(diagnosis),
            diagnosis.lesion_map_px,
            (0, 0, photo_width, photo_height),
            (height, width),
        )
        pixels = paint_heat(fade_unread(pixels, looked_at), np.where(looked_at, heat, 0.0))
    canvas.paste((left, top), pixels)
    # Many frames are a grid: thin it out, or it hides the leaf.
    alpha = 0.9 if len(read) <= MAX_BOLD_FRAMES else 0.45
    for box in tile_boxes:
        canvas.frame(box, (255, 255, 255), scale.px(1), alpha)
    if len(read) > 1:
        closest = tile_boxes[read.index(panel.closest_tile(diagnosis))]
        canvas.frame(closest, (255, 255, 255), scale.px(4))
    lesions = [place(lesion.box_px_xyxy) for lesion in diagnosis.lesion_boxes]
    _draw_lesions(canvas, diagnosis, lesions, layout, scale)


def _draw_lesions(
    canvas: Canvas, diagnosis: Diagnosis, boxes: list[BoxXyxy], layout: Layout, scale: Scale
) -> None:
    left, top, width, height = layout.photo_px_xywh
    around, font = scale.px(5), scale.px(17)
    limits = (left, top, left + width, top + height)
    grown = [
        (max(x0 - around, left), max(y0 - around, top),
         min(x1 + around, limits[2]), min(y1 + around, limits[3]))
        for x0, y0, x1, y1 in boxes
    ]  # fmt: skip
    for lesion, box in zip(diagnosis.lesion_boxes, grown, strict=True):
        x0, y0, x1, y1 = box
        # A dark line inside and outside keeps every colour legible on every leaf.
        thick = scale.px(3)
        canvas.frame((x0 - 1, y0 - 1, x1 + 1, y1 + 1), (0, 0, 0), thick + 2, 0.55)
        canvas.frame(box, panel.label_colour(diagnosis, lesion.label), thick)
    taken: list[BoxXyxy] = []
    for lesion, box in zip(diagnosis.lesion_boxes[:MAX_TAGS], grown, strict=False):
        text = f"{lesion.label} {lesion.prob:.2f}"
        spot = _free_spot(box, tag_size_px(text, font), limits, [*taken, *grown])
        if spot is not None:
            canvas.tag(spot[:2], text, font, panel.label_colour(diagnosis, lesion.label))
            taken.append(spot)


def _free_spot(
    box: BoxXyxy, size_px: tuple[int, int], limits: BoxXyxy, taken: list[BoxXyxy]
) -> BoxXyxy | None:
    """A place for a tag at a box that covers no other tag and no lesion, or None."""
    width, height = size_px
    x0, y0, x1, y1 = box
    for x, y in (
        (x0, y0 - height - 1), (x0, y1 + 1), (x1 - width, y0 - height - 1), (x1 - width, y1 + 1),
        (x1 + 1, y0), (x0 - width - 1, y0),
    ):  # fmt: skip
        inside = (
            x >= limits[0] and y >= limits[1] and x + width <= limits[2] and y + height <= limits[3]
        )
        if inside and not any(
            x < other[2] and other[0] < x + width and y < other[3] and other[1] < y + height
            for other in taken
        ):
            return x, y, x + width, y + height
    return None
