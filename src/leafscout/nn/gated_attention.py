"""Transformer blocks over tokens of which some are dropped: masked in training, left out later."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAX_LEAD = 30.0
"""Beyond it, a dropped key would outweigh all kept ones together whatever it is."""


class SelfAttention(nn.Module):
    """The projections of multi-head self-attention (Vaswani et al. 2017), named as in timm.

    Args:
        width: of a token.
        num_heads: that share the width.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"Expected a width that {num_heads} heads divide, but got {width}.")
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)


class TokenBlock(nn.Module):
    """A pre-norm transformer block; ``run_block`` runs it, and timm's blocks as well.

    Args:
        width: of a token.
        num_heads: of the attention.
        expansion: hidden width of the perceptron, as a multiple of ``width``.
    """

    def __init__(self, width: int, num_heads: int, expansion: int = 4) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, tokens, width) → the same shape; nothing is dropped."""
        return run_block(self, tokens, None)


def run_block(block: Any, tokens: Tensor, gates: Tensor | None) -> Tensor:
    """Run a pre-norm block on tokens of which some are dropped.

    Args:
        block: a ``TokenBlock``, or a block of a timm vision transformer.
        tokens: (batch, tokens, width).
        gates: (batch, tokens) 1 for a kept token, 0 for a dropped one, with any gradient; None
            keeps all.

    Returns:
        (batch, tokens, width). A kept token's row is what it would be if the dropped ones had been
        removed. A dropped token sees the kept ones and itself, so that what it would say is known.
    """
    seen = _attend(block.attn, block.norm1(tokens), gates)
    tokens = tokens + _scale(block, "ls1", seen)
    return tokens + _scale(block, "ls2", block.mlp(block.norm2(tokens)))


def _scale(block: Any, name: str, values: Tensor) -> Tensor:
    """What a timm block may do to a branch: scale its channels."""
    scale = getattr(block, name, None)
    return values if scale is None else scale(values)


def _attend(attention: Any, tokens: Tensor, gates: Tensor | None) -> Tensor:
    batch, count, width = tokens.shape
    heads = attention.num_heads
    qkv = attention.qkv(tokens).reshape(batch, count, 3, heads, -1).permute(2, 0, 3, 1, 4)
    queries, keys, values = qkv.unbind(0)
    for name in ("q_norm", "k_norm"):
        norm = getattr(attention, name, None)
        if norm is not None:
            queries, keys = (norm(queries), keys) if name == "q_norm" else (queries, norm(keys))
    if gates is None:
        mixed = F.scaled_dot_product_attention(queries, keys, values)
    else:
        mixed = weigh_kept(queries, keys, values, gates)
    out: Tensor = attention.proj(mixed.transpose(1, 2).reshape(batch, count, width))
    return out


def weigh_kept(queries: Tensor, keys: Tensor, values: Tensor, gates: Tensor) -> Tensor:
    """Attention to kept keys and to oneself, differentiable in the gates.

    A mask of −∞ would hide from a dropped token what keeping it would change; here the weight of
    key j is ``g_j · exp(s_ij)``, whose derivative in g_j does not vanish at 0 (as in Rao et al.
    2021, DynamicViT, eq. 10, without its smoothing). Of a dropped key that would outweigh the kept
    ones that derivative says far too much, so it is replaced by what keeping the key would change:
    ``w / (1 + w)`` of the way to its value, where w is its weight over that of all kept keys.

    Args:
        queries: (batch, heads, tokens, head width); keys and values alike.
        keys: of each token.
        values: of each token.
        gates: (batch, tokens) 0 or 1, with any gradient.

    Returns:
        (batch, heads, tokens, head width).
    """
    gates = gates[:, None, :, None].to(values.dtype)  # (batch, 1, tokens, 1)
    queries = queries * queries.shape[-1] ** -0.5
    scores = queries @ keys.transpose(2, 3)
    own = (queries * keys).sum(dim=3, keepdim=True)
    with torch.no_grad():
        dropped = (gates < 0.5).to(values.dtype)
        kept = scores.masked_fill(dropped.transpose(2, 3) > 0.5, -torch.inf)
        # A kept token is among the keys already; a dropped one still sees itself.
        alone = own.masked_fill(dropped < 0.5, -torch.inf)
        sum_kept = torch.logaddexp(kept.logsumexp(dim=3, keepdim=True), alone)
    weights = (scores - sum_kept).clamp(max=MAX_LEAD).exp()
    weights = weights / (1.0 + weights * dropped.transpose(2, 3))
    own_weight = (own - sum_kept).exp() * (1.0 - gates)
    total = weights @ torch.cat([gates * values, gates.expand_as(own)], dim=3)
    above, below = total[..., :-1] + own_weight * values, total[..., -1:] + own_weight
    return above / below
