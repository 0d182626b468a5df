"""The integrated model: one network reads a view of the whole photo and drops tokens on the way.

It answers in the same terms as ``leafscout.model.GlanceAndFocus``: a token is a tile, the gate's
answer is the scout's, a kept token is a tile that was read. Nothing here knows torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from leafscout.diagnosis.pooling import ATTENTION_POOLINGS, EMPTY_BAG_LOGIT, pool_tiles
from leafscout.glance.view import GLANCE_STEP_PX, glance_size_px_hw, take_glance
from leafscout.model import ReadTiles, Rules
from leafscout.types import Evidence, FloatArray, Photo, Pixels, Tiles


class TokenAnswer(NamedTuple):
    """What the network says about one view.

    Attributes:
        rows: of the grid of tokens.
        columns: of the grid.
        gate_logits: (tokens,) row by row; kept where the gate's probability is high enough.
        read: (tokens,) bool, True where the later layers looked.
        token_logits: (tokens read, labels) their evidence.
        attention_logits: (tokens read, labels).
    """

    rows: int
    columns: int
    gate_logits: FloatArray
    read: NDArray[np.bool_]
    token_logits: FloatArray
    attention_logits: FloatArray


class EarlyAnswer(NamedTuple):
    """What the early layers and the gate say about one view.

    Attributes:
        token_values: (rows, columns, width) of the tokens.
        gate_logits: (rows, columns).
    """

    token_values: FloatArray
    gate_logits: FloatArray


class LaterAnswer(NamedTuple):
    """What the later layers say about the tokens that they are given.

    Attributes:
        token_logits: (tokens, labels) evidence.
        attention_logits: (tokens, labels); zeros where the pooling does not read it.
    """

    token_logits: FloatArray
    attention_logits: FloatArray


class TokenNetwork(Protocol):
    """A runtime that can run early layers, gate and later layers."""

    def run(self, view: Pixels, threshold_prob: float, *, read_all: bool = False) -> TokenAnswer:
        """(height, width, 3) pixels of a view → evidence of the tokens kept.

        Args:
            view: pixels.
            threshold_prob: a token is kept from this probability of the gate on.
            read_all: keep every token.
        """
        ...

    def count_macs(self, view_px_hw: tuple[int, int], tokens_kept: int) -> int:
        """Multiply-adds for a view of this size of which so many tokens are kept."""
        ...

    def count_tokens(self, view_px_hw: tuple[int, int]) -> int:
        """Tokens of a view of this size."""
        ...


CELLS_PX = (GLANCE_STEP_PX, 2 * GLANCE_STEP_PX)
"""Sides of the cells that multiply-adds of convolutions are counted by, in pixels of the view."""


@dataclass(frozen=True)
class TokenMacs:
    """Multiply-adds of an integrated network as a closed form: no graph has to be counted.

    Convolutions count by the cells of their maps: finer ones by those of ``GLANCE_STEP_PX``, the
    others by those of twice that, begun ones counted whole. What is done to each token counts by
    tokens, and attention by pairs of them.

    Attributes:
        fixed: whatever the size.
        per_cell: of the early layers, per cell of ``GLANCE_STEP_PX`` a side.
        per_coarse_cell: of the early layers, per cell of twice that.
        per_token: of the early layers and the gate.
        per_token_pair: of the early layers' attention, times the tokens squared.
        per_kept: of the later layers.
        per_kept_pair: of the later layers' attention, times the tokens kept squared.
    """

    fixed: int
    per_cell: int
    per_coarse_cell: int
    per_token: int
    per_token_pair: int
    per_kept: int
    per_kept_pair: int

    def count(self, view_px_hw: tuple[int, int], tokens: int, kept: int) -> int:
        """Multiply-adds for a view of this size.

        Args:
            view_px_hw: height and width in pixels.
            tokens: of the view.
            kept: by the gate.
        """
        cells, coarse = (count_grid(view_px_hw, side) for side in CELLS_PX)
        return (
            self.fixed
            + self.per_cell * cells
            + self.per_coarse_cell * coarse
            + self.per_token * tokens
            + self.per_token_pair * tokens**2
            + self.per_kept * kept
            + self.per_kept_pair * kept**2
        )


def count_grid(view_px_hw: tuple[int, int], token_px: int) -> int:
    """Tokens of a view, or its cells of any size: those at its border may reach beyond it.

    Args:
        view_px_hw: height and width of the view in pixels.
        token_px: side of a token in pixels of the view.
    """
    rows, columns = (-(-side // token_px) for side in view_px_hw)
    return rows * columns


@dataclass(frozen=True)
class GatedModel:
    """A trained integrated model: the network and the rules behind it.

    Attributes:
        network: early layers, gate and later layers.
        rules: ``tile_px`` is the side of a token in pixels of the view, ``glance_px`` the long
            side of the view; of ``choice`` the threshold alone counts, there is no quota.
    """

    network: TokenNetwork
    rules: Rules

    def forward(
        self, photo: Photo, *, read_all: bool = False, read: ReadTiles | None = None
    ) -> tuple[Evidence, Tiles]:
        """Look at one photo.

        Args:
            photo: the photo.
            read_all: keep every token, for comparison.
            read: not used; everything is in the view.

        Returns:
            Evidence and the grid of the photo's tokens.
        """
        del read
        view = take_glance(photo, self.rules.glance_px).pixels
        seen = self.network.run(view, self.rules.choice.threshold_prob, read_all=read_all)
        tiles = lay_tokens(
            photo.size_px_hw, (view.shape[0], view.shape[1]), (seen.rows, seen.columns),
            self.rules.tile_px,
        )  # fmt: skip
        tokens, labels = len(seen.read), len(self.rules.labels)
        tile_logits = np.full((tokens, labels), np.nan, dtype=np.float32)
        attention_logits = np.zeros_like(tile_logits)
        tile_logits[seen.read] = seen.token_logits
        attention_logits[seen.read] = seen.attention_logits
        evidence = Evidence(
            scout_logits=seen.gate_logits,
            scout_label_logits=np.full_like(tile_logits, EMPTY_BAG_LOGIT),
            glance_logits=np.full(labels, EMPTY_BAG_LOGIT, dtype=np.float32),
            read=seen.read,
            tile_logits=tile_logits,
            attention_logits=attention_logits,
            focus_logits=pool_kept(self.rules.pooling, tile_logits, attention_logits, seen.read),
            place_logits=seen.token_logits[:, :, None, None],
            strangeness=self.rules.measure_strangeness(view),
        )
        return evidence, tiles

    def label_probs(self, evidence: Evidence) -> FloatArray:
        """(labels,) calibrated probabilities of the pooled evidence."""
        return self.rules.calibrate(evidence.focus_logits, evidence.strangeness)

    def count_macs(self, photo_size_px_hw: tuple[int, int], tiles_read: int) -> int:
        """Multiply-adds for a photo of this size of which so many tokens are kept."""
        return self.network.count_macs(self._view_size(photo_size_px_hw), tiles_read)

    def count_macs_all_tiles(self, photo_size_px_hw: tuple[int, int]) -> int:
        """Multiply-adds of the dense network: every token is kept."""
        view = self._view_size(photo_size_px_hw)
        return self.network.count_macs(view, self.network.count_tokens(view))

    def _view_size(self, photo_size_px_hw: tuple[int, int]) -> tuple[int, int]:
        return glance_size_px_hw(photo_size_px_hw, self.rules.glance_px)


def pool_kept(
    pooling: str, token_logits: FloatArray, attention_logits: FloatArray, read: NDArray[np.bool_]
) -> FloatArray:
    """Pool a photo's tokens; a dropped one is no evidence.

    Args:
        pooling: a key of ``leafscout.diagnosis.pooling.POOLINGS``.
        token_logits: (tokens, labels) evidence; anything where dropped.
        attention_logits: (tokens, labels).
        read: (tokens,) True where kept.

    Returns:
        (labels,) logits, as ``leafscout.diagnosis.gated_pooling`` gave them in training.
    """
    filled = np.where(read[:, None], token_logits, EMPTY_BAG_LOGIT).astype(np.float32)
    counts = read if pooling in ATTENTION_POOLINGS else np.ones_like(read)
    return pool_tiles(pooling, filled, attention_logits, counts)


def lay_tokens(
    photo_size_px_hw: tuple[int, int],
    view_size_px_hw: tuple[int, int],
    grid: tuple[int, int],
    token_px: int,
) -> Tiles:
    """Where the tokens of a view lie in the photo.

    Args:
        photo_size_px_hw: height and width of the photo.
        view_size_px_hw: height and width of its view.
        grid: rows and columns of tokens.
        token_px: side of a token in pixels of the view.

    Returns:
        The grid in pixels of the photo; together the tokens cover every pixel, and the last ones
        end at the photo's border.
    """
    starts = []
    step = 1.0
    for photo_px, view_px, count in zip(photo_size_px_hw, view_size_px_hw, grid, strict=True):
        scale = photo_px / view_px
        step = max(step, scale * token_px)
        starts.append(
            tuple(min(photo_px - 1, round(index * token_px * scale)) for index in range(count))
        )
    # Rounded starts may lie a pixel further apart than a token is wide.
    return Tiles(photo_size_px_hw, int(np.ceil(step)), starts[0], starts[1])
