"""Marks on a scene: where they may lie, blending them in, and the truth about them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from leafscout.photos.synthetic.lesions import Mark
from leafscout.photos.synthetic.plants import FIRST_LEAF, GROUND, Leaf
from leafscout.types import Pixels

TRIES = 80
SPACING = 1.5
"""Marks stay this many times their radii apart: even a slanted splinter never covers another."""
_RING = np.array(
    [
        (r * math.cos(t), r * math.sin(t))
        for r in (0.0, 0.55, 1.0)
        for t in np.arange(16) * math.tau / 16
    ]
)


@dataclass(frozen=True)
class Spot:
    """A free place: its centre in pixels, and the direction of the veins there."""

    x_px: float
    y_px: float
    angle_rad: float


@dataclass(eq=False)
class Scene:
    """A painted scene on which marks are placed; changed in place while a photo is rendered.

    Attributes:
        pixels: (height, width, 3) RGB.
        owner: (height, width) ``GROUND``, ``FAR`` or ``FIRST_LEAF`` + index of the leaf on top.
        leaves: all leaves, those beneath first.
        taken: circles that marks lie in: x, y and radius in pixels.
    """

    pixels: Pixels
    owner: NDArray[np.uint8]
    leaves: tuple[Leaf, ...]
    taken: list[tuple[float, float, float]] = field(default_factory=list)

    def find_on_leaf(
        self, radius_px: float, rng: np.random.Generator, *, weed: bool
    ) -> Spot | None:
        """Find a free place for a circle that lies wholly on one visible leaf, or None."""
        numbers = [index for index, leaf in enumerate(self.leaves) if leaf.weed == weed]
        if not numbers:
            return None
        area = np.array([self.leaves[i].length_px * self.leaves[i].width_px for i in numbers])
        for _ in range(TRIES):
            number = int(rng.choice(numbers, p=area / area.sum()))
            leaf = self.leaves[number]
            along = float(rng.uniform(0.06, 0.9)) * leaf.length_px
            room = max(leaf.width_px / 2 - radius_px * 1.05, 0.0)
            x, y = leaf.to_photo(along, float(rng.uniform(-room, room)))
            if self._is_free(x, y, radius_px, FIRST_LEAF + number):
                return Spot(x, y, leaf.direction_rad(along))
        return None

    def find_on_ground(self, radius_px: float, rng: np.random.Generator) -> Spot | None:
        """Find a free place for a circle that lies wholly on the ground, or None."""
        height, width = self.owner.shape
        for _ in range(TRIES):
            x, y = float(rng.uniform(0, width)), float(rng.uniform(0, height))
            if self._is_free(x, y, radius_px, GROUND):
                return Spot(x, y, float(rng.uniform(0, math.tau)))
        return None

    def _is_free(self, x: float, y: float, radius_px: float, number: int) -> bool:
        reach = radius_px * 1.06 + 1.5
        height, width = self.owner.shape
        if not (reach <= x < width - reach - 1 and reach <= y < height - reach - 1):
            return False
        if any(math.hypot(x - a, y - b) < (radius_px + r) * SPACING + 3 for a, b, r in self.taken):
            return False
        ring = np.rint(_RING * reach + (x, y)).astype(np.int64)
        return bool(np.all(self.owner[ring[:, 1], ring[:, 0]] == number))

    def blend(
        self,
        mark: Mark,
        spot: Spot,
        radius_px: float,
        contrast: float,
        truth: NDArray[np.uint8],
        value: int,
    ) -> tuple[int, int, int, int]:
        """Blend a mark in, note its mask in ``truth`` as ``value``, and return its tight box."""
        side = mark.alpha.shape[0]
        left, top = round(spot.x_px) - side // 2, round(spot.y_px) - side // 2
        height, width = self.owner.shape
        rows = slice(max(top, 0), min(top + side, height))
        columns = slice(max(left, 0), min(left + side, width))
        inner = (
            slice(rows.start - top, rows.stop - top),
            slice(columns.start - left, columns.stop - left),
        )
        beneath = self.pixels[rows, columns].astype(np.float32)
        alpha = mark.alpha[inner][..., None] * contrast
        brightness = beneath.mean(axis=-1, keepdims=True)
        # veins and grain of what lies beneath show through
        relief = np.clip(brightness / max(float(brightness.mean()), 1.0), 0.6, 1.5) ** 0.55
        blended = beneath * (1 - alpha) + mark.colours[inner] * relief * alpha
        self.pixels[rows, columns] = np.clip(blended + 0.5, 0, 255).astype(np.uint8)
        mask = mark.mask[inner]
        truth[rows, columns][mask] = value
        self.taken.append((spot.x_px, spot.y_px, radius_px))
        down, right = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        return (
            columns.start + int(right[0]),
            rows.start + int(down[0]),
            columns.start + int(right[-1]) + 1,
            rows.start + int(down[-1]) + 1,
        )
