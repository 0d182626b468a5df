"""The scout: a small network that sees only the glance and says where to look."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from leafscout.glance.places import LEAST_EXPONENT, PLACE_SHARPNESS, tile_weights
from leafscout.nn.backbones import Backbone
from leafscout.nn.feature_maps import add_maps
from leafscout.types import Tiles

SCOUT_STRIDE = 16


class ScoutOutput(NamedTuple):
    """Logits of one batch of glances.

    Attributes:
        score_map: (batch, rows, columns) "something is wrong here", one absolute score a place.
        label_maps: (batch, labels, rows, columns) guess at the expert's evidence.
        glance_logits: (batch, labels) photo-level evidence of the glance itself.
    """

    score_map: Tensor
    label_maps: Tensor
    glance_logits: Tensor


class Scout(nn.Module):
    """Scores every place of a glance; absolute scores, never normalised within a photo.

    Its places have stride 16. A backbone that ends there gives all evidence from its last map. A
    backbone that goes on to stride 32 gives it from both maps, the coarser one's laid bilinearly
    over the finer one's, as the expert does: what the coarser map knows about the whole leaf makes
    the glance's own photo-level evidence much stronger.

    Args:
        backbone: feature maps of stride 16, or of stride 32 with a finer one of stride 16.
        labels: number of diseases.
        dropout: share of feature channels dropped in training, 0..1.
    """

    def __init__(self, backbone: Backbone, labels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.backbone = backbone
        self.labels = labels
        self.dropout = nn.Dropout2d(dropout)
        # Channel 0: the score; then one map a label for the tiles; then one a label for the photo.
        self.head = nn.Conv2d(backbone.channels, 1 + 2 * labels, 1)
        start_at_prior(self.head, prob=0.05)
        self.fine_head: nn.Conv2d | None = None
        if backbone.fine is not None:
            self.fine_head = nn.Conv2d(backbone.fine.channels, 1 + 2 * labels, 1, bias=False)
            nn.init.normal_(self.fine_head.weight, std=0.01)

    def forward(self, glances: Tensor) -> ScoutOutput:
        """(batch, 3, height, width) pixels 0..255 → evidence."""
        maps = self._read(glances)
        score, label_maps, photo_maps = torch.split(maps, [1, self.labels, self.labels], dim=1)
        # (batch, labels, rows·columns) → the mean of the best 2% of places
        places = photo_maps.flatten(2)
        if self.fine_head is not None:
            # What pretrained features say is spread over many places: all of them are weighed.
            # Counted by the tensor: an exported graph would keep a number for glances of any size.
            count = torch.ones_like(places).sum(dim=2)
            photo_logits = torch.logsumexp(places, dim=2) - torch.log(count)
            return ScoutOutput(score[:, 0], label_maps, photo_logits)
        best = places.topk(max(1, math.ceil(0.02 * places.shape[2])), dim=2).values
        return ScoutOutput(score[:, 0], label_maps, best.mean(dim=2))

    def _read(self, glances: Tensor) -> Tensor:
        """(batch, 1 + 2·labels, rows, columns) evidence of places."""
        if self.fine_head is None:
            return self.head(self.dropout(self.backbone(glances))).float()  # type: ignore[no-any-return]
        coarse, fine = self.backbone.forward_fine(glances)
        near = self.fine_head(self.dropout(fine)).float()
        return add_maps(near, self.head(self.dropout(coarse)).float())


def start_at_prior(head: nn.Conv2d, prob: float) -> None:
    """Start a head at a low probability everywhere: nearly all places are background."""
    nn.init.normal_(head.weight, std=0.01)
    if head.bias is not None:
        nn.init.constant_(head.bias, math.log(prob / (1 - prob)))


def pool_places_torch(place_logits: Tensor, tiles: Tiles, border_exponent: float = 1.0) -> Tensor:
    """Torch twin of ``leafscout.glance.places.pool_places``, for training.

    Args:
        place_logits: (channels, rows, columns) logits over the whole photo.
        tiles: the grid.
        border_exponent: as there.

    Returns:
        (tiles, channels) logits.
    """
    map_size_hw = (place_logits.shape[1], place_logits.shape[2])
    rows, columns = (
        torch.from_numpy(weights).to(place_logits.device, torch.float64)
        for weights in tile_weights(tiles, map_size_hw, border_exponent)
    )
    # In double precision, or one loud place would lift all others to a floor 20 below itself.
    scaled = PLACE_SHARPNESS * place_logits.double()
    top = scaled.detach().amax(dim=(1, 2), keepdim=True)
    summed = rows @ torch.exp((scaled - top).clamp(min=LEAST_EXPONENT)) @ columns.T
    pooled = (torch.log(summed) + top) / PLACE_SHARPNESS
    return pooled.flatten(1).T.float()
