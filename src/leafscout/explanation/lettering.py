"""Words, signs and framed pictures on a canvas, with the font that Pillow carries."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from leafscout.explanation.heat import Colour
from leafscout.types import Pixels

INK: Colour = (33, 37, 41)
QUIET: Colour = (99, 107, 115)
RULE: Colour = (222, 226, 230)
PAPER: Colour = (255, 255, 255)
GOOD: Colour = (0, 135, 98)
BAD: Colour = (213, 94, 0)
BLANK_EM = 0.28
"""Width of a blank, in font sizes."""

# The bundled font has ASCII and these; everything else would come out as an empty box.
_EXTRA_GLYPHS = frozenset("·…°“”‘’")
_SPELLED = str.maketrans({"×": "x", "–": "-", "—": "-", "−": "-", "ß": "ss", "≥": ">=", "≤": "<="})

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@cache
def load_font(size_px: int) -> Font:
    """The font that Pillow carries, at a size in pixels."""
    return ImageFont.load_default(size=size_px)


def spell(text: str) -> str:
    """The text in letters that the font has: accents dropped, controls as blanks, rest as ``?``."""
    plain = []
    for letter in unicodedata.normalize("NFKD", text.translate(_SPELLED)):
        if unicodedata.combining(letter):
            continue
        if " " <= letter <= "~" or letter in _EXTRA_GLYPHS:
            plain.append(letter)
        else:
            plain.append("?" if letter.isprintable() else " ")
    return "".join(plain)


def text_width_px(text: str, size_px: int) -> int:
    """Width of a line of text in pixels."""
    return round(sum(advance for _, advance in _words(text, size_px)))


def _words(text: str, size_px: int) -> list[tuple[str, float]]:
    """Words and how far each takes the pen; the font's own blanks are too narrow to read."""
    font, blank = load_font(size_px), BLANK_EM * size_px
    words = spell(text).split(" ")
    advances = [font.getlength(word) + blank for word in words]
    advances[-1] -= blank
    return list(zip(words, advances, strict=True))


def fit_text(text: str, size_px: int, width_px: int) -> str:
    """The text, its middle left out where it is wider than ``width_px``: ends tell photos apart."""
    text = spell(text)
    if text_width_px(text, size_px) <= width_px:
        return text

    def shorten(kept: int) -> str:
        return text[: kept - kept // 2] + "…" + text[len(text) - kept // 2 :]

    # Halving, not letter by letter: the names of hundreds of labels can be one text.
    kept = bisect_right(
        range(2, len(text)), width_px, key=lambda letters: text_width_px(shorten(letters), size_px)
    )
    return shorten(kept + 1) if kept else "…"


def wrap_text(text: str, size_px: int, width_px: int) -> list[str]:
    """The text as lines no wider than ``width_px``, broken at blanks."""
    lines: list[str] = []
    for word in spell(text).split():
        if lines and text_width_px(f"{lines[-1]} {word}", size_px) <= width_px:
            lines[-1] += f" {word}"
        else:
            lines.append(fit_text(word, size_px, width_px))
    return lines


class Canvas:
    """A picture under construction; every position is left, top in pixels."""

    def __init__(self, width_px: int, height_px: int, colour: Colour = PAPER) -> None:
        self.image = Image.new("RGB", (width_px, height_px), colour)
        self._draw = ImageDraw.Draw(self.image, "RGBA")

    def to_pixels(self) -> Pixels:
        """(height, width, 3) the finished picture."""
        return np.array(self.image, dtype=np.uint8)

    def write(
        self, xy: tuple[float, float], text: str, size_px: int, colour: Colour = INK
    ) -> float:
        """Write a line whose capitals start at ``xy``; returns where it ends, in pixels."""
        # Anchored by its baseline, so that lines with and without descenders stand alike.
        x, baseline = xy[0], xy[1] + 0.74 * size_px
        for word, advance in _words(text, size_px):
            font = load_font(size_px)
            self._draw.text((x, baseline), word, fill=colour, font=font, anchor="ls")
            x += advance
        return x

    def fill(
        self, box_xyxy: tuple[float, float, float, float], colour: Colour, radius_px: float = 0
    ) -> None:
        """Fill a box whose right and bottom are exclusive."""
        left, top, right, bottom = box_xyxy
        if right > left and bottom > top:
            self._draw.rounded_rectangle((left, top, right - 1, bottom - 1), radius_px, fill=colour)

    def frame(
        self,
        box_xyxy: tuple[float, float, float, float],
        colour: Colour,
        thick_px: int = 1,
        alpha: float = 1.0,
    ) -> None:
        """Draw the inner border of a box whose right and bottom are exclusive."""
        left, top, right, bottom = (round(edge) for edge in box_xyxy)
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        outline = (*colour, round(255 * alpha))
        self._draw.rectangle((left, top, right - 1, bottom - 1), outline=outline, width=thick_px)

    def tag(self, xy: tuple[float, float], text: str, size_px: int, colour: Colour) -> None:
        """Write on a filled label of ``tag_size_px``; ink or paper, whichever reads better."""
        width, height = tag_size_px(text, size_px)
        self.fill((xy[0], xy[1], xy[0] + width, xy[1] + height), colour, radius_px=3)
        bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 125
        self.write(
            (xy[0] + 0.35 * size_px, xy[1] + 0.26 * size_px),
            text,
            size_px,
            INK if bright else PAPER,
        )

    def paste(self, xy: tuple[float, float], pixels: Pixels) -> None:
        """Put a picture in place."""
        self.image.paste(Image.fromarray(pixels), (round(xy[0]), round(xy[1])))

    def tick(self, xy: tuple[float, float], side_px: float, colour: Colour) -> None:
        """Draw a tick in a square."""
        self._stroke(xy, side_px, colour, ((0.1, 0.55), (0.4, 0.85), (0.92, 0.18)))

    def cross(self, xy: tuple[float, float], side_px: float, colour: Colour) -> None:
        """Draw a cross in a square."""
        self._stroke(xy, side_px, colour, ((0.15, 0.15), (0.85, 0.85)))
        self._stroke(xy, side_px, colour, ((0.85, 0.15), (0.15, 0.85)))

    def _stroke(
        self,
        xy: tuple[float, float],
        side_px: float,
        colour: Colour,
        points: tuple[tuple[float, float], ...],
    ) -> None:
        placed = [(xy[0] + side_px * x, xy[1] + side_px * y) for x, y in points]
        self._draw.line(placed, fill=colour, width=max(2, round(side_px / 6)), joint="curve")


def tag_size_px(text: str, size_px: int) -> tuple[int, int]:
    """Width and height of a tag in pixels."""
    return round(text_width_px(text, size_px) + 0.7 * size_px), round(1.35 * size_px)
