"""The integrated network as it is deployed, laid open for methods that look inside."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from leafscout.diagnosis.gated_pooling import pool_gated
from leafscout.diagnosis.pooling import EMPTY_BAG_LOGIT
from leafscout.nn.gated_attention import run_block
from leafscout.recognisers.gated_transformer import GatedTransformer


class DeployedTokens(nn.Module):
    """Pixels of views → evidence of photos, tokens that the gate drops left out as in a diagnosis.

    Every step gives a map of the whole grid, with zeros where a token was dropped, so that heat at
    any of them lies where its tokens do. The decision of the gate has no gradient: what a method
    shows is what speaks for a label among the tokens kept.

    Args:
        network: in evaluation mode; its weights are shared.
        threshold_prob: a token is kept from this probability of the gate on.
        pooling: a key of ``leafscout.diagnosis.pooling.POOLINGS``.
    """

    def __init__(self, network: GatedTransformer, threshold_prob: float, pooling: str) -> None:
        super().__init__()
        self.stem = network.stem
        self.project = network.project
        blocks = [*network.early, *network.later]
        self.blocks = nn.ModuleList(
            _OnKept(partial(run_block, block, gates=None)) for block in blocks
        )
        self.norm = _OnKept(network.norm.forward)
        self.early_blocks = len(network.early)
        self.threshold_prob = threshold_prob
        self.pooling = pooling
        # Not as modules: what they give for the tokens kept is no map, though it may look like one.
        self._gate, self._head = network.gate.forward, network.head.forward

    def forward(self, pixels: Tensor) -> Tensor:
        """(photos, 3, height, width) 0..255 → (photos, labels) logits before calibration."""
        (evidence, attention), kept, _ = self._judge(pixels)
        return pool_gated(self.pooling, evidence, attention, kept.to(evidence.dtype))

    def class_maps(self, pixels: Tensor) -> Tensor:
        """Evidence of every token, of which the photo's is pooled.

        Args:
            pixels: (photos, 3, height, width) 0..255.

        Returns:
            (photos, labels, rows, columns) logits; ``EMPTY_BAG_LOGIT`` where a token was dropped.
        """
        (evidence, _), _, (rows, columns) = self._judge(pixels)
        return evidence.transpose(1, 2).reshape(len(evidence), -1, rows, columns)

    def _judge(self, pixels: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor, tuple[int, int]]:
        """Evidence and attention (photos, tokens, labels), which tokens were kept, and the grid."""
        maps = self.project(self.stem(pixels))
        kept = torch.ones_like(maps[:, 0], dtype=torch.bool).flatten(1)
        for block in self.blocks[: self.early_blocks]:
            maps = block(maps, kept)
        kept = torch.sigmoid(self._gate(_to_tokens(maps))) >= self.threshold_prob
        for block in self.blocks[self.early_blocks :]:
            maps = block(maps, kept)
        maps = self.norm(maps, kept)
        evidence, attention = self._head(_to_tokens(maps)).float().chunk(2, dim=2)
        evidence = torch.where(kept[..., None], evidence, EMPTY_BAG_LOGIT)
        return (evidence, attention), kept, (int(maps.shape[2]), int(maps.shape[3]))


class _OnKept(nn.Module):
    """A layer that only the kept tokens of each photo are given to, laid back on the grid.

    Args:
        layer: (1, tokens, width) → the same shape; hidden from methods, as its rows have no places.
    """

    def __init__(self, layer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, maps: Tensor, kept: Tensor) -> Tensor:
        """(photos, width, rows, columns), (photos, tokens) bool → the same shape, else zeros."""
        laid = []
        for values, here in zip(_to_tokens(maps), kept, strict=True):
            seen = values[None, here]
            if seen.shape[1]:
                seen = self.layer(seen)
            laid.append(torch.zeros_like(values).index_put((here,), seen[0]))
        return torch.stack(laid).transpose(1, 2).reshape(maps.shape)


def _to_tokens(maps: Tensor) -> Tensor:
    """(photos, width, rows, columns) → (photos, tokens, width), row by row."""
    return maps.flatten(2).transpose(1, 2)
