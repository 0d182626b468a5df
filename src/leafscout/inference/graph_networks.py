"""Networks as graphs that a runtime runs: pixels in, evidence out, without PyTorch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from leafscout.diagnosis.calibrate import sigmoid
from leafscout.gated_model import (
    EarlyAnswer,
    LaterAnswer,
    TokenAnswer,
    TokenMacs,
    count_grid,
)
from leafscout.model import GlanceEvidence, TileEvidence
from leafscout.recogniser_model import PhotoAnswer
from leafscout.types import FloatArray, Pixels

RunGraph: TypeAlias = Callable[[Pixels | FloatArray], Sequence[FloatArray]]
"""What a graph takes → its outputs, in its order; they are not used again once it runs again."""


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


@dataclass(frozen=True)
class GraphTokenNetwork:
    """``leafscout.gated_model.TokenNetwork`` from two exported graphs; tokens leave in between.

    Attributes:
        early: (height, width, 3) pixels of a view → the fields of ``EarlyAnswer``.
        later: (tokens, width) values of the tokens kept → the fields of ``LaterAnswer``.
        labels: number of diseases.
        token_px: side of a token in pixels of the view.
        macs: what multiply-adds are counted by.
    """

    early: RunGraph
    later: RunGraph
    labels: int
    token_px: int
    macs: TokenMacs

    def run(self, view: Pixels, threshold_prob: float, *, read_all: bool = False) -> TokenAnswer:
        """(height, width, 3) pixels of a view → evidence of the tokens kept."""
        seen = EarlyAnswer(*map(np.array, self.early(np.ascontiguousarray(view))))
        rows, columns, width = seen.token_values.shape
        gate_logits = seen.gate_logits.reshape(-1)
        # In single precision, as PyTorch compares them.
        kept = sigmoid(gate_logits).astype(np.float32) >= np.float32(threshold_prob)
        if read_all:
            kept = np.ones_like(kept)
        nothing: FloatArray = np.zeros((0, self.labels), dtype=np.float32)
        found = LaterAnswer(nothing, nothing)
        if kept.any():
            values = np.ascontiguousarray(seen.token_values.reshape(-1, width)[kept])
            found = LaterAnswer(*map(np.array, self.later(values)))
        return TokenAnswer(
            rows, columns, gate_logits, kept, found.token_logits, found.attention_logits
        )

    def count_tokens(self, view_px_hw: tuple[int, int]) -> int:
        """Tokens of a view of this size."""
        return count_grid(view_px_hw, self.token_px)

    def count_macs(self, view_px_hw: tuple[int, int], tokens_kept: int) -> int:
        """Multiply-adds for a view of this size of which so many tokens are kept."""
        return self.macs.count(view_px_hw, self.count_tokens(view_px_hw), tokens_kept)


def usable_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
