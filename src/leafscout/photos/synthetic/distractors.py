"""What could be taken for a lesion: stand-ins in a lesion's own paint, insect holes, shadows."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from leafscout.photos.synthetic.lesions import Mark
from leafscout.photos.synthetic.textures import make_smooth
from leafscout.types import FloatArray

STAND_INS = ("debris", "splinter")
SOLID_ALPHA = 0.32
FAINT_ALPHA = 0.04


def draw_stand_in(kind: str, paint: Mark, angle_rad: float, rng: np.random.Generator) -> Mark:
    """Arrange the very pixels of a lesion into a chip of debris or a splinter.

    The pixels keep their colours and opacities, so the histogram of the mark stays that of the
    lesion; the thin ones go to the border, the others run from dark to light across the shape.

    Args:
        kind: ``debris``, an angular chip, or ``splinter``, a bar that crosses the veins.
        paint: the lesion whose pixels are used.
        angle_rad: direction of the leaf's veins.
        rng: source of chance.
    """
    taken = paint.alpha > FAINT_ALPHA
    alpha, colours = paint.alpha[taken], paint.colours[taken]
    count = len(alpha)
    reach = math.ceil(math.sqrt(count) * 1.25) + 3
    steps = np.arange(-reach, reach + 1, dtype=np.float32)
    across, down = np.meshgrid(steps, steps)
    turn = angle_rad + math.pi / 2 + float(rng.uniform(-0.7, 0.7))
    cos, sin = math.cos(turn), math.sin(turn)
    along, aside = across * cos + down * sin, down * cos - across * sin
    edge = _chip(along, aside, rng) if kind == "debris" else _bar(along, aside, rng)
    order = np.argsort(edge, axis=None, kind="stable")[:count]

    solid = alpha >= SOLID_ALPHA
    light = colours.sum(axis=1) * alpha
    source = np.lexsort((np.where(solid, light, 0), np.where(solid, -2.0, -alpha)))
    inner = int(solid.sum())
    mottle = make_smooth(rng, (along.shape[0], along.shape[1]), 9) - 0.5
    run = (along + 0.35 * aside * float(rng.choice([-1, 1])) + 0.7 * reach * mottle).ravel()
    order[:inner] = order[:inner][np.argsort(run[order[:inner]], kind="stable")]
    out_alpha = np.zeros(along.size, dtype=np.float32)
    out_colours = np.zeros((along.size, 3), dtype=np.float32)
    out_alpha[order] = alpha[source]
    out_colours[order] = colours[source]
    return Mark(alpha=out_alpha.reshape(along.shape), colours=out_colours.reshape(*along.shape, 3))


def _chip(along: FloatArray, aside: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Distance from the middle of an angular shape of three to five sides."""
    sides = int(rng.integers(3, 6))
    turns = np.sort(rng.uniform(0, 0.5, sides) + np.arange(sides)) * (2 * math.pi / sides)
    edge = np.full_like(along, -np.inf)
    for turn in turns:
        normal = float(rng.uniform(0.8, 1.25))
        edge = np.maximum(edge, (along * math.cos(turn) + aside * math.sin(turn)) * normal)
    return edge


def _bar(along: FloatArray, aside: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Distance from the middle of a straight bar with slanted ends."""
    aspect = float(rng.uniform(1.5, 2.1))
    slant = float(rng.uniform(-0.4, 0.4))
    return np.maximum(np.abs(along + slant * aside) / aspect, np.abs(aside))


def draw_insect_hole(diameter_px: float, rng: np.random.Generator) -> Mark:
    """Draw a hole that an insect ate: lobed, the dark ground behind it, a thin dry border."""
    radius = diameter_px / 2
    reach = math.ceil(radius * 1.2) + 2
    steps = np.arange(-reach, reach + 1, dtype=np.float32) / radius
    across, down = np.meshgrid(steps, steps)
    edge = np.full_like(across, np.inf)
    for _ in range(4):
        x, y = rng.uniform(-0.42, 0.42, 2)
        size = float(rng.uniform(0.3, 0.55))
        edge = np.minimum(edge, np.hypot(across - x, down - y) - size)
    hole = np.clip(0.5 - edge * radius / 1.3, 0, 1)[..., None]
    lip = np.clip(0.5 - (edge - 1.6 / radius) * radius / 1.3, 0, 1)
    dark = np.array([24, 20, 14], dtype=np.float32) + 14 * (down[..., None] + 1)
    colours = dark * hole + np.array([150, 138, 84], dtype=np.float32) * (1 - hole)
    return Mark(alpha=lip.astype(np.float32), colours=colours.astype(np.float32))


def draw_shadow_spot(diameter_px: float, rng: np.random.Generator) -> Mark:
    """Draw the small soft shadow of something out of sight."""
    radius = diameter_px / 2
    reach = math.ceil(radius * 1.3) + 2
    steps = np.arange(-reach, reach + 1, dtype=np.float32) / radius
    across, down = np.meshgrid(steps, steps)
    far = np.hypot(across, down / float(rng.uniform(0.6, 1.0)))
    alpha = np.interp(far, [0.0, 0.6, 1.0, 1.25], [0.62, 0.55, 0.31, 0.0]).astype(np.float32)
    colours = np.empty((*alpha.shape, 3), dtype=np.float32)
    colours[:] = (9, 14, 6)
    return Mark(alpha=alpha, colours=colours)


def draw_dew(radius_px: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw a drop of dew: how much it darkens or lightens, and its highlight.

    Returns:
        two (side, side) arrays: a factor for the pixels beneath, and an opacity of white.
    """
    reach = math.ceil(radius_px) + 1
    steps = np.arange(-reach, reach + 1, dtype=np.float32) / radius_px
    across, down = np.meshgrid(steps, steps)
    far = np.hypot(across, down)
    body = np.clip((1 - far) * radius_px + 0.5, 0, 1)
    factor = 1 + body * (0.28 * (across + down) - 0.06)
    spark = np.clip(1 - np.hypot(across + 0.35, down + 0.35) / 0.28, 0, 1) * 0.95 * body
    return factor.astype(np.float32), spark.astype(np.float32)
