"""Lesions of four diseases, each a small picture with its own opacity."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafscout.photos.synthetic.textures import make_smooth
from leafscout.types import FloatArray

MASK_ALPHA = 0.3
"""A pixel belongs to a mark's mask where the mark would cover at least this share of it."""


@dataclass(frozen=True, eq=False)
class Mark:
    """A small square picture to be blended into a photo, its centre on the mark's centre.

    Attributes:
        alpha: (side, side) how much of a pixel it covers at full contrast, 0..1.
        colours: (side, side, 3) RGB, 0..255.
    """

    alpha: FloatArray
    colours: FloatArray

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(side, side) True where a pixel counts as covered."""
        return self.alpha >= MASK_ALPHA


def draw_lesion(label: str, diameter_px: float, angle_rad: float, rng: np.random.Generator) -> Mark:
    """Draw one lesion of a disease.

    Args:
        label: one of ``DISEASES``.
        diameter_px: its largest extent in pixels.
        angle_rad: direction of the leaf's veins, which long lesions follow.
        rng: source of chance.
    """
    radius = diameter_px / 2
    reach = math.ceil(radius * 1.3) + 2
    steps = np.arange(-reach, reach + 1, dtype=np.float32)
    across, down = np.meshgrid(steps, steps)
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    along = ((across * cos + down * sin) / radius).astype(np.float32)
    aside = ((down * cos - across * sin) / radius).astype(np.float32)
    shape = (across.shape[0], across.shape[1])
    along += 0.2 * (make_smooth(rng, shape, 9) - 0.5)
    aside += 0.2 * (make_smooth(rng, shape, 9) - 0.5)
    alpha, colours = _PAINTERS[label](along, aside, radius, rng)
    grain = rng.normal(1, 0.05, (*alpha.shape, 1))
    tint = rng.normal(1, 0.04, 3)
    mottle = 0.8 + 0.4 * make_smooth(rng, shape, max(5, min(24, shape[0] // 3)))[..., None]
    painted = np.clip(colours * grain * mottle * tint, 0, 255).astype(np.float32)
    return Mark(alpha=np.clip(alpha, 0, 1).astype(np.float32), colours=painted)


def _inside(edge: FloatArray, radius: float) -> FloatArray:
    """Share of a pixel inside a border; ``edge`` is the distance from it in radii, outside > 0."""
    share: FloatArray = np.clip(0.5 - edge * radius / 1.3, 0, 1).astype(np.float32)
    return share


def _waver(
    along: FloatArray, aside: FloatArray, strength: float, rng: np.random.Generator
) -> FloatArray:
    """How far an uneven border lies from the centre in each direction, at most 1."""
    turn = np.arctan2(aside, along)
    border = np.ones_like(turn)
    for wave in range(2, 7):
        phase = float(rng.uniform(0, 2 * math.pi))
        border += strength / wave * np.sin(wave * turn + phase)
    return np.asarray(border / max(1.0, float(border.max())), dtype=np.float32)


def _measure(along: FloatArray, aside: FloatArray) -> FloatArray:
    """Distance from the centre in radii."""
    return np.asarray(np.hypot(along, aside), dtype=np.float32)


def _paint(stops: NDArray[np.float64], position: FloatArray) -> FloatArray:
    """Look up colours; each row of ``stops`` is a position and its RGB."""
    channels = [np.interp(position, stops[:, 0], stops[:, channel]) for channel in (1, 2, 3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def _blast(
    along: FloatArray, aside: FloatArray, radius: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """A spindle along the veins: grey centre, brown rim, a faint yellow halo."""
    width = float(rng.uniform(0.32, 0.42))
    lean = 1 + 0.18 * np.sin(along * 3 + float(rng.uniform(0, 6)))
    half = width * lean * (1 - np.minimum(np.abs(along), 1) ** 1.6)
    beyond = np.maximum(np.abs(along) - 1, 0) * 2
    edge = (np.abs(aside) - half + beyond).astype(np.float32)
    # a rim that comes and goes, and bleeds into the centre of large lesions
    rim_width = 0.13 + 0.05 * np.sin(along * 5 + float(rng.uniform(0, 6))).astype(np.float32)
    core = _inside((edge + rim_width) * 0.55, min(radius, 24.0))[..., None]
    body = _inside(edge, radius)[..., None]
    rim = np.array([104, 54, 26], dtype=np.float32)
    grey = np.array([198, 190, 168], dtype=np.float32) * (1 - 0.12 * np.abs(along[..., None]))
    halo = np.array([192, 178, 76], dtype=np.float32)
    colours = (rim * (1 - core) + grey * core) * body + halo * (1 - body)
    glow = 0.24 * np.clip(1 - edge / 0.16, 0, 1) * (np.abs(along) < 1.12)
    return np.maximum(body[..., 0] * 0.97, glow).astype(np.float32), colours


_RINGS = np.array(
    [
        (0.0, 176, 138, 92),
        (0.18, 164, 122, 74),
        (0.3, 82, 44, 22),
        (0.42, 132, 84, 44),
        (0.55, 70, 36, 18),
        (0.66, 120, 76, 38),
        (0.76, 66, 36, 20),
        (0.84, 208, 184, 62),
        (1.0, 198, 190, 86),
    ]
)


def _brown_spot(
    along: FloatArray, aside: FloatArray, radius: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """A round spot: rings of light and dark brown within a yellow halo."""
    flat = (aside / float(rng.uniform(0.82, 0.98))).astype(np.float32)
    far = _measure(along, flat) / _waver(along, flat, 0.16, rng)
    alpha = np.interp(far, [0.0, 0.76, 0.84, 0.97], [0.97, 0.97, 0.72, 0.5])
    return alpha.astype(np.float32) * _inside(far - 1, radius), _paint(_RINGS, far)


def _powdery_mildew(
    along: FloatArray, aside: FloatArray, radius: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """A patch of white felt that thins out to its border."""
    far = _measure(along, aside) / _waver(along, aside, 0.3, rng)
    shape = (along.shape[0], along.shape[1])
    felt = make_smooth(rng, shape, 6) * 0.5 + make_smooth(rng, shape, max(6, shape[0] // 4)) * 0.5
    cover = np.interp(far, [0.0, 0.5, 0.85, 1.0, 1.2], [0.95, 0.86, 0.55, 0.34, 0.0])
    lift = 1 + (felt - 0.5) * np.interp(far, [0, 0.9, 1.0], [0.7, 0.7, 0.25])
    white = np.array([236, 237, 230], dtype=np.float32)
    colours = (white * (0.9 + 0.14 * felt[..., None])).astype(np.float32)
    return (cover * lift * _inside(far - 1.25, radius)).astype(np.float32), colours


def _rust(
    along: FloatArray, aside: FloatArray, radius: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """A cluster of raised orange pustules, long with the veins, on a pale yellow patch."""
    far = _measure(along, aside) / _waver(along, aside, 0.2, rng)
    alpha = np.interp(far, [0.0, 0.8, 1.0, 1.2], [0.5, 0.42, 0.3, 0.0]).astype(np.float32)
    colours: FloatArray = np.empty((*along.shape, 3), dtype=np.float32)
    colours[:] = (188, 176, 74)
    count = int(np.clip(radius * 0.9, 6, 22))
    reach = 0.8 - 0.7 / radius
    for index in range(count):
        turn = index * 2.39996 + float(rng.normal(0, 0.35))  # the golden angle spreads them
        spread = reach * math.sqrt((index + 0.5) / count)
        size = float(rng.uniform(0.75, 1.2)) * 0.52 / math.sqrt(count) + 0.2 / radius
        right, up = along - spread * math.cos(turn), aside - spread * math.sin(turn)
        near = _measure(right / 1.35, up) / size
        body = _inside((near - 1) * size, radius)
        bright = np.interp(near, [0, 0.5, 1.0], [1.0, 0.7, 0.0])[..., None]
        orange = bright * np.array([236, 142, 42], np.float32) + (1 - bright) * np.array(
            [150, 62, 16], np.float32
        )
        colours = colours * (1 - body[..., None]) + orange * body[..., None]
        alpha = np.maximum(alpha, body * 0.97)
    return alpha, colours


_Painter = Callable[
    [FloatArray, FloatArray, float, np.random.Generator], tuple[FloatArray, FloatArray]
]

_PAINTERS: dict[str, _Painter] = {
    "blast": _blast,
    "brown_spot": _brown_spot,
    "powdery_mildew": _powdery_mildew,
    "rust": _rust,
}
