"""The recogniser as a model: one network looks once at the whole photo, made small.

It answers in the same terms as ``leafscout.model.GlanceAndFocus``: there is one tile, the photo
itself, and it is always read. Nothing here knows torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from leafscout.diagnosis.pooling import EMPTY_BAG_LOGIT
from leafscout.glance.view import take_square
from leafscout.model import ReadTiles, Rules
from leafscout.types import Evidence, FloatArray, Photo, Pixels, Tiles

UNJUDGED = -1e4
"""Logit of a place that nothing is said about: its probability is 0."""


class PhotoAnswer(NamedTuple):
    """What the network says about one photo.

    Attributes:
        logits: (labels,) evidence.
        place_logits: (labels, rows, columns) evidence of places of the photo; of no size where
            the network judges none.
    """

    logits: FloatArray
    place_logits: FloatArray


class PhotoNetwork(Protocol):
    """A runtime that can run a recogniser."""

    def run(self, pixels: Pixels) -> PhotoAnswer:
        """(side, side, 3) pixels of a photo squeezed into a square → evidence."""
        ...


@dataclass(frozen=True)
class RecogniserModel:
    """A trained recogniser: the network and the rules behind it.

    Attributes:
        network: in any runtime.
        rules: ``glance_px`` and ``tile_px`` are the side of the square, ``expert_macs`` the
            multiply-adds of one look.
    """

    network: PhotoNetwork
    rules: Rules

    def forward(
        self, photo: Photo, *, read_all: bool = False, read: ReadTiles | None = None
    ) -> tuple[Evidence, Tiles]:
        """Look at one photo.

        Args:
            photo: the photo.
            read_all: not used; there is one look.
            read: not used; no tile is cut.

        Returns:
            Evidence, and a grid of one tile.
        """
        del read_all, read
        view = take_square(photo, self.rules.glance_px)
        answer = self.network.run(view)
        logits = np.asarray(answer.logits, dtype=np.float32)[None]
        evidence = Evidence(
            scout_logits=logits.max(axis=1),
            scout_label_logits=np.full_like(logits, EMPTY_BAG_LOGIT),
            glance_logits=np.full(logits.shape[1], EMPTY_BAG_LOGIT, dtype=np.float32),
            read=np.ones(1, dtype=np.bool_),
            tile_logits=logits,
            attention_logits=np.zeros_like(logits),
            focus_logits=logits[0],
            place_logits=lay_over_photo(answer.place_logits, photo.size_px_hw)[None],
            strangeness=self.rules.measure_strangeness(view),
        )
        side = max(photo.size_px_hw)
        return evidence, Tiles(photo.size_px_hw, side, (0,), (0,))

    def label_probs(self, evidence: Evidence) -> FloatArray:
        """(labels,) calibrated probabilities."""
        return self.rules.calibrate(evidence.focus_logits, evidence.strangeness)

    def count_macs(self, photo_size_px_hw: tuple[int, int], tiles_read: int) -> int:
        """Multiply-adds of one look, the same for photos of any size."""
        del photo_size_px_hw, tiles_read
        return self.rules.expert_macs

    def count_macs_all_tiles(self, photo_size_px_hw: tuple[int, int]) -> int:
        """Multiply-adds of one look: there is no closer one."""
        del photo_size_px_hw
        return self.rules.expert_macs


def lay_over_photo(place_logits: FloatArray, photo_size_px_hw: tuple[int, int]) -> FloatArray:
    """Evidence of places of the squeezed photo → of places of a tile as wide as its longer side.

    Args:
        place_logits: (labels, rows, columns); of no size where places were not judged.
        photo_size_px_hw: height and width of the photo, which begins where the tile does.

    Returns:
        (labels, side, side); beyond the photo, and without judged places, no evidence.
    """
    labels, rows, columns = place_logits.shape
    if not rows or not columns:
        return np.full((labels, 1, 1), UNJUDGED, dtype=np.float32)
    longer, side = max(photo_size_px_hw), max(rows, columns)
    down, across = (
        _nearest(count, side, longer / extent)
        for count, extent in zip((rows, columns), photo_size_px_hw, strict=True)
    )
    inside = (down < rows)[:, None] & (across < columns)
    laid = place_logits[:, np.minimum(down, rows - 1)][:, :, np.minimum(across, columns - 1)]
    return np.where(inside, laid, np.float32(UNJUDGED)).astype(np.float32)


def _nearest(count: int, side: int, stretch: float) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """(side,) which of ``count`` places along the photo the middle of each cell lies in."""
    middles = (np.arange(side) + 0.5) / side * stretch
    return np.floor(middles * count).astype(np.intp)
