"""One network for a whole photo: early layers, a gate that drops tokens, later layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from leafscout.nn.backbones import Backbone
from leafscout.nn.gated_attention import TokenBlock, run_block
from leafscout.recognisers.token_gate import TokenGate
from leafscout.recognisers.vision_stem import VisionStem

FIRST_EVIDENCE = -3.0
"""The evidence of a token before anything is learnt: most tokens show no disease."""


class Tokens(NamedTuple):
    """What the early layers see.

    Attributes:
        values: (photos, tokens, width), row by row.
        rows: of the grid of tokens.
        columns: of the grid.
    """

    values: Tensor
    rows: int
    columns: int


class TokenEvidence(NamedTuple):
    """What the later layers say about tokens.

    Attributes:
        token_logits: (photos, tokens, labels) evidence of each token.
        attention_logits: (photos, tokens, labels) weight in attention pooling.
    """

    token_logits: Tensor
    attention_logits: Tensor


class GatedTransformer(nn.Module):
    """Early layers → gate → later layers, which see only what was kept.

    The early layers are a convolutional stem, so that a lesion of a few pixels stands out in its
    token, and optionally some transformer blocks. No code of the place is added to a token: what
    counts as a lesion does not depend on where in the frame it lies, and any size of photo fits.
    Every token gives evidence for every label, so that the lesion map is what decides.

    Args:
        stem: feature maps; one cell is one token.
        labels: number of diseases.
        width: of a token.
        early_blocks: transformer blocks before the gate.
        later_blocks: transformer blocks behind it.
        num_heads: of the attention.
        blocks: all blocks, early ones first, as wide as the stem; they take the place of
            ``width``, ``later_blocks`` and ``num_heads``.
    """

    def __init__(
        self,
        stem: Backbone | VisionStem,
        labels: int,
        *,
        width: int = 64,
        early_blocks: int = 0,
        later_blocks: int = 3,
        num_heads: int = 2,
        blocks: Sequence[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.labels = labels
        self.project: nn.Module = nn.Identity()
        if blocks is None:
            self.project = nn.Conv2d(stem.channels, width, 1)
            count = early_blocks + later_blocks
            blocks = [TokenBlock(width, num_heads) for _ in range(count)]
        else:
            width = stem.channels
        self.width = width
        self.early = nn.ModuleList(blocks[:early_blocks])
        self.gate = TokenGate(width)
        self.later = nn.ModuleList(blocks[early_blocks:])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 2 * labels)
        nn.init.normal_(self.head.weight, std=1.0 / math.sqrt(width))
        nn.init.zeros_(self.head.bias)
        nn.init.constant_(self.head.bias[:labels], FIRST_EVIDENCE)

    @property
    def stride(self) -> int:
        """Pixels along a side of a token."""
        return self.stem.stride

    def embed(self, pixels: Tensor) -> Tokens:
        """(photos, 3, height, width) 0..255 → tokens of the early layers."""
        features = self.project(self.stem(pixels))
        rows, columns = features.shape[2], features.shape[3]  # unknown while a graph is drawn
        values = features.flatten(2).transpose(1, 2)
        for block in self.early:
            values = run_block(block, values, None)
        return Tokens(values, rows, columns)

    def read(self, values: Tensor, gates: Tensor | None = None) -> TokenEvidence:
        """The later layers.

        Args:
            values: (photos, tokens, width) of the early layers.
            gates: (photos, tokens) 0 or 1 with any gradient; None where all tokens given are kept.

        Returns:
            Evidence of every token given. That of a dropped one is what it would say if it alone
            were kept in addition; it has no influence on the kept ones.
        """
        for block in self.later:
            values = run_block(block, values, gates)
        evidence, attention = self.head(self.norm(values)).float().chunk(2, dim=2)
        return TokenEvidence(evidence, attention)

    def read_kept(self, values: Tensor, kept: Tensor) -> TokenEvidence:
        """The later layers on the kept tokens of one photo alone; the others are not there.

        Args:
            values: (1, tokens, width) of the early layers.
            kept: (tokens,) bool, at least one True.

        Returns:
            Evidence of the kept tokens, (1, kept, labels).
        """
        return self.read(values[:, kept])

    def forward(self, pixels: Tensor) -> TokenEvidence:
        """The dense network: every token is kept; the gate's answer is computed and unused."""
        tokens = self.embed(pixels)
        self.gate(tokens.values)
        return self.read(tokens.values)
