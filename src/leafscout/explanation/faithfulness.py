"""Is a heat map true to the network? Take away what is hot, or bring it back, and ask again.

Petsiuk et al. 2018, "RISE: randomized input sampling for explanation of black-box models".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from leafscout.types import FloatArray, Pixels

Score = Callable[[Pixels], NDArray[np.floating]]
"""(photos, height, width, 3) pixels → (photos,) evidence or probability of one label."""

BLUR_SHARE = 1 / 16
"""Radius of the blur that takes detail away, as a share of the shorter side."""


@dataclass(frozen=True, eq=False)
class FaithfulnessCurve:
    """What a network says while a photo is changed, hottest places first.

    Attributes:
        changed_share: (steps + 1,) share of the photo's pixels changed, 0..1.
        deletion: (steps + 1,) the score while they are taken away.
        insertion: (steps + 1,) the score while they are brought back into an empty photo.
        deletion_area: mean height of the curve; low where the map is true.
        insertion_area: mean height of the curve; high where the map is true.
    """

    changed_share: FloatArray
    deletion: FloatArray
    insertion: FloatArray
    deletion_area: float
    insertion_area: float


def measure_faithfulness(
    score: Score, pixels: Pixels, heat: FloatArray, *, steps: int = 10, at_once: int = 4
) -> FaithfulnessCurve:
    """Delete and insert the hottest places of one photo, step by step.

    What is deleted is blurred, not blackened: a black hole is itself something to see.

    Args:
        score: asks the network.
        pixels: (height, width, 3) the photo.
        heat: (rows, columns) of any size; laid evenly over the photo.
        steps: between the whole photo and the empty one.
        at_once: changed photos per question.

    Raises:
        ValueError: when there is no step.
    """
    if steps < 1:
        raise ValueError(f"Expected at least 1 step, but got {steps}.")
    order = _rank_pixels(heat, pixels.shape[:2])
    empty = blur_away(pixels)
    shares = np.linspace(0.0, 1.0, steps + 1)
    masks = [(order < round(share * order.size))[..., None] for share in shares]
    deleted = [np.where(mask, empty, pixels) for mask in masks]
    inserted = [np.where(mask, pixels, empty) for mask in masks]
    deletion, insertion = _ask(score, deleted, at_once), _ask(score, inserted, at_once)
    return FaithfulnessCurve(
        changed_share=shares.astype(np.float32),
        deletion=deletion,
        insertion=insertion,
        deletion_area=float(np.trapezoid(deletion, shares)),
        insertion_area=float(np.trapezoid(insertion, shares)),
    )


def blur_away(pixels: Pixels) -> Pixels:
    """A photo without any detail: colours and light stay, what is smaller goes.

    Args:
        pixels: (height, width, 3).
    """
    radius = max(2.0, BLUR_SHARE * min(pixels.shape[:2]))
    image = Image.fromarray(np.ascontiguousarray(pixels))
    blurred: Pixels = np.array(image.filter(ImageFilter.GaussianBlur(radius)))
    return blurred


def _rank_pixels(heat: FloatArray, size_px_hw: tuple[int, ...]) -> NDArray[np.int64]:
    """(height, width) 0 for the hottest pixel, then 1, …; equal ones from the top left."""
    height, width = size_px_hw
    image = Image.fromarray(np.ascontiguousarray(heat, dtype=np.float32))
    spread = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    order = np.empty(spread.size, dtype=np.int64)
    order[np.argsort(-spread, axis=None, kind="stable")] = np.arange(spread.size)
    return order.reshape(height, width)


def _ask(score: Score, photos: list[Pixels], at_once: int) -> FloatArray:
    answers = [
        score(np.stack(photos[start : start + at_once])) for start in range(0, len(photos), at_once)
    ]
    return np.concatenate(answers).astype(np.float32)
