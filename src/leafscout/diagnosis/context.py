"""Poolings that see all tiles of a photo at once, and where each lies: for training alone.

They read the features of every tile. A diagnosis reads a few tiles and knows no features of the
others, so these poolings are no way to deploy a model: they teach the expert beside the pooling
that is deployed, and their answer over all tiles can teach a student.

Shapes: (bags, tiles, channels) features, (bags, tiles, labels) logits, (bags, tiles, 2) cells of
the tile grid (row, column), (bags, tiles) mask → (bags, labels). Masked tiles have no influence,
the order of the tiles does not matter, and a bag without tiles has ``EMPTY_BAG_LOGIT``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leafscout.diagnosis.pooling import EMPTY_BAG_LOGIT
from leafscout.diagnosis.pooling_torch import pool_bags

WIDTH = 64
LONGEST_PERIOD_TILES = 64.0
"""Slowest wave of the positions: more tiles than any photo has along a side."""


class TransformerPooling(nn.Module):
    """A class token that attends to all tiles, with positions in units of tiles.

    After the way of Shao et al. (2021, TransMIL): tokens of tiles and one for the bag go through
    self-attention; the bag's token is read out. Attention is exact here: a photo has hundreds of
    tiles, not ten thousands.

    Args:
        channels: width of a tile's features.
        labels: number of diseases.
        width: of the tokens, a multiple of 4 and of ``heads``.
        layers: of self-attention.
        heads: of each.
    """

    def __init__(
        self, channels: int, labels: int, width: int = WIDTH, layers: int = 1, heads: int = 4
    ) -> None:
        super().__init__()
        self.width = width
        self.enter = nn.Linear(channels + labels, width)
        self.bag_token = nn.Parameter(0.02 * torch.randn(width))
        # Normalised before each block, which needs no warm-up of the learning rate (Xiong 2020).
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.1, activation="gelu", batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, labels))

    def forward(self, features: Tensor, logits: Tensor, cells: Tensor, mask: Tensor) -> Tensor:
        """Features, logits, cells and mask of the tiles → (bags, labels) logits."""
        features = _blank(features, mask)
        tokens = self.enter(torch.cat([features, _blank(logits, mask)], dim=2))
        tokens = tokens + encode_cells(cells, self.width)
        bag = self.bag_token.expand(len(tokens), 1, -1)
        hidden = torch.cat([bag, tokens], dim=1)
        # The bag's own token is never hidden, so that no row of the softmax is empty.
        hidden_tiles = F.pad(~mask, (1, 0), value=False)
        encoded = self.encoder(hidden, src_key_padding_mask=hidden_tiles)
        return _or_empty(self.leave(encoded[:, 0]), mask)


class GraphPooling(nn.Module):
    """Messages between neighbouring and similar tiles, then a pooling of what they changed.

    Tiles are nodes; edges join the eight neighbours in the grid and the tiles most alike. Each
    round is a graph convolution ``H' = ReLU(Â H W)`` (Kipf & Welling 2017, eq. 2) with
    ``Â = D^-½ (A + I) D^-½`` over the tiles that count, added to what was there. The last layer
    begins at zero, so that the pooling starts as the log-sum-exp of the tiles' own evidence.

    Args:
        channels: width of a tile's features.
        labels: number of diseases.
        width: of the hidden nodes.
        rounds: of messages.
        similar: edges from each tile to the tiles whose features point most alike.
    """

    def __init__(
        self, channels: int, labels: int, width: int = WIDTH, rounds: int = 2, similar: int = 2
    ) -> None:
        super().__init__()
        self.similar = similar
        self.enter = nn.Linear(channels + labels, width)
        # Averaging over nine tiles thins what one neighbour says; normalising makes it heard.
        self.rounds = nn.ModuleList(
            [nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) for _ in range(rounds)]
        )
        self.leave = nn.Linear(width, labels)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, features: Tensor, logits: Tensor, cells: Tensor, mask: Tensor) -> Tensor:
        """Features, logits, cells and mask of the tiles → (bags, labels) logits."""
        changed = self.read_tiles(features, logits, cells, mask)
        return pool_bags("log_sum_exp", changed, torch.zeros_like(changed), mask)

    def read_tiles(self, features: Tensor, logits: Tensor, cells: Tensor, mask: Tensor) -> Tensor:
        """(bags, tiles, labels) evidence of the tiles after the messages."""
        features, logits = _blank(features, mask), _blank(logits, mask)
        mixing = normalise_edges(join_tiles(features, cells, mask, self.similar))
        nodes = torch.relu(self.enter(torch.cat([features, logits], dim=2)))
        for layer in self.rounds:
            nodes = nodes + torch.relu(layer(mixing @ nodes))
        changed: Tensor = logits + self.leave(nodes)
        return changed


ContextPooling = TransformerPooling | GraphPooling

CONTEXT_POOLINGS: dict[str, Callable[[int, int], ContextPooling]] = {
    "transformer": TransformerPooling,
    "graph": GraphPooling,
}
"""Name → what builds one from the width of the features and the number of labels."""


def encode_cells(cells: Tensor, width: int) -> Tensor:
    """Sines and cosines of rows and columns (Vaswani et al. 2017, in two dimensions).

    Args:
        cells: (..., 2) row and column in units of tiles.
        width: of the encoding, a multiple of 4.

    Returns:
        (..., width): a quarter each of sines of the row, its cosines, and those of the column.
    """
    steps = torch.arange(width // 4, device=cells.device, dtype=torch.float32)
    rates = torch.exp(-math.log(LONGEST_PERIOD_TILES) * steps / max(1, width // 4 - 1))
    angles = cells.float()[..., None] * rates  # (..., 2, width/4)
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def join_tiles(features: Tensor, cells: Tensor, mask: Tensor, similar: int) -> Tensor:
    """Which tiles send messages to each other.

    Args:
        features: (bags, tiles, channels).
        cells: (bags, tiles, 2) row and column.
        mask: (bags, tiles) tiles that count; the others have no edges.
        similar: edges from each tile to those with the nearest direction of features.

    Returns:
        (bags, tiles, tiles) symmetric, 1 for an edge and on the diagonal of the tiles that count.
    """
    away = (cells[:, :, None] - cells[:, None]).abs().amax(dim=3)
    edges = away <= 1
    both = mask[:, :, None] & mask[:, None]
    if similar:
        with torch.no_grad():
            direction = F.normalize(features, dim=2)
            alike = direction @ direction.transpose(1, 2)
            itself = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
            alike = alike.masked_fill(~both | itself, -torch.inf)
            best = alike.topk(min(similar, mask.shape[1]), dim=2)
            chosen = torch.zeros_like(edges).scatter(2, best.indices, torch.isfinite(best.values))
        edges = edges | chosen | chosen.transpose(1, 2)
    return (edges & both).to(features.dtype)


def normalise_edges(edges: Tensor) -> Tensor:
    """``D^-½ A D^-½`` of (bags, tiles, tiles) edges; rows without an edge stay zero."""
    scale = edges.sum(dim=2).clamp(min=1.0).rsqrt()
    return scale[:, :, None] * edges * scale[:, None]


def _blank(values: Tensor, mask: Tensor) -> Tensor:
    # What a tile that was not read holds may be anything, NaN included.
    return values.masked_fill(~mask[..., None], 0.0)


def _or_empty(bag_logits: Tensor, mask: Tensor) -> Tensor:
    anything = mask.any(dim=1, keepdim=True)
    return torch.where(anything, bag_logits, bag_logits.new_tensor(EMPTY_BAG_LOGIT))
