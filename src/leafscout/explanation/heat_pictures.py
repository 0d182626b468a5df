"""Heat laid over a photo, with a line that says what it is; single pictures, and films of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leafscout.errors import InputError
from leafscout.explanation.heat import fade_unread, paint_heat
from leafscout.explanation.lesion_map import label_components
from leafscout.explanation.lettering import Canvas, fit_text
from leafscout.explanation.panel import fit_pixels
from leafscout.types import FloatArray, Pixels

PICTURE_PX = 800
"""Longer side of a photo in a picture."""

_CAPTION_PX, _FONT_PX, _PAD_PX = 34, 18, 10


@dataclass(frozen=True, eq=False)
class HeatOverPhoto:
    """Heat of one label over a whole photo.

    Attributes:
        heat: (rows, columns) 0..1; its cells lie evenly over ``covers_px_hw``.
        covers_px_hw: what the map covers from the photo's upper left corner on, in pixels of the
            photo; cells may reach beyond its border.
        looked_at: (rows, columns) bool, like ``heat``: the rest is shown grey; None for all.
    """

    heat: FloatArray
    covers_px_hw: tuple[float, float]
    looked_at: NDArray[np.bool_] | None = None


def hottest_px_xy(over: HeatOverPhoto) -> tuple[float, float] | None:
    """The middle of the hottest cells, in pixels of the photo; None where nothing is hot.

    A place covers several cells of equal heat; its middle is meant, not its first cell.
    """
    if not over.heat.size or over.heat.max() <= 0:
        return None
    components, _ = label_components(over.heat >= over.heat.max())
    rows, columns = np.nonzero(components == 1)
    cell_h = over.covers_px_hw[0] / over.heat.shape[0]
    cell_w = over.covers_px_hw[1] / over.heat.shape[1]
    x = (int(columns.min()) + int(columns.max()) + 1) / 2 * cell_w
    y = (int(rows.min()) + int(rows.max()) + 1) / 2 * cell_h
    return x, y


def draw_heat(photo: Pixels, over: HeatOverPhoto, caption: str) -> Pixels:
    """A photo with heat over it, and a line below.

    Args:
        photo: (height, width, 3) of any size.
        over: the heat.
        caption: what it shows.

    Returns:
        (height, width, 3), the photo's longer side ``PICTURE_PX`` long.
    """
    size = photo.shape[0], photo.shape[1]
    small = fit_pixels(photo, PICTURE_PX, PICTURE_PX)
    heat = _stretch(over.heat, over.covers_px_hw, size, small.shape[:2], Image.Resampling.BICUBIC)
    shown = small
    if over.looked_at is not None:
        near = Image.Resampling.NEAREST
        seen = _stretch(
            over.looked_at.astype(np.float32), over.covers_px_hw, size, small.shape[:2], near
        )
        shown = fade_unread(small, seen >= 0.5)
    return write_below(paint_heat(shown, heat), caption)


def write_below(picture: Pixels, caption: str) -> Pixels:
    """A picture with a line of text below."""
    height, width = picture.shape[:2]
    canvas = Canvas(width, height + _CAPTION_PX)
    canvas.paste((0, 0), picture)
    text = fit_text(caption, _FONT_PX, width - 2 * _PAD_PX)
    canvas.write((_PAD_PX, height + _PAD_PX), text, _FONT_PX)
    return canvas.to_pixels()


def draw_mosaic_of(pictures: Sequence[Pixels], columns: int) -> Pixels:
    """Small pictures of one size side by side, row by row.

    Raises:
        InputError: when there is none, or they differ in size.
    """
    if not pictures or len({one.shape for one in pictures}) > 1:
        raise InputError("Expected at least one picture, all of the same size.")
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    canvas = Canvas(columns * (width + 2), rows * (height + 2))
    for index, one in enumerate(pictures):
        row, column = divmod(index, columns)
        canvas.paste((column * (width + 2), row * (height + 2)), one)
    return canvas.to_pixels()


def write_image(path: Path, pixels: Pixels) -> Path:
    """Write a JPEG or PNG without metadata, under its name once it is whole.

    Raises:
        InputError: when it cannot be written.
    """
    return _write(path, [pixels], 0.0)


def write_film(path: Path, frames: Sequence[Pixels], seconds: float = 0.8) -> Path:
    """Write a GIF that goes round and round, under its name once it is whole.

    Args:
        path: ending in ``.gif``.
        frames: pictures of one size, at least one.
        seconds: that each is shown.

    Raises:
        InputError: when there is no frame, they differ in size, or it cannot be written.
    """
    if not frames or len({one.shape for one in frames}) > 1:
        raise InputError("Expected at least one frame for a film, all of the same size.")
    return _write(path, frames, seconds)


def _write(path: Path, frames: Sequence[Pixels], seconds: float) -> Path:
    images = [Image.fromarray(np.ascontiguousarray(one)) for one in frames]
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            if path.suffix == ".gif":
                fast = Image.Quantize.FASTOCTREE
                first, *rest = (one.quantize(256, method=fast) for one in images)
                first.save(
                    file, "GIF", save_all=True, append_images=rest,
                    duration=round(1000 * seconds), loop=0,
                )  # fmt: skip
            else:
                images[0].save(file, "PNG" if path.suffix == ".png" else "JPEG", quality=90)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}). Choose another place for it."
        ) from error
    return path


def _stretch(
    values: FloatArray,
    covers_px_hw: tuple[float, float],
    photo_px_hw: tuple[int, int],
    size_px_hw: tuple[int, ...],
    resample: Image.Resampling,
) -> FloatArray:
    """The part of a map that lies over the photo, at the size of a picture."""
    rows, columns = values.shape
    bottom = min(rows, rows * photo_px_hw[0] / covers_px_hw[0])
    right = min(columns, columns * photo_px_hw[1] / covers_px_hw[1])
    image = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    out = image.resize((size_px_hw[1], size_px_hw[0]), resample, box=(0, 0, right, bottom))
    stretched: FloatArray = np.clip(np.asarray(out, dtype=np.float32), 0.0, 1.0)
    return stretched
