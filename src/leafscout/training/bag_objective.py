"""What the expert is asked of one photo: the objectives that a recipe can choose between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from leafscout.diagnosis.context import CONTEXT_POOLINGS
from leafscout.diagnosis.pooling_torch import pool_bags
from leafscout.focus.expert import Expert, ExpertOutput, TileFeatures
from leafscout.losses.bag import bag_loss, exact_negative_loss
from leafscout.losses.exclusive import exclusive_bag_loss
from leafscout.losses.rising_weight import rising_weight
from leafscout.losses.sparsity import sparsity_loss
from leafscout.losses.tile_labels import background_class_loss, copied_label_loss
from leafscout.training.recipes import Recipe
from leafscout.types import Tiles

HEADS = "training_heads"


class SeenTiles(NamedTuple):
    """What the expert says about tiles, and what it says it from.

    Attributes:
        tile_logits: (tiles, labels) evidence.
        attention_logits: (tiles, labels).
        features: (tiles, channels) of the whole tile.
    """

    tile_logits: Tensor
    attention_logits: Tensor
    features: Tensor


class TrainingHeads(nn.Module):
    """Parts that an objective needs beside the expert, and a diagnosis does not.

    Args:
        recipe: says which.
        channels: width of the tiles' features.
        labels: number of diseases.
    """

    def __init__(self, recipe: Recipe, channels: int, labels: int) -> None:
        super().__init__()
        build = CONTEXT_POOLINGS.get(recipe.context_pooling)
        self.context = None if build is None else build(channels, labels)
        needs_background = recipe.bag_objective == "background_class"
        self.background = nn.Linear(channels, 1) if needs_background else None


def attach_heads(network: Expert, recipe: Recipe, seed: int) -> None:
    """Give the expert what the recipe's objective needs while it learns; often nothing.

    Plain attention (Ilse et al. 2018, eq. 8) is gated attention whose gate stays open.
    """
    if recipe.pooling == "attention":
        network.attention.open_gate()
    heads: TrainingHeads | None = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = TrainingHeads(recipe, network.backbone.channels, network.labels)
    if any(True for _ in heads.parameters()):
        network.add_module(HEADS, heads.to(next(network.parameters()).device))


def detach_heads(network: Expert) -> None:
    """Take away what only training needed."""
    if heads_of(network) is not None:
        delattr(network, HEADS)


def heads_of(network: Expert) -> TrainingHeads | None:
    """The parts that only training needs, where there are any."""
    heads = getattr(network, HEADS, None)
    return heads if isinstance(heads, TrainingHeads) else None


def see_tiles(network: Expert, features: TileFeatures) -> SeenTiles:
    """Features of the backbone → all that the objectives ask for."""
    return gather_seen(features, network.read_features(features))


def gather_seen(features: TileFeatures, out: ExpertOutput) -> SeenTiles:
    """Features of the backbone and the evidence told from them → all that objectives ask for."""
    pooled = features.coarse.float().mean(dim=(2, 3))
    return SeenTiles(out.tile_logits, out.attention_logits, pooled)


def tile_cells(tiles: Tiles, device: torch.device) -> Tensor:
    """(tiles, 2) row and column of each tile in its grid."""
    cells = np.stack(np.divmod(np.arange(len(tiles)), tiles.columns), axis=1)
    return torch.from_numpy(cells).to(device)


@dataclass(frozen=True, eq=False)
class BagObjective:
    """The loss of one photo.

    Attributes:
        recipe: which objective, and its weights.
        positive_weight: (labels,) weights of the labels.
        labels_complete: whether a label that is not named is known to be absent.
    """

    recipe: Recipe
    positive_weight: Tensor
    labels_complete: bool

    def copies_labels(self, epoch: int) -> bool:
        """Whether tiles get the label of their photo now, so that none needs to be ranked."""
        if self.recipe.bag_objective.startswith("copied_label"):
            return True
        first = int(self.recipe.copied_label_frac * self.recipe.expert_stage.epochs)
        return self.recipe.bag_objective == "mil" and epoch < first

    def loss(
        self,
        network: Expert,
        bag: SeenTiles,
        learned: SeenTiles,
        cells: Tensor,
        stays: Tensor,
        truth: Tensor,
        epoch: int,
    ) -> Tensor:
        """The loss of one photo; gradients reach the tiles that are learnt from.

        Args:
            network: the expert, perhaps with heads that only training needs.
            bag: all tiles; those learnt from with their gradients.
            learned: the tiles learnt from alone.
            cells: (tiles, 2) row and column of all tiles.
            stays: (tiles,) bool, False for tiles that are left out of the bag.
            truth: (1, labels) 0 or 1.
            epoch: from 0.
        """
        recipe, tile_logits = self.recipe, learned.tile_logits[None]
        if self.copies_labels(epoch):
            smoothing = recipe.label_smoothing if recipe.bag_objective.endswith("smoothed") else 0.0
            total = copied_label_loss(tile_logits, truth, self.positive_weight, smoothing=smoothing)
        else:
            total = self._bag_loss(heads_of(network), bag, cells, stays, truth)
            weight = rising_weight(
                epoch, recipe.exact_negative_weight, recipe.exact_negative_warmup_epochs
            )
            total = total + weight * exact_negative_loss(
                tile_logits, truth, labels_complete=self.labels_complete
            )
        pressure = rising_weight(epoch, recipe.sparsity_weight, recipe.sparsity_warmup_epochs)
        if pressure > 0:
            total = total + pressure * sparsity_loss(
                tile_logits, truth, labels_complete=self.labels_complete
            )
        return total

    def photo_loss(self, bag_logits: Tensor, truth: Tensor) -> Tensor:
        """(bags, labels) pooled evidence against the photos' labels."""
        loss = exclusive_bag_loss if self.recipe.exclusive else bag_loss
        return loss(bag_logits, truth, self.positive_weight)

    def _bag_loss(
        self,
        heads: TrainingHeads | None,
        bag: SeenTiles,
        cells: Tensor,
        stays: Tensor,
        truth: Tensor,
    ) -> Tensor:
        logits, stays = bag.tile_logits[None], stays[None]
        if heads is not None and heads.background is not None:
            # Left-out tiles do not arise here: instance dropout is for multiple-instance learning.
            background = heads.background(bag.features)[None, :, 0].float()
            return background_class_loss(logits, background, truth, self.positive_weight)
        pooled = pool_bags(self.recipe.pooling, logits, bag.attention_logits[None], stays)
        total = self.photo_loss(pooled, truth)
        if heads is not None and heads.context is not None:
            seen_together = heads.context(bag.features[None], logits, cells[None], stays)
            total = total + self.photo_loss(seen_together.float(), truth)
        return total
