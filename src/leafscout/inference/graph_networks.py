"""Networks as graphs that a runtime runs: pixels in, evidence out, without PyTorch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from leafscout.model import GlanceEvidence, TileEvidence
from leafscout.recogniser_model import PhotoAnswer
from leafscout.types import FloatArray, Pixels

RunGraph: TypeAlias = Callable[[Pixels], Sequence[FloatArray]]
"""Pixels → the graph's outputs, in its order; they are not used again once it runs again."""


@dataclass(frozen=True)
class GraphNetworks:
    """``leafscout.model.Networks`` from two exported graphs.

    Attributes:
        scout: (height, width, 3) pixels of a glance → the fields of ``GlanceEvidence``.
        expert: (1, tile_px, tile_px, 3) pixels → the fields of ``TileEvidence``.
    """

    scout: RunGraph
    expert: RunGraph

    def run_scout(self, glance: Pixels) -> GlanceEvidence:
        """(height, width, 3) pixels of a glance → evidence."""
        return GlanceEvidence(*map(np.array, self.scout(np.ascontiguousarray(glance))))

    def run_expert(self, tiles: Pixels) -> TileEvidence:
        """(tiles, tile_px, tile_px, 3) pixels → evidence.

        One tile after another: on a CPU that is faster than a batch, it needs the memory of one,
        and a tile's evidence cannot depend on which others are read with it.
        """
        # Copied: a runtime may give out its own memory, and overwrite it with the next tile.
        found = [
            tuple(map(np.array, self.expert(tiles[index : index + 1])))
            for index in range(len(tiles))
        ]
        return TileEvidence(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


@dataclass(frozen=True)
class GraphPhotoNetwork:
    """``leafscout.recogniser_model.PhotoNetwork`` from one exported graph.

    Attributes:
        graph: (side, side, 3) pixels → the fields of ``PhotoAnswer``.
    """

    graph: RunGraph

    def run(self, pixels: Pixels) -> PhotoAnswer:
        """(side, side, 3) pixels of a photo squeezed into a square → evidence."""
        return PhotoAnswer(*map(np.array, self.graph(np.ascontiguousarray(pixels))))


def usable_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
