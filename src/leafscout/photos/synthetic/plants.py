"""Leaves: crop blades and weeds, with veins, light, gloss, dry tips and the shadow they cast.

A leaf is painted straight and flat, then bent and turned into the photo cell by cell: the way
back from the photo to the flat leaf is a turn and a shear, so every cell is one quadrilateral.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from leafscout.photos.synthetic.textures import Colour, make_noise, ramp_colours, to_bytes
from leafscout.types import FloatArray

CELL_PX = 128
_HALF = [255 * (level >= 128) for level in range(256)]
MARGIN_PX = 3
SHADOW_STEP_PX = 8

GROUND = 0
FAR = 1
"""Sky and what is out of focus: nothing sharp is drawn there, no shadow falls on it."""
FIRST_LEAF = 10
"""Pixels of leaf ``i`` carry the number ``FIRST_LEAF + i``."""
_NEAR = [255 * (number != FAR) for number in range(256)]


@dataclass(frozen=True)
class Leaf:
    """Where a leaf lies: it starts at ``base_px_xy`` and runs along ``angle_rad``, bending aside.

    Attributes:
        base_px_xy: where the leaf starts.
        angle_rad: direction of its base line, clockwise from the photo's x axis.
        length_px: from base to tip.
        width_px: at its widest.
        bend_px: how far the tip leaves the base line, to either side.
        weed: True for a broad weed leaf, False for a blade of the crop.
    """

    base_px_xy: tuple[float, float]
    angle_rad: float
    length_px: float
    width_px: float
    bend_px: float
    weed: bool

    def to_photo(self, along: float, across: float) -> tuple[float, float]:
        """Map a place on the leaf to the photo; both in pixels, ``across`` 0 on the midrib."""
        aside = across + self.bend_px * (along / self.length_px) ** 2
        cos, sin = math.cos(self.angle_rad), math.sin(self.angle_rad)
        return (
            self.base_px_xy[0] + along * cos - aside * sin,
            self.base_px_xy[1] + along * sin + aside * cos,
        )

    def to_leaf(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Map places of the photo to the leaf: the inverse of ``to_photo``."""
        cos, sin = math.cos(self.angle_rad), math.sin(self.angle_rad)
        right, down = x - self.base_px_xy[0], y - self.base_px_xy[1]
        along = right * cos + down * sin
        across = down * cos - right * sin - self.bend_px * (along / self.length_px) ** 2
        return along.astype(np.float32), across.astype(np.float32)

    def direction_rad(self, along: float) -> float:
        """Direction of the midrib at a place along the leaf."""
        return self.angle_rad + math.atan(2 * self.bend_px * along / self.length_px**2)


@dataclass(frozen=True, eq=False)
class FlatLeaf:
    """A leaf painted straight: RGB colours that reach beyond its outline, and "L" opacity."""

    colours: Image.Image
    alpha: Image.Image


def paint_flat_leaf(rng: np.random.Generator, leaf: Leaf) -> FlatLeaf:
    """Paint a leaf straight and flat, its midrib in the middle row, a margin around it."""
    length, width = math.ceil(leaf.length_px), math.ceil(leaf.width_px)
    along = (np.arange(length + 2 * MARGIN_PX, dtype=np.float32) - MARGIN_PX) / leaf.length_px
    across = np.arange(width + 2 * MARGIN_PX, dtype=np.float32)[:, None]
    across = across - (width / 2 + MARGIN_PX - 0.5)
    half = leaf.width_px / 2 * _outline(along, weed=leaf.weed, rng=rng)
    alpha = np.clip(half[None, :] - np.abs(across) + 0.5, 0, 1)
    alpha[:, (along < 0) | (along > 1)] = 0
    place = across / np.maximum(half, 1.0)[None, :]
    shade = _shade_blade(rng, along, across, place, leaf.width_px)
    if leaf.weed:
        count = float(rng.uniform(6, 9))
        wave = np.abs(((along[None, :] * count - np.abs(place) * 1.1) % 1.0) - 0.5) * 2
        shade += 0.09 * np.clip((wave - 0.86) * 8, -0.2, 1)
    else:
        veins = float(rng.uniform(9, 15))
        shade += 0.028 * np.cos(place * (math.pi * veins)) * (1 - np.abs(place))
    shade_image = Image.fromarray(to_bytes(shade))
    coloured = ramp_colours(shade_image, _green_ramp(rng, weed=leaf.weed))
    if not leaf.weed:
        _dry_tip(rng, coloured, shade_image, along, place)
    return FlatLeaf(colours=coloured, alpha=Image.fromarray(to_bytes(alpha)))


def _outline(along: FloatArray, *, weed: bool, rng: np.random.Generator) -> FloatArray:
    """Half width along the leaf, 0..1."""
    t = np.clip(along, 0, 1)
    if weed:
        teeth = 1 + 0.07 * (((t * float(rng.integers(9, 15))) % 1.0) - 0.5)
        oval = np.maximum(np.sin(math.pi * t**0.8), 0) ** 0.75
        return np.asarray(oval * teeth * 0.96, dtype=np.float32)
    rise = np.clip(t / float(rng.uniform(0.22, 0.4)), 0, 1)
    rise = 0.2 * np.sqrt(np.clip(t / 0.02, 0, 1)) + 0.8 * rise * rise * (3 - 2 * rise)
    fall = np.clip((1 - t) / float(rng.uniform(0.5, 0.75)), 0, 1) ** 0.8
    ripple = 1 + 0.025 * np.sin(t * float(rng.uniform(9, 22)) + float(rng.uniform(0, 6)))
    return np.asarray(rise * fall * ripple * 0.97, dtype=np.float32)


def _shade_blade(
    rng: np.random.Generator,
    along: FloatArray,
    across: FloatArray,
    place: FloatArray,
    width_px: float,
) -> FloatArray:
    """Brightness of a blade, about 0..1: fold, midrib, fibres, blotches, gloss."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    tone = float(rng.uniform(0.36, 0.54))
    fold = 0.085 * side * np.tanh(across / (0.06 * width_px))
    shade = (tone + fold - 0.13 * place * place + 0.05 * side * place).astype(np.float32)
    rib = max(width_px * 0.017, 0.7)
    shade += 0.2 * np.exp(-((across / rib) ** 2)) - 0.09 * np.exp(-(((across / rib) - 2.4) ** 2))
    slow = make_noise(rng, (1, 256), exponent=1.2, longest_px=200)[0]
    shade += 0.04 * np.interp(np.clip(along, 0, 1) * 255, np.arange(256), slow)[None, :]
    fibres = Image.fromarray(make_noise(rng, (128, 192), exponent=0.7, longest_px=60))
    shade += 0.028 * np.asarray(
        fibres.resize((shade.shape[1], shade.shape[0]), Image.Resampling.BICUBIC)
    )
    if rng.random() < 0.65:
        centre, spread = float(rng.uniform(-0.6, 0.6)), float(rng.uniform(0.04, 0.14))
        run = np.clip(
            np.interp(np.clip(along, 0, 1) * 255, np.arange(256), np.roll(slow, 99)), 0, 2
        )
        strength = float(rng.uniform(0.06, 0.2))
        shade += strength * run[None, :] * np.exp(-((place - centre) ** 2) / spread)
    return np.asarray(shade, dtype=np.float32)


def _green_ramp(rng: np.random.Generator, *, weed: bool) -> tuple[Colour, ...]:
    stops = (
        ((20, 38, 24), (62, 96, 62), (118, 150, 104), (196, 214, 184))
        if weed
        else ((26, 38, 14), (80, 108, 44), (146, 172, 88), (226, 234, 188))
    )
    red, green, blue = rng.normal(1, 0.1), rng.normal(1, 0.05), rng.normal(1, 0.13)
    return tuple(
        (
            int(np.clip(r * red, 0, 255)),
            int(np.clip(g * green, 0, 255)),
            int(np.clip(b * blue, 0, 255)),
        )
        for r, g, b in stops
    )


def _dry_tip(
    rng: np.random.Generator,
    leaf: Image.Image,
    shade: Image.Image,
    along: FloatArray,
    place: FloatArray,
) -> None:
    """Let the tip of some blades dry out, in place, with an uneven, yellowing border."""
    if rng.random() > 0.45:
        return
    start = float(rng.uniform(0.78, 0.95))
    uneven = np.interp(place[:, place.shape[1] // 2], np.linspace(-1, 1, 16), rng.normal(0, 1, 16))
    amount = np.clip((along[None, :] - start + 0.012 * uneven[:, None]) * 22, 0, 1)
    straw = ramp_colours(shade, ((58, 40, 22), (150, 118, 70), (196, 168, 116), (232, 216, 176)))
    leaf.paste(straw, (0, 0), Image.fromarray(to_bytes(amount * 0.9)))


def place_leaf(
    canvas: Image.Image, owner: Image.Image, leaf: Leaf, flat: FlatLeaf, number: int
) -> None:
    """Lay a flat leaf into the photo with its shadow beneath, in place.

    Args:
        canvas: the photo so far.
        owner: "L" image of the same size; pixels that the leaf covers become ``number``.
        leaf: where it lies.
        flat: what ``paint_flat_leaf`` made of it.
        number: the leaf's number in ``owner``, 1..255.
    """
    if not _cells(leaf, canvas.size, flat.alpha.size, (0.0, 0.0), leaf.width_px):
        return
    offset = leaf.width_px * 0.09
    small = flat.alpha.reduce(SHADOW_STEP_PX)
    padding = 6
    soft = Image.new("L", (small.width + 2 * padding, small.height + 2 * padding), 0)
    soft.paste(small, (padding, padding))
    soft = soft.filter(ImageFilter.GaussianBlur(max(0.8, offset / SHADOW_STEP_PX)))
    soft = soft.point([round(v * 0.62) for v in range(256)])
    for cell, quad in _cells(
        leaf, canvas.size, flat.alpha.size, (offset, offset * 1.3), padding * 8
    ):
        corners = [v / SHADOW_STEP_PX + padding for v in quad]
        # what is far away gets no shadow of what is near
        near = owner.crop(cell).point(_NEAR)
        veil = ImageChops.multiply(_warp(soft, cell, corners), near)
        canvas.paste((8, 12, 5), cell, veil)
    for cell, quad in _cells(leaf, canvas.size, flat.alpha.size, (0.0, 0.0), MARGIN_PX):
        alpha = _warp(flat.alpha, cell, list(quad))
        canvas.paste(_warp(flat.colours, cell, list(quad)), cell, alpha)
        owner.paste(number, cell, alpha.point(_HALF))


def _warp(source: Image.Image, cell: tuple[int, int, int, int], quad: list[float]) -> Image.Image:
    size = (cell[2] - cell[0], cell[3] - cell[1])
    return source.transform(size, Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)


def _cells(
    leaf: Leaf,
    canvas_size: tuple[int, int],
    flat_size: tuple[int, int],
    offset_xy: tuple[float, float],
    reach_px: float,
) -> list[tuple[tuple[int, int, int, int], tuple[float, ...]]]:
    """The cells of the photo that a leaf touches, with their corners on the flat leaf."""
    width, height = canvas_size
    xs = np.unique(np.append(np.arange(0, width, CELL_PX), width)).astype(np.float32)
    ys = np.unique(np.append(np.arange(0, height, CELL_PX), height)).astype(np.float32)
    grid_x, grid_y = np.meshgrid(xs - offset_xy[0], ys - offset_xy[1])
    along, across = leaf.to_leaf(grid_x, grid_y)
    u = along + MARGIN_PX
    v = across + flat_size[1] / 2
    # north-west, south-west, south-east, north-east: Pillow's order
    us = np.stack([u[:-1, :-1], u[1:, :-1], u[1:, 1:], u[:-1, 1:]], axis=-1)
    vs = np.stack([v[:-1, :-1], v[1:, :-1], v[1:, 1:], v[:-1, 1:]], axis=-1)
    touched = (us.max(-1) > -reach_px) & (us.min(-1) < flat_size[0] + reach_px)
    touched &= (vs.max(-1) > -reach_px) & (vs.min(-1) < flat_size[1] + reach_px)
    cells = []
    for row, column in np.argwhere(touched):
        box = (int(xs[column]), int(ys[row]), int(xs[column + 1]), int(ys[row + 1]))
        corners = np.stack([us[row, column], vs[row, column]], axis=-1).ravel()
        cells.append((box, tuple(float(value) for value in corners)))
    return cells
