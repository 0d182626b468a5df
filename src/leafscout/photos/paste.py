"""Put a region of one photo into another, smaller and fainter at will, without a visible border."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from leafscout.types import FloatArray, Pixels

BORDER = 0.35
"""Width of the soft border, as a share of the region's longer side."""

LEAST_BORDER_PX = 3


@dataclass(frozen=True, eq=False)
class Patch:
    """What a region adds to its surroundings.

    Attributes:
        deviation: (height, width, 3) difference from the colour around the region, grey levels.
        opacity: (height, width) 1 in the region, falling to 0 at the border of the patch.
        region_px_xyxy: the region inside the patch.
        colour: (3,) the colour around the region, grey levels.
        unrest: mean distance of what lies around the region from that colour, grey levels.
    """

    deviation: FloatArray
    opacity: FloatArray
    region_px_xyxy: tuple[float, float, float, float]
    colour: FloatArray
    unrest: float

    @property
    def size_px_hw(self) -> tuple[int, int]:
        """Height and width with the border."""
        return int(self.opacity.shape[0]), int(self.opacity.shape[1])

    @property
    def region_side_px(self) -> float:
        """Side of a square of the region's area."""
        left, top, right, bottom = self.region_px_xyxy
        return float(np.sqrt((right - left) * (bottom - top)))


def cut_patch(pixels: Pixels, box_px_xyxy: tuple[int, int, int, int]) -> Patch:
    """Cut a region with its border out of a photo.

    Args:
        pixels: (height, width, 3).
        box_px_xyxy: the region, inside the photo.
    """
    left, top, right, bottom = box_px_xyxy
    border = max(LEAST_BORDER_PX, round(BORDER * max(right - left, bottom - top)))
    x0, y0 = max(0, left - border), max(0, top - border)
    x1, y1 = min(pixels.shape[1], right + border), min(pixels.shape[0], bottom + border)
    piece = pixels[y0:y1, x0:x1].astype(np.float32)
    opacity = np.outer(
        _fade(y0, y1, top, bottom, border), _fade(x0, x1, left, right, border)
    ).astype(np.float32)
    around = piece[opacity < 1]
    around = around if len(around) else piece.reshape(-1, 3)
    colour = np.median(around, axis=0)
    return Patch(
        deviation=piece - colour.astype(np.float32),
        opacity=opacity,
        region_px_xyxy=(left - x0, top - y0, right - x0, bottom - y0),
        colour=colour.astype(np.float32),
        unrest=float(np.abs(around - colour).mean()),
    )


def shrink_patch(patch: Patch, factor: float) -> Patch:
    """The patch as from farther away, pixels averaged by area.

    Args:
        patch: the patch.
        factor: new side as a share of the old one, above 0 and up to 1.
    """
    height, width = (max(1, round(side * factor)) for side in patch.size_px_hw)
    down, across = height / patch.size_px_hw[0], width / patch.size_px_hw[1]

    def shrink(channel: FloatArray) -> FloatArray:
        image = Image.fromarray(np.ascontiguousarray(channel))
        return np.asarray(image.resize((width, height), Image.Resampling.BOX), dtype=np.float32)

    left, top, right, bottom = patch.region_px_xyxy
    return Patch(
        deviation=np.stack([shrink(patch.deviation[..., c]) for c in range(3)], axis=2),
        opacity=shrink(patch.opacity),
        region_px_xyxy=(left * across, top * down, right * across, bottom * down),
        colour=patch.colour,
        unrest=patch.unrest,
    )


def paste_patch(
    pixels: Pixels, patch: Patch, left: int, top: int, *, contrast: float = 1.0
) -> tuple[Pixels, tuple[float, float, float, float]]:
    """Add a patch to a photo: the photo's own texture stays beneath it.

    Args:
        pixels: (height, width, 3) the photo; not changed.
        patch: the patch, which must fit.
        left: first column of the patch.
        top: first row of the patch.
        contrast: share of the patch's own deviation that is added; 0 changes nothing.

    Returns:
        The new photo and the region in it, xyxy in pixels.

    Raises:
        ValueError: when the patch does not fit into the photo.
    """
    height, width = patch.size_px_hw
    if left < 0 or top < 0 or left + width > pixels.shape[1] or top + height > pixels.shape[0]:
        raise ValueError(
            f"Expected a patch of {width}×{height} px at {left}, {top} to lie inside a photo of "
            f"{pixels.shape[1]}×{pixels.shape[0]} px."
        )
    out = pixels.copy()
    window = out[top : top + height, left : left + width]
    added = window + contrast * patch.opacity[..., None] * patch.deviation
    window[:] = np.clip(np.rint(added), 0, 255).astype(np.uint8)
    x0, y0, x1, y1 = patch.region_px_xyxy
    return out, (left + x0, top + y0, left + x1, top + y1)


def lay_over(pixels: Pixels, small: Pixels, left: int, top: int) -> Pixels:
    """Replace a part of a photo by a smaller photo, blended at the border.

    Args:
        pixels: (height, width, 3) the photo; not changed.
        small: (height, width, 3) the smaller one, which must fit.
        left: its first column.
        top: its first row.
    """
    height, width = small.shape[:2]
    border = max(LEAST_BORDER_PX, min(height, width) // 16)
    fade = np.outer(
        _fade(0, height, border, height - border, border),
        _fade(0, width, border, width - border, border),
    )[..., None]
    out = pixels.copy()
    window = out[top : top + height, left : left + width]
    window[:] = np.rint(fade * small + (1 - fade) * window).astype(np.uint8)
    return out


def cover_region(
    pixels: Pixels,
    box_px_xyxy: tuple[int, int, int, int],
    source_px_xyxy: tuple[int, int, int, int],
) -> Pixels:
    """Cover a region with another part of the same photo, blended at the border.

    Args:
        pixels: (height, width, 3) the photo; not changed.
        box_px_xyxy: the region, inside the photo.
        source_px_xyxy: the part to take; mirrored until it is large enough.
    """
    left, top, right, bottom = box_px_xyxy
    border = max(LEAST_BORDER_PX, round(BORDER * max(right - left, bottom - top)))
    x0, y0 = max(0, left - border), max(0, top - border)
    x1, y1 = min(pixels.shape[1], right + border), min(pixels.shape[0], bottom + border)
    x, y, x_end, y_end = source_px_xyxy
    cover = pixels[y:y_end, x:x_end][: y1 - y0, : x1 - x0]
    missing = (0, y1 - y0 - cover.shape[0]), (0, x1 - x0 - cover.shape[1]), (0, 0)
    cover = np.pad(cover, missing, mode="symmetric")
    fade = np.outer(_fade(y0, y1, top, bottom, border), _fade(x0, x1, left, right, border))[
        ..., None
    ]
    out = pixels.copy()
    window = out[y0:y1, x0:x1]
    window[:] = np.rint(fade * cover + (1 - fade) * window).astype(np.uint8)
    return out


def _fade(start: int, stop: int, begin: int, end: int, border: int) -> FloatArray:
    """1 from ``begin`` to ``end``, a raised cosine down to 0 over ``border`` pixels outside."""
    middle = np.arange(start, stop) + 0.5
    outside = np.maximum(np.maximum(begin - middle, middle - end), 0.0) / border
    fade: FloatArray = (0.5 + 0.5 * np.cos(np.pi * np.minimum(outside, 1.0))).astype(np.float32)
    return fade
