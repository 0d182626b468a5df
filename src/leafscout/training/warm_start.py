"""Before stage 1: fit the expert's new layers on the features of the pretrained backbone.

Fine-tuning from untrained layers drags good features after bad ones; fitting these layers first,
with the backbone frozen, avoids that (Kumar et al. 2022, linear probing then fine-tuning). The
backbone is run once over each photo, so it costs little more than one epoch without gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from leafscout.diagnosis.pooling_torch import pool_bags
from leafscout.losses.bag import bag_loss, exact_negative_loss, positive_weights
from leafscout.networks import TILES_AT_ONCE, to_batch
from leafscout.photos.loader import load_photos
from leafscout.photos.tiles import cut_tiles, lay_tiles
from leafscout.training.expert_stage import ExpertStage
from leafscout.training.progress import TrainingProgress

MEMORY_BYTES = 2 * 1024**3
"""Features kept in memory at most; of a larger set, as many photos as fit, drawn at random."""

EPOCHS = 8
LEARNING_RATE = 3e-3
PHOTOS_PER_STEP = 8


@dataclass(frozen=True)
class _Bag:
    features: Tensor  # (tiles, channels, rows, columns), half precision
    index: int


def warm_start(stage: ExpertStage, progress: TrainingProgress) -> None:
    """Fit the expert's head and attention while its backbone stays as it is.

    Args:
        stage: the expert with its photos; changed in place.
        progress: where to show it.
    """
    stage.network.eval()
    bags = _gather(stage, progress)
    network, recipe, device = stage.network, stage.recipe, stage.device
    new_layers = [*network.head.parameters(), *network.attention.parameters()]
    optimizer = torch.optim.AdamW(new_layers, lr=LEARNING_RATE, weight_decay=0.01)
    weights = positive_weights(stage.train.truth).to(device)
    steps = EPOCHS * math.ceil(len(bags) / PHOTOS_PER_STEP)
    done = 0
    network.dropout.train()
    torch.manual_seed(stage.seed)
    with progress.task("warm start: fitting the new layers", total=EPOCHS * len(bags)) as task:
        for epoch in range(EPOCHS):
            order = np.random.default_rng([stage.seed, 4, epoch]).permutation(len(bags))
            for start in range(0, len(order), PHOTOS_PER_STEP):
                for group in optimizer.param_groups:
                    group["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * done / steps))
                optimizer.zero_grad(set_to_none=True)
                chosen = order[start : start + PHOTOS_PER_STEP]
                total = 0.0
                for position in chosen:
                    loss = _loss(stage, bags[position], weights) / len(chosen)
                    loss.backward()  # type: ignore[no-untyped-call]
                    total += float(loss.detach())
                nn.utils.clip_grad_norm_(new_layers, recipe.expert_stage.clip_norm)
                optimizer.step()
                done += 1
                task.advance(len(chosen), note=f"loss {total:.3f}")


@torch.no_grad()
def _gather(stage: ExpertStage, progress: TrainingProgress) -> list[_Bag]:
    order = np.random.default_rng([stage.seed, 5]).permutation(len(stage.paths))
    bags: list[_Bag] = []
    used = 0
    with progress.task("warm start: features", total=len(order)) as task:
        for index, photo in load_photos(stage.paths, [int(index) for index in order]):
            tiles = lay_tiles(photo.size_px_hw, stage.recipe.tile_px)
            parts = []
            for start in range(0, len(tiles), TILES_AT_ONCE):
                chosen = range(start, min(start + TILES_AT_ONCE, len(tiles)))
                with torch.autocast(
                    stage.device.type, dtype=torch.bfloat16, enabled=stage.mixed_precision
                ):
                    batch = to_batch(cut_tiles(photo.pixels, tiles, chosen), stage.device)
                    parts.append(stage.network.see(batch).half())
            features = torch.cat(parts)
            used += features.numel() * features.element_size()
            if bags and used > MEMORY_BYTES:
                break
            bags.append(_Bag(features, index))
            task.advance()
    return bags


def _loss(stage: ExpertStage, bag: _Bag, weights: Tensor) -> Tensor:
    out = stage.network.read_features(bag.features.float())
    truth = torch.from_numpy(stage.train.truth[bag.index : bag.index + 1]).float()
    truth = truth.to(stage.device)
    everything = torch.ones((1, len(bag.features)), dtype=torch.bool, device=stage.device)
    pooled = pool_bags(
        stage.recipe.pooling, out.tile_logits[None], out.attention_logits[None], everything
    )
    return bag_loss(pooled, truth, weights) + stage.recipe.exact_negative_weight * (
        exact_negative_loss(out.tile_logits[None], truth, labels_complete=stage.train.complete)
    )
