"""A bar per label: its probability, and a mark at its threshold."""

from __future__ import annotations

import numpy as np

from leafscout.explanation.heat import Colour
from leafscout.explanation.lettering import (
    GOOD,
    INK,
    PAPER,
    QUIET,
    Canvas,
    fit_text,
    text_width_px,
)
from leafscout.explanation.panel import Scale, label_colour
from leafscout.types import Diagnosis

MAX_BARS = 12
TRACK: Colour = (236, 239, 242)
CALM: Colour = (160, 168, 176)


def bars_height_px(diagnosis: Diagnosis, columns: int, scale: Scale) -> int:
    """Height of what ``draw_bars`` draws."""
    rows = -(-(min(len(diagnosis.labels), MAX_BARS) + 1) // columns)
    more = scale.px(26) if len(diagnosis.labels) > MAX_BARS else 0
    return scale.px(32) + rows * scale.px(48) + more


def draw_bars(
    canvas: Canvas,
    diagnosis: Diagnosis,
    xy: tuple[float, float],
    width_px: int,
    columns: int,
    scale: Scale,
) -> None:
    """A bar per label with a mark at its threshold, the strongest first; healthy comes last."""
    font = scale.px(18)
    canvas.write(xy, "Probability, and the threshold of each label", scale.px(19), INK)
    order = np.argsort(-diagnosis.label_probs, kind="stable")[:MAX_BARS].tolist()
    entries: list[tuple[str, float, float | None, Colour]] = []
    for index in order:
        name = diagnosis.labels[index]
        colour = label_colour(diagnosis, name) if name in diagnosis.present else CALM
        entries.append((name, float(diagnosis.label_probs[index]),
                        float(diagnosis.thresholds[index]), colour))  # fmt: skip
    entries.append(("healthy", diagnosis.healthy_prob, None, GOOD if diagnosis.healthy else CALM))
    rows = -(-len(entries) // columns)
    gap = scale.px(32)
    bar_width = (width_px - gap * (columns - 1)) // columns
    for index, entry in enumerate(entries):
        column, row = divmod(index, rows)
        left = xy[0] + column * (bar_width + gap)
        _draw_bar(
            canvas, entry, (left, xy[1] + scale.px(32) + row * scale.px(48)), bar_width, scale
        )
    if len(diagnosis.labels) > MAX_BARS:
        below = xy[1] + scale.px(34) + rows * scale.px(48)
        rest = len(diagnosis.labels) - MAX_BARS
        canvas.write((xy[0], below), f"and {rest} more labels, all weaker", font, QUIET)


def _draw_bar(
    canvas: Canvas,
    entry: tuple[str, float, float | None, Colour],
    xy: tuple[float, float],
    width_px: int,
    scale: Scale,
) -> None:
    name, prob, threshold, colour = entry
    font = scale.px(18)
    value = f"{prob:.2f}"
    room = width_px - text_width_px(value, font) - scale.px(12)
    ink = QUIET if colour == CALM else INK
    canvas.write(xy, fit_text(name, font, room), font, ink)
    canvas.write((xy[0] + width_px - text_width_px(value, font), xy[1]), value, font, ink)
    top, thick = xy[1] + scale.px(22), scale.px(10)
    canvas.fill((xy[0], top, xy[0] + width_px, top + thick), TRACK, thick / 2)
    if prob > 0:
        filled = max(thick, prob * width_px)
        canvas.fill((xy[0], top, xy[0] + filled, top + thick), colour, thick / 2)
    if threshold is not None:
        at = xy[0] + min(max(threshold, 0.0), 1.0) * width_px
        over = scale.px(4)
        canvas.fill((at - over / 2, top - over, at + over / 2 + 1, top + thick + over), PAPER)
        canvas.fill((at, top - over, at + scale.px(2), top + thick + over), INK)
