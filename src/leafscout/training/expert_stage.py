"""Stage 1: the expert learns which tiles matter, from photo labels alone (MIL)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leafscout.diagnosis.pooling_torch import pool_bags
from leafscout.evaluation.comparison import macro_average_precision
from leafscout.evaluation.scores import plain_weights
from leafscout.focus.expert import Expert
from leafscout.losses.bag import bag_loss, exact_negative_loss, positive_weights
from leafscout.networks import TILES_AT_ONCE, to_batch
from leafscout.photos.augment import Augmentation, draw_augmentation
from leafscout.photos.labels import LabelTable
from leafscout.photos.loader import load_photos
from leafscout.photos.tiles import cut_tiles, lay_tiles
from leafscout.training.loop import Validation
from leafscout.training.recipes import Recipe, StageSettings
from leafscout.types import FloatArray, Photo, Pixels


def rank_for_learning(
    tile_logits: FloatArray, best: int, random: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Choose the tiles to learn from: the strongest of every label in turn, and some at random.

    The strongest tiles of labels that the photo has are where its lesions are thought to be; of
    labels that it does not have, they are the hardest negatives.

    Args:
        tile_logits: (tiles, labels) evidence.
        best: how many by evidence.
        random: how many of the others by chance.
        rng: randomness.

    Returns:
        Sorted indices, without repeats; all tiles when there are too few to choose from.
    """
    tiles = len(tile_logits)
    if tiles <= best + random:
        return np.arange(tiles)
    rank = np.argsort(np.argsort(-tile_logits, axis=0, kind="stable"), axis=0)
    # Best rank over the labels first, the stronger evidence between equals.
    order = np.lexsort((-tile_logits.max(axis=1), rank.min(axis=1)))
    rest = rng.choice(order[best:], size=random, replace=False)
    return np.sort(np.concatenate([order[:best], rest]))


@dataclass
class ExpertStage:
    """The expert with its photos; what ``leafscout.training.loop`` trains first.

    Memory stays bounded whatever the photo's size: all tiles are scored without gradients, and
    only the chosen ones are run again with them. The bag holds all tiles, so the pooled evidence
    is exact; gradients reach the chosen ones.
    """

    network: Expert
    recipe: Recipe
    train: LabelTable
    validation: LabelTable
    seed: int
    device: torch.device
    mixed_precision: bool
    name: str = "expert"

    def __post_init__(self) -> None:
        self.paths: list[Path] = list(self.train.paths)
        self.settings: StageSettings = self.recipe.expert_stage
        self._weights = positive_weights(self.train.truth).to(self.device)

    def prepare(self) -> None:
        """Training mode; running statistics of a pretrained backbone stay as they are."""
        self.network.train()
        self.network.backbone.freeze_statistics()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The backbone learns more slowly than the new layers."""
        return split_parameters(self.network, self.settings)

    def loss(self, index: int, photo: Photo, epoch: int) -> Tensor:
        """The loss of one photo's bag."""
        rng_seed = (self.seed, 1, epoch, index)
        augmentation = draw_augmentation(rng_seed, max_shift_px=self.recipe.tile_px // 8)
        if min(photo.size_px_hw) < self.recipe.tile_px:
            augmentation = draw_augmentation(rng_seed)
        pixels = np.ascontiguousarray(
            augmentation.move(augmentation.shift(photo.pixels)), dtype=np.uint8
        )
        tiles = lay_tiles((pixels.shape[0], pixels.shape[1]), self.recipe.tile_px)
        logits, attention = self._score(
            lambda chosen: light(cut_tiles(pixels, tiles, chosen), augmentation, self.device),
            len(tiles),
        )
        chosen = rank_for_learning(
            logits.cpu().numpy(),
            self.recipe.tiles_best,
            self.recipe.tiles_random,
            np.random.default_rng([*rng_seed, 2]),
        )
        out = self.network(light(cut_tiles(pixels, tiles, chosen), augmentation, self.device))
        where = torch.from_numpy(chosen).to(self.device)
        bag = logits.index_copy(0, where, out.tile_logits)[None]
        weights = attention.index_copy(0, where, out.attention_logits)[None]
        everything = torch.ones(bag.shape[:2], dtype=torch.bool, device=self.device)
        truth = torch.from_numpy(self.train.truth[index : index + 1]).float().to(self.device)
        return bag_loss(
            pool_bags(self.recipe.pooling, bag, weights, everything), truth, self._weights
        ) + self.recipe.exact_negative_weight * exact_negative_loss(
            out.tile_logits[None], truth, labels_complete=self.train.complete
        )

    @torch.no_grad()
    def _score(self, batch_of: Any, count: int) -> tuple[Tensor, Tensor]:
        self.network.eval()
        parts = [
            self.network(batch_of(range(start, min(start + TILES_AT_ONCE, count))))[:2]
            for start in range(0, count, TILES_AT_ONCE)
        ]
        self.prepare()
        logits, attention = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
        return logits.float(), attention.float()

    @torch.no_grad()
    def validate(self) -> Validation:
        """Every tile of every validation photo, pooled."""
        self.network.eval()
        rows = []
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.mixed_precision):
            for _, photo in load_photos(self.validation.paths, range(len(self.validation.paths))):
                tiles = lay_tiles(photo.size_px_hw, self.recipe.tile_px)
                cut = photo.pixels
                logits, attention = self._score(
                    lambda chosen, cut=cut, tiles=tiles: to_batch(
                        cut_tiles(cut, tiles, chosen), self.device
                    ),
                    len(tiles),
                )
                self.network.eval()
                everything = torch.ones((1, len(tiles)), dtype=torch.bool, device=self.device)
                rows.append(
                    pool_bags(self.recipe.pooling, logits[None], attention[None], everything)
                )
        return judge(torch.cat(rows).cpu(), self.validation.truth, self._weights.cpu())


def judge(bag_logits: Tensor, truth: NDArray[np.bool_], weights: Tensor) -> Validation:
    """Loss and macro-AP of (photos, labels) logits; labels without a positive are left out."""
    loss = bag_loss(bag_logits, torch.from_numpy(truth).float(), weights)
    scores = bag_logits.double().numpy()
    macro_ap = float(macro_average_precision(truth, scores, plain_weights(len(truth)))[0])
    macro_ap = macro_ap if math.isfinite(macro_ap) else 0.0
    return Validation(score=macro_ap, loss=float(loss), macro_ap=macro_ap)


def light(tiles: Pixels, augmentation: Augmentation, device: torch.device) -> Tensor:
    """Change the light of tiles: (batch, side, side, 3) bytes → (batch, 3, side, side) 0..255."""
    gain = torch.tensor(augmentation.gain, device=device).view(1, 3, 1, 1)
    changed = to_batch(tiles, device).float() * gain + augmentation.offset
    return changed.clamp_(0, 255).contiguous(memory_format=torch.channels_last)


def split_parameters(network: Any, settings: StageSettings) -> list[dict[str, Any]]:
    """Two groups: the backbone at its own rate, and everything else."""
    backbone = list(network.backbone.parameters())
    known = {id(parameter) for parameter in backbone}
    others = [parameter for parameter in network.parameters() if id(parameter) not in known]
    return [
        {"params": backbone, "lr": settings.learning_rate * settings.backbone_rate},
        {"params": others, "lr": settings.learning_rate},
    ]
