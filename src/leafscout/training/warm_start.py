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

from leafscout.focus.expert import TileFeatures
from leafscout.networks import TILES_AT_ONCE, to_batch
from leafscout.photos.loader import load_photos
from leafscout.photos.tiles import cut_tiles, lay_tiles
from leafscout.training.bag_objective import heads_of, see_tiles, tile_cells
from leafscout.training.expert_stage import ExpertStage
from leafscout.training.progress import TrainingProgress

MEMORY_BYTES = 2 * 1024**3
"""Features kept in memory at most; of a larger set, as many photos as fit, drawn at random."""

EPOCHS = 8
LEARNING_RATE = 3e-3
PHOTOS_PER_STEP = 8


@dataclass(frozen=True)
class FeatureBag:
    """What a frozen backbone sees in one photo."""

    features: TileFeatures  # of all tiles that may be learnt from, half precision
    cells: Tensor  # (tiles, 2) where they lie in the grid
    index: int


def warm_start(stage: ExpertStage, progress: TrainingProgress) -> None:
    """Fit the expert's head and attention while its backbone stays as it is.

    Args:
        stage: the expert with its photos; changed in place.
        progress: where to show it.
    """
    fit_new_layers(
        stage, gather_bags(stage, progress), progress, title="warm start: fitting the new layers"
    )


def fit_new_layers(
    stage: ExpertStage, bags: list[FeatureBag], progress: TrainingProgress, *, title: str
) -> None:
    """Fit the layers behind the backbone on what it saw in some photos.

    Args:
        stage: the expert with its photos; its new layers are changed in place.
        bags: features of the photos to fit them on, from ``gather_bags``.
        progress: where to show it.
        title: what to call it there.
    """
    stage.network.eval()
    network, recipe = stage.network, stage.recipe
    heads = heads_of(network)
    new_layers = [*network.new_layers(), *([] if heads is None else heads.parameters())]
    optimizer = torch.optim.AdamW(new_layers, lr=LEARNING_RATE, weight_decay=0.01)
    steps = EPOCHS * math.ceil(len(bags) / PHOTOS_PER_STEP)
    done = 0
    network.dropout.train()
    torch.manual_seed(stage.seed)
    with progress.task(title, total=EPOCHS * len(bags)) as task:
        for epoch in range(EPOCHS):
            order = np.random.default_rng([stage.seed, 4, epoch]).permutation(len(bags))
            for start in range(0, len(order), PHOTOS_PER_STEP):
                for group in optimizer.param_groups:
                    group["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * done / steps))
                optimizer.zero_grad(set_to_none=True)
                chosen = order[start : start + PHOTOS_PER_STEP]
                total = 0.0
                for position in chosen:
                    loss = _loss(stage, bags[position]) / len(chosen)
                    loss.backward()  # type: ignore[no-untyped-call]
                    total += float(loss.detach())
                nn.utils.clip_grad_norm_(new_layers, recipe.expert_stage.clip_norm)
                optimizer.step()
                done += 1
                task.advance(len(chosen), note=f"loss {total:.3f}")


@torch.no_grad()
def gather_bags(stage: ExpertStage, progress: TrainingProgress) -> list[FeatureBag]:
    """Features of the tiles of the training photos, as many photos as fit into ``MEMORY_BYTES``.

    Args:
        stage: the expert with its photos.
        progress: where to show it.
    """
    stage.network.eval()
    order = np.random.default_rng([stage.seed, 5]).permutation(len(stage.train.paths))
    bags: list[FeatureBag] = []
    used = 0
    with progress.task("features of the backbone", total=len(order)) as task:
        for index, photo in load_photos(stage.paths, [int(index) for index in order]):
            tiles = lay_tiles(photo.size_px_hw, stage.recipe.tile_px)
            wanted = stage.candidates(photo.pixels, tiles, stage.train.truth[index])
            cells = tile_cells(tiles, stage.device)[torch.from_numpy(wanted).to(stage.device)]
            parts = []
            for start in range(0, len(wanted), TILES_AT_ONCE):
                chosen = wanted[start : start + TILES_AT_ONCE]
                with torch.autocast(
                    stage.device.type, dtype=torch.bfloat16, enabled=stage.mixed_precision
                ):
                    batch = to_batch(cut_tiles(photo.pixels, tiles, chosen), stage.device)
                    parts.append(stage.network.see(batch).map(Tensor.half))
            features = TileFeatures(
                *(torch.cat(maps) for maps in zip(*parts, strict=True) if maps[0] is not None)
            )
            used += sum(one.numel() * one.element_size() for one in features if one is not None)
            if bags and used > MEMORY_BYTES:
                break
            bags.append(FeatureBag(features, cells, index))
            task.advance()
    return bags


def _loss(stage: ExpertStage, bag: FeatureBag) -> Tensor:
    seen = see_tiles(stage.network, bag.features.map(Tensor.float))
    truth = torch.from_numpy(stage.train.truth[bag.index : bag.index + 1]).float()
    everything = torch.ones(len(seen.tile_logits), dtype=torch.bool, device=stage.device)
    return stage.objective.loss(
        stage.network, seen, seen, bag.cells, everything, truth.to(stage.device), epoch=0
    )
