"""Colours: a perceptually even ramp for evidence, and fixed colours for labels."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leafscout.types import FloatArray, Pixels

Colour = tuple[int, int, int]

LABEL_COLOURS: tuple[Colour, ...] = (
    (86, 180, 233),
    (204, 121, 167),
    (240, 228, 66),
    (213, 94, 0),
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (190, 190, 190),
)
"""The palette of Okabe & Ito (2008), which colour-blind readers can tell apart, grey for
black; what stands out best on leaves comes first."""

COLD_PROB = 0.15
"""Evidence at or below it stays transparent."""
HEAT_ALPHA = 0.62
"""Opacity of certain evidence."""
UNREAD_GREY = 0.7
"""How far what was only glanced at loses its colour, 0..1."""
UNREAD_DIM = 0.82
"""Brightness of what was only glanced at."""

# From OKLab (lightness, green-red, blue-yellow) to the cube roots of cone responses, and on to
# linear sRGB: Ottosson (2020), "A perceptual color space for image processing".
_TO_CONES = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@cache
def heat_ramp() -> Pixels:
    """The colours of evidence 0..1: (256, 1, 3) from deep violet over red to pale yellow.

    Lightness in OKLab rises evenly, so that equal steps of evidence look equal, in grey print and
    to colour-blind readers too.
    """
    at = np.linspace(0.0, 1.0, 256)
    lightness = 0.33 + 0.61 * at
    hue = np.deg2rad(np.interp(at, [0.0, 0.45, 1.0], [-55.0, 25.0, 105.0]))
    chroma = np.interp(at, [0.0, 0.45, 1.0], [0.13, 0.19, 0.14])
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    linear = np.clip((lab @ _TO_CONES.T) ** 3 @ _TO_RGB.T, 0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    ramp: Pixels = np.round(255 * encoded).astype(np.uint8)[:, None]
    ramp.flags.writeable = False  # one array serves every caller
    return ramp


def resample_map(
    prob_map: FloatArray,
    cell_px: int,
    box_px_xyxy: tuple[float, float, float, float],
    size_px_hw: tuple[int, int],
) -> FloatArray:
    """Read a part of a map of cells at the size of a picture, smoothly between the cells.

    Args:
        prob_map: (rows, columns) 0..1.
        cell_px: side of a cell in pixels of the photo.
        box_px_xyxy: the part, in pixels of the photo.
        size_px_hw: height and width of the picture.

    Returns:
        ``size_px_hw`` values 0..1.
    """
    # Pillow wants the box inside the image; the map's last cells reach to the photo's border.
    rows, columns = prob_map.shape
    left, top, right, bottom = (edge / cell_px for edge in box_px_xyxy)
    box = (max(left, 0.0), max(top, 0.0), min(right, columns), min(bottom, rows))
    image = Image.fromarray(np.ascontiguousarray(prob_map, dtype=np.float32))
    out = image.resize((size_px_hw[1], size_px_hw[0]), Image.Resampling.BICUBIC, box=box)
    values: FloatArray = np.clip(np.asarray(out, dtype=np.float32), 0.0, 1.0)
    return values


def paint_heat(pixels: Pixels, probs: FloatArray) -> Pixels:
    """Lay evidence over a picture: transparent where cold, never opaque.

    Args:
        pixels: (height, width, 3) the picture.
        probs: (height, width) evidence 0..1, on one absolute scale for every photo.
    """
    warm = np.clip((probs - COLD_PROB) / (1.0 - COLD_PROB), 0.0, 1.0)
    alpha = (HEAT_ALPHA * warm**0.7)[..., None]
    colours = heat_ramp()[np.round(255 * np.clip(probs, 0, 1)).astype(np.uint8), 0]
    mixed = (1.0 - alpha) * pixels + alpha * colours
    painted: Pixels = np.round(mixed).astype(np.uint8)
    return painted


def fade_unread(pixels: Pixels, looked_at: NDArray[np.bool_]) -> Pixels:
    """Take colour and a little light from the parts that were only glanced at.

    Args:
        pixels: (height, width, 3).
        looked_at: (height, width) True where the expert looked.
    """
    grey = pixels @ np.array([0.299, 0.587, 0.114])
    faded = UNREAD_DIM * (UNREAD_GREY * grey[..., None] + (1.0 - UNREAD_GREY) * pixels)
    out: Pixels = np.where(looked_at[..., None], pixels, np.round(faded).astype(np.uint8))
    return out
