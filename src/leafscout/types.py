"""Frozen values that pass between the stages: photo → glance → tiles → evidence → diagnosis.

Arrays are numpy, rows before columns, and are never changed after a value is made. Boxes are
``xyxy`` in pixels of the upright photo: left, top, right, bottom, with right and bottom exclusive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""(height, width, 3) RGB, 0..255."""

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Photo:
    """One decoded photo, upright (EXIF orientation applied), at full resolution."""

    pixels: Pixels
    source: str

    @property
    def size_px_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])


@dataclass(frozen=True, eq=False)
class Glance:
    """The small view of a whole photo, aspect ratio kept.

    Attributes:
        pixels: the view.
        photo_size_px_hw: height and width of the photo.
        closer: a larger view, of which promising regions are looked at; None without one.
    """

    pixels: Pixels
    photo_size_px_hw: tuple[int, int]
    closer: Pixels | None = None


@dataclass(frozen=True)
class Tiles:
    """Where the full-resolution squares of one photo lie.

    ``tops`` and ``lefts`` are the first rows and columns of the grid's lines; tile ``i`` stands at
    grid row ``i // columns`` and column ``i % columns``. Together the tiles cover every pixel.
    """

    photo_size_px_hw: tuple[int, int]
    tile_px: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Number of grid rows."""
        return len(self.tops)

    @property
    def columns(self) -> int:
        """Number of grid columns."""
        return len(self.lefts)

    def __len__(self) -> int:
        return self.rows * self.columns

    @cached_property
    def boxes_px_xyxy(self) -> NDArray[np.int64]:
        """(tiles, 4) boxes; those of a photo smaller than a tile end at the photo's border."""
        height, width = self.photo_size_px_hw
        return np.array(
            [
                (left, top, min(left + self.tile_px, width), min(top + self.tile_px, height))
                for top in self.tops
                for left in self.lefts
            ],
            dtype=np.int64,
        ).reshape(-1, 4)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What scout and expert found in one photo. Logits are natural-log odds, unbounded.

    Attributes:
        scout_logits: (tiles,) "something is wrong here", one absolute score a tile.
        scout_label_logits: (tiles, labels) the scout's guess at the expert's evidence.
        glance_logits: (labels,) photo-level evidence of the glance itself.
        read: (tiles,) bool, True where the expert looked.
        tile_logits: (tiles, labels) the expert's evidence; NaN where it did not look.
        attention_logits: (tiles, labels) weight of a tile in attention pooling; 0 where not read.
        focus_logits: (labels,) pooled evidence of all tiles, unread ones by the scout's guess.
        place_logits: (tiles read, labels, rows, columns) evidence of places inside the tiles read.
        scout_spread: (tiles,) standard deviation of ``scout_logits`` over mirrored glances, whose
            mean they are; None where there was one glance.
        strangeness: how unlike the training photos the photo is; above 1 counts as unlike.
    """

    scout_logits: FloatArray
    scout_label_logits: FloatArray
    glance_logits: FloatArray
    read: NDArray[np.bool_]
    tile_logits: FloatArray
    attention_logits: FloatArray
    focus_logits: FloatArray
    place_logits: FloatArray
    scout_spread: FloatArray | None = None
    strangeness: float = 0.0


@dataclass(frozen=True)
class Cost:
    """What a diagnosis cost.

    Attributes:
        macs: multiply-adds spent, scout included.
        macs_all_tiles: multiply-adds of the expert on every tile.
        tiles_read: tiles that the expert read.
        tiles_total: tiles that cover the photo.
        area_read_frac: share of the photo's pixels that were read at full resolution, 0..1.
        seconds: wall time from the file to the diagnosis.
    """

    macs: int
    macs_all_tiles: int
    tiles_read: int
    tiles_total: int
    area_read_frac: float
    seconds: float


@dataclass(frozen=True)
class LesionBox:
    """A place that speaks for a label, in pixels of the upright photo."""

    label: str
    box_px_xyxy: tuple[int, int, int, int]
    prob: float


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """The answer for one photo.

    Attributes:
        source: the photo's path, or a word in angle brackets for bytes and arrays.
        photo_size_px_hw: height and width of the upright photo.
        labels: the names of the diseases the model knows.
        label_probs: (labels,) calibrated probabilities, 0..1.
        thresholds: (labels,) a label is present at or above its threshold.
        healthy_prob: probability that none of the labels is present, 0..1.
        unsure: why the diagnosis should be checked by a person; None when the model is sure.
        tiles: the grid of the photo.
        read: (tiles,) bool, True where the expert looked.
        scout_probs: (tiles,) the scout's score of each tile, 0..1.
        tile_probs: (tiles, labels) the expert's evidence, 0..1; NaN where it did not look.
        lesion_map: (labels, rows, columns) evidence over the whole photo, 0..1; each cell is
            ``lesion_map_px`` pixels of the photo wide and high, the last ones cut by the border.
        lesion_map_px: side of a cell of ``lesion_map`` in pixels of the photo.
        lesion_boxes: places that speak for the labels found, strongest first.
        cost: what it cost.
        strangeness: how unlike the training photos the photo is; above 1 it is unsure for that.
    """

    source: str
    photo_size_px_hw: tuple[int, int]
    labels: tuple[str, ...]
    label_probs: FloatArray
    thresholds: FloatArray
    healthy_prob: float
    unsure: str | None
    tiles: Tiles
    read: NDArray[np.bool_]
    scout_probs: FloatArray
    tile_probs: FloatArray
    lesion_map: FloatArray
    lesion_map_px: int
    lesion_boxes: tuple[LesionBox, ...] = field(default=())
    cost: Cost = field(default=Cost(0, 0, 0, 0, 0.0, 0.0))
    strangeness: float = 0.0

    @property
    def present(self) -> tuple[str, ...]:
        """The labels at or above their thresholds; empty means healthy."""
        return tuple(
            name
            for name, prob, threshold in zip(
                self.labels, self.label_probs, self.thresholds, strict=True
            )
            if prob >= threshold
        )

    @property
    def healthy(self) -> bool:
        """True when no label is present."""
        return not self.present
