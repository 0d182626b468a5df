"""Can a lesion be seen at all in the small view? Its contrast against the noise around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leafscout.evaluation.json_values import JsonValue
from leafscout.evaluation.scores import Floats
from leafscout.types import Pixels

LEAST_NOISE = 0.3 / 255
"""What rounding to whole grey levels leaves: no surroundings are smoother than that."""

_RING = 1.0
_LEAST_RING_PX = 3.0


@dataclass(frozen=True)
class Visibility(JsonValue):
    """How a lesion stands out from its surroundings in a picture.

    Attributes:
        size_px: side of a square of the lesion's area, in pixels of the picture.
        contrast: distance of the mean colours of lesion and surroundings, 0..√3.
        noise: how much the surroundings vary in the direction of that difference, 0..1.
        score: contrast / noise · size, the signal-to-noise ratio of Rose (1948); eyes need about
            5 to be sure, and so does a network that looks everywhere.
    """

    size_px: float
    contrast: float
    noise: float
    score: float


def measure_visibility(
    pixels: Pixels, box_px_xyxy: tuple[float, float, float, float]
) -> Visibility:
    """Measure how a lesion stands out.

    Args:
        pixels: (height, width, 3) the picture, for example a glance.
        box_px_xyxy: the lesion in pixels of the picture; parts of pixels count as parts.
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = box_px_xyxy
    reach = max(_LEAST_RING_PX, _RING * max(right - left, bottom - top))
    # Only the neighbourhood is looked at: photos are large.
    x0, y0 = max(0, int(left - reach)), max(0, int(top - reach))
    x1, y1 = min(width, int(np.ceil(right + reach))), min(height, int(np.ceil(bottom + reach)))
    near = pixels[y0:y1, x0:x1].astype(np.float64) / 255
    inside = np.outer(_cover(y0, y1, top, bottom), _cover(x0, x1, left, right))
    size_px = float(np.sqrt(inside.sum()))
    around = np.where(inside > 0, 0.0, 1.0)
    if not inside.any() or not around.any():
        return Visibility(size_px, 0.0, LEAST_NOISE, 0.0)
    middle = _mean(near, around)
    difference = _mean(near, inside) - middle
    contrast = float(np.linalg.norm(difference))
    if contrast == 0:
        return Visibility(size_px, 0.0, LEAST_NOISE, 0.0)
    along = (near - middle) @ (difference / contrast)
    noise = max(LEAST_NOISE, float(np.sqrt((along**2 * around).sum() / around.sum())))
    return Visibility(size_px, contrast, noise, contrast / noise * size_px)


def _cover(start: int, stop: int, begin: float, end: float) -> Floats:
    """Share of each pixel from ``start`` to ``stop`` that lies between two positions."""
    pixel = np.arange(start, stop, dtype=np.float64)
    shared: Floats = np.clip(np.minimum(pixel + 1, end) - np.maximum(pixel, begin), 0.0, 1.0)
    return shared


def _mean(values: Floats, weights: Floats) -> Floats:
    mean: Floats = np.tensordot(weights, values, axes=2) / weights.sum()
    return mean
