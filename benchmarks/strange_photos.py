"""Photos that no plant is on, or another crop, drawn by rules; and troubles that befall photos."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Pixels = NDArray[np.uint8]
Rng = np.random.Generator
Draw = Callable[[Rng, int, int], Pixels]
QUALITY = 92
"""Of the JPEG files that everything ends in, as rendered photos do."""


def save_jpeg(pixels: Pixels, quality: int = QUALITY) -> bytes:
    """The bytes of a JPEG file."""
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "RGB")


# What is no photo of the crop ---------------------------------------------------------------------


def draw_wall(rng: Rng, height: int, width: int) -> Pixels:
    """Plaster or bricks, in warm or cold light."""
    base = rng.uniform(90, 240) * np.array([1.0, rng.uniform(0.9, 1.0), rng.uniform(0.75, 1.0)])
    grain = 8 * _draw_noise(rng, height, width, max(height, width) // 2)
    grain += rng.uniform(0, 5) * _draw_noise(rng, height, width, 3)
    grain += rng.uniform(0.5, 4) * _draw_noise(rng, height, width, 1)
    pixels = base + grain[..., None]
    if rng.random() < 0.5:
        high = max(6, int(height * rng.uniform(0.05, 0.12)))
        joint = max(1, high // 12)
        for row, top in enumerate(range(0, height, high)):
            pixels[top : top + joint] *= 0.75
            for left in range((row % 2) * 3 * high // 2, width, 3 * high):
                pixels[top : top + high, left : left + joint] *= 0.75
    return _to_pixels(pixels)


def draw_soil(rng: Rng, height: int, width: int) -> Pixels:
    """Bare earth."""
    base = np.array([120.0, 90.0, 65.0]) * rng.uniform(0.6, 1.4)
    grain = sum(
        strength * _draw_noise(rng, height, width, scale)
        for scale, strength in ((40, 10), (12, 10), (4, 10), (1, 6))
    )
    return _to_pixels(base + np.asarray(grain)[..., None] * np.array([1.0, 0.9, 0.8]))


def draw_sky(rng: Rng, height: int, width: int) -> Pixels:
    """Blue above, paler below, with clouds."""
    down = np.linspace(0, 1, height)[:, None, None]
    clear = np.array([70.0, 130, 220]) * rng.uniform(0.8, 1.15) * (1 - down)
    clear = clear + np.array([180.0, 210, 240]) * down
    cloud = _draw_noise(rng, height, width, max(height, width) // 4)
    cloud += 0.5 * _draw_noise(rng, height, width, max(height, width) // 12)
    share = 0.8 * np.clip(cloud, 0, 1.5)[..., None] / 1.5
    return _to_pixels(
        clear * (1 - share) + 245 * share + 1.5 * rng.standard_normal((height, width, 1))
    )


def draw_text(rng: Rng, height: int, width: int) -> Pixels:
    """A screen full of text, dark on light or the other way round."""
    dark = rng.random() < 0.3
    image = Image.new("RGB", (width, height), (30, 30, 35) if dark else (250, 250, 250))
    canvas = ImageDraw.Draw(image)
    size = max(10, int(height * rng.uniform(0.025, 0.06)))
    font = ImageFont.load_default(size)
    for top in range(size, height, int(size * 1.5)):
        letters = rng.integers(97, 123, int(rng.integers(5, 90)))
        words = "".join(" " if rng.random() < 0.17 else chr(letter) for letter in letters)
        canvas.text((size, top), words, fill=(210,) * 3 if dark else (20,) * 3, font=font)
    return np.array(image)


def draw_windows(rng: Rng, height: int, width: int) -> Pixels:
    """A desktop with windows."""
    image = Image.new("RGB", (width, height), _draw_colour(rng, 20, 230))
    canvas = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 7))):
        x, y = int(rng.integers(0, width * 3 // 4)), int(rng.integers(0, height * 3 // 4))
        wide = int(rng.integers(width // 5, width * 3 // 4))
        high = int(rng.integers(height // 5, height * 3 // 4))
        canvas.rectangle(
            (x, y, x + wide, y + high), fill=_draw_colour(rng, 225, 256), outline=(90, 90, 90)
        )
        canvas.rectangle((x, y, x + wide, y + height // 25), fill=_draw_colour(rng, 40, 200))
        for line in range(y + height // 12, y + high, max(4, height // 30)):
            end = x + 8 + int(wide * rng.uniform(0.1, 0.9))
            canvas.line((x + 8, line, end, line), fill=(60, 60, 60), width=max(1, height // 150))
    return np.array(image)


def draw_gradient(rng: Rng, height: int, width: int) -> Pixels:
    """One colour running into another."""
    first, last = rng.integers(0, 256, 3), rng.integers(0, 256, 3)
    across = rng.random() * np.linspace(0, 1, width)[None, :, None]
    along = across + rng.random() * np.linspace(0, 1, height)[:, None, None]
    return _to_pixels(first + (last - first) * along / max(float(along.max()), 1e-6))


def draw_checkerboard(rng: Rng, height: int, width: int) -> Pixels:
    """Squares of two colours."""
    side = int(rng.integers(max(4, height // 60), height // 6))
    first, other = rng.integers(0, 256, 3), rng.integers(0, 256, 3)
    rows, columns = np.arange(height)[:, None] // side, np.arange(width)[None] // side
    return np.where(((rows + columns) % 2)[..., None], first, other).astype(np.uint8)


def draw_broad_leaves(rng: Rng, height: int, width: int) -> Pixels:
    """Another crop: broad, round, bluish leaves over earth."""
    image = Image.fromarray(draw_soil(rng, height, width))
    hue = int(rng.integers(95, 120))
    for _ in range(int(rng.integers(7, 14))):
        long = int(max(height, width) * rng.uniform(0.25, 0.5))
        short = int(long * rng.uniform(0.7, 0.95))
        shade = 110 + 30 * rng.random() + 14 * _draw_noise(rng, short, long, max(8, long // 6))
        shade += 3 * _draw_noise(rng, short, long, 1)
        ribs = np.abs((np.arange(long)[None] / long * 9 + np.arange(short)[:, None] / short) % 1)
        shade += 16 * (ribs < 0.08)
        colour = np.stack(
            [np.full_like(shade, hue), np.full_like(shade, rng.uniform(70, 140)), shade], axis=-1
        )
        leaf = Image.fromarray(_to_pixels(colour), "HSV").convert("RGB")
        outline = Image.new("L", (long, short), 0)
        ImageDraw.Draw(outline).ellipse((1, 1, long - 2, short - 2), fill=255)
        turn = float(rng.uniform(0, 180))
        leaf, outline = (one.rotate(turn, expand=True) for one in (leaf, outline))
        corner = (
            int(rng.integers(-long // 2, width - long // 4)),
            int(rng.integers(-short // 2, height - short // 4)),
        )
        image.paste(leaf, corner, outline)
    noisy = np.array(image) + 4 * rng.standard_normal((height, width, 1))
    return _to_pixels(noisy)


STRANGERS: dict[str, Draw] = {
    "walls": draw_wall,
    "bare soil": draw_soil,
    "sky": draw_sky,
    "screens of text": draw_text,
    "screens with windows": draw_windows,
    "gradients": draw_gradient,
    "checkerboards": draw_checkerboard,
    "another crop: broad bluish leaves": draw_broad_leaves,
}
"""What is drawn → how, from a generator, a height and a width."""


def recolour_leaves(pixels: Pixels, turn: int) -> Pixels:
    """Another crop by its colour: the hue of what is green, turned by so many 256ths of a round."""
    hsv = np.array(Image.fromarray(pixels).convert("HSV"))
    green = (hsv[..., 0] > 45) & (hsv[..., 0] < 130)
    hsv[..., 0] = np.where(green, (hsv[..., 0].astype(int) + turn) % 256, hsv[..., 0])
    return np.array(Image.fromarray(hsv, "HSV").convert("RGB"))


RECOLOURED = {"another crop: yellow leaves": -35, "another crop: bluish leaves": 35,
              "another crop: purple leaves": 130}  # fmt: skip


# Troubles -----------------------------------------------------------------------------------------


def blur(pixels: Pixels, strength: float, rng: Rng) -> bytes:
    """Out of focus: a Gaussian of so many pixels."""
    del rng
    return save_jpeg(np.array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(strength))))


def add_noise(pixels: Pixels, strength: float, rng: Rng) -> bytes:
    """Noise of so many grey levels."""
    return save_jpeg(_to_pixels(pixels + strength * rng.standard_normal(pixels.shape)))


def expose(pixels: Pixels, strength: float, rng: Rng) -> bytes:
    """So many stops too dark or too bright; what is too bright is lost."""
    stops = strength if rng.random() < 0.5 else -strength
    return save_jpeg(_to_pixels(pixels * 2.0**stops))


def compress(pixels: Pixels, strength: float, rng: Rng) -> bytes:
    """A JPEG of this quality."""
    del rng
    return save_jpeg(pixels, round(strength))


def shift_colours(pixels: Pixels, strength: float, rng: Rng) -> bytes:
    """White taken wrongly: red and blue scaled apart by this share, one way or the other."""
    share = strength if rng.random() < 0.5 else -strength
    return save_jpeg(_to_pixels(pixels * np.array([1 + share, 1.0, 1 - share])))


Trouble = Callable[[Pixels, float, Rng], bytes]
TROUBLES: dict[str, tuple[Trouble, str, tuple[float, float, float]]] = {
    "blur": (blur, "px", (1.0, 2.0, 3.0)),
    "noise": (add_noise, "grey levels", (8.0, 16.0, 32.0)),
    "exposure": (expose, "stops", (0.5, 1.0, 1.5)),
    "JPEG": (compress, "quality", (40.0, 20.0, 10.0)),
    "colour": (shift_colours, "of red and blue", (0.08, 0.16, 0.25)),
}
"""Trouble → how it is done, the unit, and three strengths."""


def _draw_noise(rng: Rng, height: int, width: int, scale: int) -> NDArray[np.float32]:
    scale = max(1, scale)
    size = (math.ceil(height / scale) + 1, math.ceil(width / scale) + 1)
    coarse = Image.fromarray(rng.standard_normal(size).astype(np.float32))
    return np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))


def _draw_colour(rng: Rng, low: int, high: int) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def _to_pixels(values: NDArray[np.floating]) -> Pixels:
    return np.clip(values, 0, 255).astype(np.uint8)


def open_pixels(data: bytes) -> Pixels:
    """Pixels of a file made here."""
    return np.array(Image.open(io.BytesIO(data)))
