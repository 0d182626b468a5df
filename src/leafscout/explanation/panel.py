"""The words and small pictures around an overlay: verdict, closest look, legend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from PIL import Image

from leafscout.explanation.heat import (
    LABEL_COLOURS,
    Colour,
    heat_ramp,
    paint_heat,
    resample_map,
)
from leafscout.explanation.lettering import (
    GOOD,
    QUIET,
    RULE,
    Canvas,
    fit_text,
    text_width_px,
    wrap_text,
)
from leafscout.types import Diagnosis, FloatArray, Photo, Pixels

WARNING_PAPER: Colour = (255, 241, 201)
WARNING_INK: Colour = (97, 67, 0)


@dataclass(frozen=True)
class Scale:
    """Sizes of a picture that is ``width_px`` wide; drawn for 1600."""

    width_px: int

    def px(self, at_1600: float) -> int:
        """A length in pixels, at least 1."""
        return max(1, round(at_1600 * self.width_px / 1600))


def label_colour(diagnosis: Diagnosis, label: str) -> Colour:
    """The colour of a label: the same in every picture of one model."""
    return LABEL_COLOURS[diagnosis.labels.index(label) % len(LABEL_COLOURS)]


def shown_map(diagnosis: Diagnosis) -> FloatArray:
    """(rows, columns) strongest evidence for the labels present, or for any when none is."""
    shown = [name in diagnosis.present for name in diagnosis.labels]
    chosen = diagnosis.lesion_map[shown] if any(shown) else diagnosis.lesion_map
    strongest: FloatArray = chosen.max(axis=0)
    return strongest


def closest_tile(diagnosis: Diagnosis) -> int:
    """The tile that speaks loudest for the labels present; the scout's first where none is read."""
    if not diagnosis.read.any():
        return int(diagnosis.scout_probs.argmax())
    shown = [name in diagnosis.present for name in diagnosis.labels]
    probs = diagnosis.tile_probs[:, shown] if any(shown) else diagnosis.tile_probs
    return int(np.nan_to_num(probs, nan=-1.0).max(axis=1).argmax())


def percent(share: float) -> str:
    """A share of 0..1 as a short percentage."""
    if 0 < share < 0.001:
        return "under 0.1%"
    return f"{100 * share:.1f}%" if share < 0.0995 and share > 0 else f"{100 * share:.0f}%"


def describe_cost(diagnosis: Diagnosis) -> str:
    """One line: what was looked at, and what that cost."""
    cost = diagnosis.cost
    parts = [
        f"tiles looked at: {cost.tiles_read} of {cost.tiles_total}",
        f"{percent(cost.area_read_frac)} of the photo",
    ]
    if cost.macs_all_tiles > 0:
        parts.append(f"cost: {percent(cost.macs / cost.macs_all_tiles)} of reading all tiles")
    if cost.seconds > 0:
        parts.append(f"{cost.seconds:.2f} s")
    return "  ·  ".join(parts)


def describe_health(diagnosis: Diagnosis) -> str:
    """What "healthy" rests on."""
    count = int(diagnosis.read.sum())
    if not count:
        return "nothing worth a closer look"
    return (
        f"nothing found in the {count} tiles looked at"
        if count > 1
        else ("nothing found in the tile looked at")
    )


def header_height_px(diagnosis: Diagnosis, scale: Scale) -> int:
    """Height of what ``draw_header`` draws."""
    lines = _warning_lines(diagnosis, scale)
    return scale.px(124) + (scale.px(24) + len(lines) * scale.px(28) if lines else 0)


def draw_header(canvas: Canvas, diagnosis: Diagnosis, scale: Scale) -> None:
    """The verdict, what it cost, and why it may be unsure."""
    left, right = scale.px(28), scale.width_px - scale.px(28)
    _draw_verdict(canvas, diagnosis, scale, right)
    height, width = diagnosis.photo_size_px_hw
    end = canvas.write((left, scale.px(86)), describe_cost(diagnosis), scale.px(20), QUIET)
    size = f"  ·  {width} × {height} px"
    room = right - end - scale.px(40) - text_width_px(size, scale.px(20))
    name = fit_text(PurePath(diagnosis.source).name, scale.px(20), max(0, int(room))) + size
    start = right - text_width_px(name, scale.px(20))
    if start > end:
        canvas.write((start, scale.px(86)), name, scale.px(20), QUIET)
    top = scale.px(120)
    canvas.fill((0, top, scale.width_px, top + scale.px(1)), RULE)
    lines = _warning_lines(diagnosis, scale)
    if lines:
        bottom = header_height_px(diagnosis, scale)
        canvas.fill((0, top, scale.width_px, bottom), WARNING_PAPER)
        for index, line in enumerate(lines):
            at = top + scale.px(16) + index * scale.px(28)
            canvas.write((left, at), line, scale.px(21), WARNING_INK)


def _draw_verdict(canvas: Canvas, diagnosis: Diagnosis, scale: Scale, right_px: int) -> None:
    x, y, size = float(scale.px(28)), scale.px(28), scale.px(38)
    sign = scale.px(30)
    if diagnosis.healthy:
        canvas.tick((x, y), sign, GOOD)
        x = canvas.write((x + scale.px(44), y), f"healthy {diagnosis.healthy_prob:.2f}", size)
        rest = describe_health(diagnosis)
    else:
        probs = dict(zip(diagnosis.labels, diagnosis.label_probs.tolist(), strict=True))
        ranked = sorted(diagnosis.present, key=lambda name: -probs[name])
        rest = f"healthy {diagnosis.healthy_prob:.2f}"
        reserved = text_width_px(f"+ 99 more   {rest}", scale.px(26)) + scale.px(60)
        for index, name in enumerate(ranked):
            room = int(right_px - x - reserved)
            if index and text_width_px(f"{name} 0.00", size) > room - sign:
                rest = f"+ {len(ranked) - index} more    {rest}"
                break
            canvas.fill((x, y, x + sign, y + sign), label_colour(diagnosis, name), scale.px(5))
            text = fit_text(name, size, room - text_width_px(" 0.00", size) - sign)
            x = canvas.write((x + scale.px(44), y), f"{text} {probs[name]:.2f}", size)
            x += scale.px(36)
        x -= scale.px(36)
    canvas.write((x + scale.px(36), y + scale.px(9)), rest, scale.px(26), QUIET)


def _warning_lines(diagnosis: Diagnosis, scale: Scale) -> list[str]:
    if diagnosis.unsure is None:
        return []
    return wrap_text(
        f"Unsure, so a person should check: {diagnosis.unsure}",
        scale.px(21),
        scale.width_px - 2 * scale.px(28),
    )[:3]


def draw_closest_look(
    canvas: Canvas,
    photo: Photo,
    diagnosis: Diagnosis,
    corners_px_xy: tuple[tuple[float, float], ...],
    side_px: int,
    scale: Scale,
) -> None:
    """The loudest tile at full resolution: plain, and with its heat where it was read.

    Args:
        canvas: to draw on.
        photo: the photo.
        diagnosis: its diagnosis.
        corners_px_xy: left and top of each picture; the second one, only for a tile that was
            read, gets the heat.
        side_px: side of the square that each picture is fitted into.
        scale: sizes.
    """
    tile = closest_tile(diagnosis)
    left, top, right, bottom = (int(edge) for edge in diagnosis.tiles.boxes_px_xyxy[tile])
    plain = fit_pixels(photo.pixels[top:bottom, left:right], side_px, side_px)
    font, above = scale.px(19), scale.px(30)
    x, y = corners_px_xy[0]
    canvas.write((x, y - above), fit_text(_name_tile(diagnosis, tile), font, side_px), font)
    canvas.paste((x, y), plain)
    if diagnosis.read[tile]:
        x, y = corners_px_xy[1]
        heat = resample_map(
            shown_map(diagnosis),
            diagnosis.lesion_map_px,
            (left, top, right, bottom),
            (plain.shape[0], plain.shape[1]),
        )
        canvas.write((x, y - above), fit_text("The same tile with evidence", font, side_px), font)
        canvas.paste((x, y), paint_heat(plain, heat))


def _name_tile(diagnosis: Diagnosis, tile: int) -> str:
    if not diagnosis.read[tile]:
        return f"Most suspicious tile: scout {diagnosis.scout_probs[tile]:.2f}, not read"
    shown = diagnosis.present or diagnosis.labels
    best = max(
        (float(prob), name)
        for name, prob in zip(diagnosis.labels, diagnosis.tile_probs[tile], strict=True)
        if name in shown
    )
    return f"Closest look: {best[1]} {best[0]:.2f}"


def fit_pixels(pixels: Pixels, width_px: int, height_px: int) -> Pixels:
    """A picture at the largest size that fits, aspect ratio kept."""
    height, width = pixels.shape[:2]
    ratio = min(width_px / width, height_px / height)
    return stretch_pixels(pixels, max(1, round(width * ratio)), max(1, round(height * ratio)))


def stretch_pixels(pixels: Pixels, width_px: int, height_px: int) -> Pixels:
    """A picture at another size."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    out: Pixels = np.array(
        image.resize((width_px, height_px), Image.Resampling.LANCZOS, reducing_gap=3.0)
    )
    return out


def draw_legend(
    canvas: Canvas, diagnosis: Diagnosis, xy: tuple[float, float], width_px: int, scale: Scale
) -> None:
    """One line under the photo: what colour and grey mean."""
    font, (x, y) = scale.px(18), xy
    if not diagnosis.read.any():
        text = "Glanced at as a whole; no tile was read at full resolution."
        _write_longest(
            canvas, (x, y), (text, "Glanced at as a whole", "Glanced at"), width_px, font
        )
        return
    x = canvas.write((x, y), "evidence 0", font, QUIET) + scale.px(7)
    length, thick = scale.px(150), scale.px(13)
    ramp = np.broadcast_to(heat_ramp()[:, 0], (thick, 256, 3))
    strip = Image.fromarray(np.ascontiguousarray(ramp)).resize((length, thick))
    canvas.paste((x, y), np.array(strip))
    x = canvas.write((x + length + scale.px(7), y), "1", font, QUIET)
    if not diagnosis.read.all():
        grey = "   ·   grey: only glanced at"
        texts = f"   ·   in colour: tiles looked at{grey}", grey
        _write_longest(canvas, (x, y), texts, xy[0] + width_px - x, font)


def _write_longest(
    canvas: Canvas, xy: tuple[float, float], texts: tuple[str, ...], width_px: float, font: int
) -> None:
    """Write the first text that fits, or none."""
    for text in texts:
        if text_width_px(text, font) <= width_px:
            canvas.write(xy, text, font, QUIET)
            return
