"""Photos turned, framed and lit otherwise, a batch at a time: what whole-photo recognisers see."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

_LUMA = (0.299, 0.587, 0.114)
_TO_YIQ = np.array([_LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])


class Amounts(Protocol):
    """How much may change; see ``leafscout.training.recogniser_recipe.RecogniserRecipe``."""

    @property
    def flips(self) -> bool: ...  # noqa: D102
    @property
    def turn_deg(self) -> float: ...  # noqa: D102
    @property
    def shift(self) -> float: ...  # noqa: D102
    @property
    def zoom(self) -> float: ...  # noqa: D102
    @property
    def light(self) -> float: ...  # noqa: D102
    @property
    def hue_jitter(self) -> float: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class PhotoChange:
    """One random change of a photo.

    Attributes:
        affine: (2, 3) place in the result → place in the photo, both -1..1.
        colours: (3, 3) RGB → RGB.
        gain: contrast around the photo's mean.
    """

    affine: NDArray[np.float64]
    colours: NDArray[np.float64]
    gain: float


def draw_change(seed: tuple[int, ...], amounts: Amounts) -> PhotoChange:
    """Draw a change that depends on the seed alone.

    Args:
        seed: for example (run seed, epoch, photo).
        amounts: how much may change.
    """
    rng = np.random.default_rng(seed)
    turn = math.radians(amounts.turn_deg) * rng.uniform(-1, 1)
    scale = 1.0 + amounts.zoom * rng.uniform(-1, 1)
    mirror = np.where(rng.random(2) < 0.5, -1.0, 1.0) if amounts.flips else np.ones(2)
    # A share of the side is twice as much of -1..1.
    moved = 2.0 * amounts.shift * rng.uniform(-1, 1, size=2)
    cos, sin = math.cos(turn) / scale, math.sin(turn) / scale
    affine = np.array([[cos, -sin, moved[0]], [sin, cos, moved[1]]])
    affine[:, :2] *= mirror
    brightness, contrast, saturation = 1.0 + amounts.light * rng.uniform(-1, 1, size=3)
    hue = 2.0 * math.pi * amounts.hue_jitter * rng.uniform(-1, 1)
    return PhotoChange(affine, brightness * _colours(saturation, hue), contrast)


def _colours(saturation: float, hue: float) -> NDArray[np.float64]:
    """Colours made fuller and turned around the grey axis; grey stays grey."""
    turn = np.eye(3)
    turn[1:, 1:] = np.array([[math.cos(hue), -math.sin(hue)], [math.sin(hue), math.cos(hue)]])
    turn[1:, 1:] *= saturation
    matrix: NDArray[np.float64] = np.linalg.inv(_TO_YIQ) @ turn @ _TO_YIQ
    return matrix


def change_photos(pixels: Tensor, changes: list[PhotoChange]) -> Tensor:
    """Change each photo of a batch in its own way.

    Args:
        pixels: (photos, 3, side, side) 0..255.
        changes: one a photo.

    Returns:
        (photos, 3, side, side) 0..255; what comes from outside a photo is its mirror image.
    """
    seen = pixels.float()

    def stack(rows: list[NDArray[np.float64]]) -> Tensor:
        return torch.from_numpy(np.stack(rows)).to(seen)

    places = F.affine_grid(
        stack([one.affine for one in changes]), list(seen.shape), align_corners=False
    )
    seen = F.grid_sample(seen, places, padding_mode="reflection", align_corners=False)
    seen = torch.einsum("pij,pjhw->pihw", stack([one.colours for one in changes]), seen)
    mean = seen.mean(dim=(1, 2, 3), keepdim=True)
    gain = stack([np.array(one.gain) for one in changes]).view(-1, 1, 1, 1)
    return ((seen - mean) * gain + mean).clamp(0.0, 255.0)
