"""The expert: a strong network that reads tiles at full resolution."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from leafscout.nn.backbones import Backbone
from leafscout.nn.feature_maps import add_maps

EXPERT_STRIDE = 32
OPEN_GATE = 20.0
"""The sigmoid of this is 1 in single precision."""


class TileFeatures(NamedTuple):
    """What the backbone sees in a batch of tiles.

    Attributes:
        coarse: (tiles, channels, rows, columns) the last feature map.
        fine: (tiles, fewer channels, more rows, more columns) an earlier one, or None.
    """

    coarse: Tensor
    fine: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> TileFeatures:
        """The same change made to both."""
        return TileFeatures(change(self.coarse), None if self.fine is None else change(self.fine))


class ExpertOutput(NamedTuple):
    """Evidence of one batch of tiles.

    Attributes:
        tile_logits: (tiles, labels) evidence of each tile.
        attention_logits: (tiles, labels) how much a tile should count in attention pooling.
        place_logits: (tiles, labels, rows, columns) evidence of places inside the tiles.
    """

    tile_logits: Tensor
    attention_logits: Tensor
    place_logits: Tensor


class Expert(nn.Module):
    """Evidence of places inside a tile, and of the tile as their soft maximum.

    The place evidence is a class activation map (Zhou et al. 2016): a linear classifier applied
    to every cell of the last feature map. Where the backbone also gives a finer map, a second
    linear classifier on its cells is added to the first one's, laid bilinearly over them (Long et
    al. 2015, "skip" fusion): the last map knows best what a lesion is, the finer one where.

    A tile's evidence is the length-normalised log-sum-exp of its places (Pinheiro & Collobert
    2015, eq. 6), so that a lesion smaller than the tile decides, and that which decides is what
    the lesion map shows.

    Args:
        backbone: feature maps of stride 32, with or without a finer one.
        labels: number of diseases.
        sharpness: of the log-sum-exp over places; 0 is the mean, infinite the maximum.
        shrink: blocks of so many pixels squared are averaged before the backbone sees them; for
            photos whose lesions are larger than what the backbone was pretrained on.
        dropout: share of feature channels dropped in training, 0..1.
        attention_dim: hidden width of the gated attention.
    """

    sharpness: Tensor
    shrink: Tensor

    def __init__(
        self,
        backbone: Backbone,
        labels: int,
        sharpness: float = 2.0,
        shrink: int = 1,
        dropout: float = 0.2,
        attention_dim: int = 64,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.labels = labels
        # A buffer: it is saved with the weights that were trained for it.
        self.register_buffer("sharpness", torch.tensor(float(sharpness)))
        self.register_buffer("shrink", torch.tensor(int(shrink)))
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(backbone.channels, labels, 1)
        self.attention = GatedAttention(backbone.channels, attention_dim, labels)
        nn.init.normal_(self.head.weight, std=1.0 / math.sqrt(backbone.channels))
        nn.init.constant_(self.head.bias, -2.0)  # type: ignore[arg-type]
        self.fine_head: nn.Conv2d | None = None
        if backbone.fine is not None:
            width = backbone.fine.channels
            self.fine_head = nn.Conv2d(width, labels, 1, bias=False)
            nn.init.normal_(self.fine_head.weight, std=0.3 / math.sqrt(width))

    def forward(self, tiles: Tensor) -> ExpertOutput:
        """(tiles, 3, tile_px, tile_px) pixels 0..255 → evidence."""
        return self.read_features(self.see(tiles))

    def see(self, tiles: Tensor) -> TileFeatures:
        """(tiles, 3, tile_px, tile_px) pixels 0..255 → features of the backbone."""
        shrink = int(self.shrink)
        if shrink > 1:
            tiles = functional.avg_pool2d(tiles.float(), shrink)
        if self.fine_head is None:
            return TileFeatures(self.backbone(tiles))
        return TileFeatures(*self.backbone.forward_fine(tiles))

    def read_features(self, features: TileFeatures) -> ExpertOutput:
        """Features of the backbone → evidence."""
        coarse = self.dropout(features.coarse)
        place_logits = self.head(coarse).float()
        if self.fine_head is not None and features.fine is not None:
            fine_logits = self.fine_head(self.dropout(features.fine)).float()
            place_logits = add_maps(fine_logits, place_logits)
        places = place_logits.flatten(2)  # (tiles, labels, rows·columns)
        tile_logits = (
            torch.logsumexp(self.sharpness * places, dim=2) - math.log(places.shape[2])
        ) / self.sharpness
        attention_logits = self.attention(coarse.float().mean(dim=(2, 3))).float()
        return ExpertOutput(tile_logits, attention_logits, place_logits)

    def new_layers(self) -> list[nn.Parameter]:
        """What no pretrained weights can fill."""
        fine = [] if self.fine_head is None else [*self.fine_head.parameters()]
        return [*self.head.parameters(), *fine, *self.attention.parameters()]


class GatedAttention(nn.Module):
    """Attention scores ``w·(tanh(V h) ⊙ σ(U h))``, one set a label (Ilse et al. 2018, eq. 9).

    Args:
        features: width of a tile's feature vector.
        hidden: width of the gate.
        labels: number of diseases.
    """

    def __init__(self, features: int, hidden: int, labels: int) -> None:
        super().__init__()
        self.value = nn.Linear(features, hidden)
        self.gate = nn.Linear(features, hidden)
        self.score = nn.Linear(hidden, labels)

    def open_gate(self) -> None:
        """Hold the gate open for good: what is left is plain attention ``w·tanh(V h)`` (eq. 8)."""
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, OPEN_GATE)
        self.gate.requires_grad_(requires_grad=False)

    def forward(self, tile_features: Tensor) -> Tensor:
        """(tiles, features) → (tiles, labels) scores before the softmax over a bag."""
        gated = torch.tanh(self.value(tile_features)) * torch.sigmoid(self.gate(tile_features))
        scores: Tensor = self.score(gated)
        return scores
