"""Augmentation: the eight symmetries of the square, a shifted tile grid, and changes of light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafscout.types import Pixels


@dataclass(frozen=True)
class Augmentation:
    """One random change of a photo; the same for everything cut from it.

    Attributes:
        quarter_turns: 0..3 counter-clockwise.
        mirrored: left and right exchanged, after turning.
        shift_px_yx: rows and columns cut off at the top and left, which shifts the tile grid.
        gain: (3,) factor of each colour channel.
        offset: added to every value, in units of 0..255.
    """

    quarter_turns: int
    mirrored: bool
    shift_px_yx: tuple[int, int]
    gain: tuple[float, float, float]
    offset: float

    def move(self, grid: NDArray[np.generic]) -> NDArray[np.generic]:
        """Turn and mirror the first two axes of an array; a view, nothing is copied."""
        turned = np.rot90(grid, self.quarter_turns, axes=(0, 1))
        return turned[:, ::-1] if self.mirrored else turned

    def move_pixels(self, pixels: Pixels) -> Pixels:
        """Turn and mirror a photo; a view, so that a huge photo is held in memory only once."""
        moved = self.move(pixels)
        return moved.view(np.uint8)

    def shift(self, pixels: Pixels) -> Pixels:
        """Cut the shift off; a view."""
        rows, columns = self.shift_px_yx
        return pixels[rows:, columns:]


@dataclass(frozen=True)
class LightChange:
    """Larger changes of light than photos of one camera show, where a recipe asks for them.

    Attributes:
        exposure_stops: a photo gets up to so many stops brighter or darker.
        colour_change: each channel changes by up to this share, 0..1.
    """

    exposure_stops: float = 0.0
    colour_change: float = 0.0


AS_PHOTOGRAPHED = LightChange()


def draw_augmentation(
    seed: tuple[int, ...],
    *,
    max_shift_px: int = 0,
    light: float = 0.15,
    change: LightChange = AS_PHOTOGRAPHED,
) -> Augmentation:
    """Draw an augmentation that depends on the seed alone.

    Hue is left as it is unless asked for: colour is evidence.

    Args:
        seed: for example (run seed, epoch, photo).
        max_shift_px: largest shift of the tile grid.
        light: spread of brightness, contrast and white balance, 0 for none.
        change: what changes beside that.
    """
    rng = np.random.default_rng(seed)
    turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    shift = rng.integers(0, max_shift_px + 1, size=2)
    overall = 1.0 + light * rng.uniform(-1, 1)
    balance = 1.0 + 0.25 * light * rng.uniform(-1, 1, size=3)
    offset = float(255 * 0.3 * light * rng.uniform(-1, 1))
    # Drawn last, so that photos whose recipe asks for neither are changed as ever.
    exposed = 2.0 ** (change.exposure_stops * rng.uniform(-1, 1))
    coloured = 1.0 + change.colour_change * rng.uniform(-1, 1, size=3)
    gain = overall * balance * exposed * coloured
    return Augmentation(
        quarter_turns=turns,
        mirrored=mirrored,
        shift_px_yx=(int(shift[0]), int(shift[1])),
        gain=(float(gain[0]), float(gain[1]), float(gain[2])),
        offset=offset,
    )
