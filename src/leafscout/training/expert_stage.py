"""Stage 1: the expert learns which tiles matter, from photo labels alone (MIL)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leafscout.diagnosis.pooling_torch import pool_bags
from leafscout.evaluation.comparison import macro_average_precision
from leafscout.evaluation.scores import plain_weights
from leafscout.focus.expert import Expert, ExpertOutput, TileFeatures
from leafscout.losses.bag import bag_loss, positive_weights
from leafscout.losses.exclusive import exclusive_bag_loss, exclusive_odds
from leafscout.networks import TILES_AT_ONCE, to_batch
from leafscout.photos.augment import Augmentation, draw_augmentation
from leafscout.photos.foreground import find_foreground_tiles
from leafscout.photos.labels import LabelTable
from leafscout.photos.loader import load_photos
from leafscout.photos.tiles import cut_tiles, lay_tiles
from leafscout.training.bag_objective import (
    BagObjective,
    SeenTiles,
    attach_heads,
    detach_heads,
    gather_seen,
    tile_cells,
)
from leafscout.training.distillation import Attempt, Tutor
from leafscout.training.loop import Validation
from leafscout.training.recipes import Recipe, StageSettings
from leafscout.training.tile_selection import leave_out_best, rank_for_learning
from leafscout.types import Photo, Pixels, Tiles


@dataclass(frozen=True, eq=False)
class _Lesson:
    """One photo, moved and cut into tiles, on its turn in an epoch."""

    index: int
    pixels: Pixels
    tiles: Tiles
    augmentation: Augmentation
    truth: NDArray[np.bool_] | None  # of a photo without labels
    epoch: int
    rng: np.random.Generator

    def batch(self, chosen: Sequence[int] | NDArray[np.int64], device: torch.device) -> Tensor:
        """(chosen, 3, side, side) pixels of some tiles, their light changed."""
        return light(cut_tiles(self.pixels, self.tiles, chosen), self.augmentation, device)


@dataclass
class ExpertStage:
    """The expert with its photos; what ``leafscout.training.loop`` trains first.

    Memory stays bounded whatever the photo's size: all tiles are scored without gradients, and
    only the chosen ones are run again with them. The bag holds all tiles, so the pooled evidence
    is exact; gradients reach the chosen ones.

    Attributes:
        tutor: what the expert learns from beside the photos' labels, if anything.
        unlabelled: photos that it learns from by the tutor's word alone.
        tiles_at_once: tiles that are read at a time without gradients.
    """

    network: Expert
    recipe: Recipe
    train: LabelTable
    validation: LabelTable
    seed: int
    device: torch.device
    mixed_precision: bool
    name: str = "expert"
    tutor: Tutor | None = None
    unlabelled: Sequence[Path] = field(default=())
    tiles_at_once: int = TILES_AT_ONCE

    def __post_init__(self) -> None:
        self.paths: list[Path] = [*self.train.paths, *self.unlabelled]
        self.settings: StageSettings = self.recipe.expert_stage
        weights = positive_weights(self.train.truth).to(self.device)
        self.objective = BagObjective(self.recipe, weights, self.train.complete)
        attach_heads(self.network, self.recipe, self.seed)
        if self.tutor is not None:
            self.tutor.attach(self.network, self.seed)

    def finish(self) -> Expert:
        """The trained expert, without what only its training needed."""
        detach_heads(self.network)
        if self.tutor is not None:
            self.tutor.detach(self.network)
        return self.network

    def prepare(self) -> None:
        """Training mode; running statistics of a pretrained backbone stay as they are."""
        self.network.train()
        self.network.backbone.freeze_statistics()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The backbone learns more slowly than the new layers."""
        return split_parameters(self.network, self.settings)

    def halve(self) -> str | None:
        """Learn from half the tiles of a photo, and read half as many at a time.

        Returns:
            What is done now; None where one tile is all.
        """
        halved = halve_tiles(self.recipe, self.tiles_at_once)
        if halved is None:
            return None
        self.recipe, self.tiles_at_once, words = halved
        return words

    def loss(self, index: int, photo: Photo, epoch: int) -> Tensor:
        """The loss of one photo's bag."""
        rng_seed = (self.seed, 1, epoch, index)
        fits = min(photo.size_px_hw) >= self.recipe.tile_px
        augmentation = draw_augmentation(
            rng_seed,
            max_shift_px=self.recipe.tile_px // 8 if fits else 0,
            change=self.recipe.light_change,
        )
        pixels = augmentation.move_pixels(augmentation.shift(photo.pixels))
        tiles = lay_tiles((pixels.shape[0], pixels.shape[1]), self.recipe.tile_px)
        truth = self.train.truth[index] if index < len(self.train.truth) else None
        lesson = _Lesson(
            index, pixels, tiles, augmentation, truth, epoch, np.random.default_rng([*rng_seed, 2])
        )
        if self.objective.copies_labels(epoch) and truth is not None:
            return self._learn_from_labels(lesson, truth)
        return self._learn_from_bag(lesson)

    def candidates(
        self, pixels: Pixels, tiles: Tiles, truth: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Indices of the tiles that may get the label of their photo.

        All of them, unless the recipe takes only the foreground of diseased photos.
        """
        everything = np.arange(len(tiles))
        if not self.recipe.foreground_only or not truth.any():
            return everything
        found = find_foreground_tiles(cut_tiles(pixels, tiles, everything))
        return np.flatnonzero(found) if found.any() else everything

    def _learn_from_labels(self, lesson: _Lesson, truth: NDArray[np.bool_]) -> Tensor:
        """Random tiles with the label of the photo: nothing to rank, so nothing is scored first."""
        candidates = self.candidates(lesson.pixels, lesson.tiles, truth)
        count = min(len(candidates), self.recipe.tiles_best + self.recipe.tiles_random)
        chosen = np.sort(lesson.rng.choice(candidates, size=count, replace=False))
        batch = lesson.batch(chosen, self.device)
        features, out, learned = self._read(batch)
        cells = tile_cells(lesson.tiles, self.device)[torch.from_numpy(chosen).to(self.device)]
        stays = torch.ones(count, dtype=torch.bool, device=self.device)
        hard = self.objective.loss(
            self.network, learned, learned, cells, stays, self._truth(truth), lesson.epoch
        )
        return self._with_tutor(lesson, batch, features, out, learned, stays, hard)

    def _learn_from_bag(self, lesson: _Lesson) -> Tensor:
        """All tiles are scored without gradients, the chosen ones again with them."""
        recipe, count = self.recipe, len(lesson.tiles)
        seen = self._score(lambda chosen: lesson.batch(chosen, self.device), count)
        logits = seen.tile_logits.cpu().numpy()
        stays = np.ones(count, dtype=np.bool_)
        if recipe.best_tile_dropout > 0 and lesson.truth is not None:
            stays = leave_out_best(logits, lesson.truth, recipe.best_tile_dropout, lesson.rng)
        inside = np.flatnonzero(stays)
        chosen = inside[
            rank_for_learning(logits[inside], recipe.tiles_best, recipe.tiles_random, lesson.rng)
        ]
        batch = lesson.batch(chosen, self.device)
        features, out, learned = self._read(batch)
        where = torch.from_numpy(chosen).to(self.device)
        merged = (
            whole.index_copy(0, where, part.float())
            for whole, part in zip(seen, learned, strict=True)
        )
        bag, inside_bag = SeenTiles(*merged), torch.from_numpy(stays).to(self.device)
        hard = None
        if lesson.truth is not None:
            hard = self.objective.loss(
                self.network,
                bag,
                learned,
                tile_cells(lesson.tiles, self.device),
                inside_bag,
                self._truth(lesson.truth),
                lesson.epoch,
            )
        return self._with_tutor(lesson, batch, features, out, bag, inside_bag, hard)

    def _with_tutor(
        self,
        lesson: _Lesson,
        batch: Tensor,
        features: TileFeatures,
        out: ExpertOutput,
        bag: SeenTiles,
        stays: Tensor,
        hard: Tensor | None,
    ) -> Tensor:
        """The loss of the labels, with what the tutor says of the same tiles."""
        if self.tutor is None:
            if hard is None:
                raise ValueError("A photo without labels teaches nothing without a tutor.")
            return hard
        pooled = pool_bags(
            self.recipe.pooling, bag.tile_logits[None], bag.attention_logits[None], stays[None]
        )
        attempt = Attempt(lesson.index, batch, features, out, pooled[0])
        return self.tutor.teach(self.network, attempt, hard)

    def _truth(self, row: NDArray[np.bool_]) -> Tensor:
        return torch.from_numpy(row[None]).float().to(self.device)

    def _read(self, batch: Tensor) -> tuple[TileFeatures, ExpertOutput, SeenTiles]:
        features = self.network.see(batch)
        out = self.network.read_features(features)
        return features, out, gather_seen(features, out)

    @torch.no_grad()
    def _score(self, batch_of: Callable[[Sequence[int]], Tensor], count: int) -> SeenTiles:
        self.network.eval()
        parts = [
            self._read(batch_of(range(start, min(start + self.tiles_at_once, count))))[2]
            for start in range(0, count, self.tiles_at_once)
        ]
        self.prepare()
        return SeenTiles(*(torch.cat(pieces).float() for pieces in zip(*parts, strict=True)))

    def look(self, photo: Photo) -> tuple[SeenTiles, Tiles]:
        """What the expert says about every tile of a photo as it is, without gradients."""
        tiles = lay_tiles(photo.size_px_hw, self.recipe.tile_px)
        seen = self._score(
            lambda chosen: to_batch(cut_tiles(photo.pixels, tiles, chosen), self.device),
            len(tiles),
        )
        return seen, tiles

    @torch.no_grad()
    def validate(self) -> Validation:
        """Every tile of every validation photo, pooled."""
        self.network.eval()
        rows = []
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.mixed_precision):
            for _, photo in load_photos(self.validation.paths, range(len(self.validation.paths))):
                seen, _ = self.look(photo)
                everything = torch.ones_like(seen.tile_logits[:, 0], dtype=torch.bool)
                rows.append(
                    pool_bags(
                        self.recipe.pooling,
                        seen.tile_logits[None],
                        seen.attention_logits[None],
                        everything[None],
                    )
                )
        self.network.eval()
        return judge(
            torch.cat(rows).cpu(),
            self.validation.truth,
            self.objective.positive_weight.cpu(),
            exclusive=self.recipe.exclusive,
        )


def halve_tiles(recipe: Recipe, at_once: int) -> tuple[Recipe, int, str] | None:
    """Half the tiles that are learnt from, and half as many read at a time.

    Args:
        recipe: says how many tiles of a photo are learnt from.
        at_once: tiles that are read at a time.

    Returns:
        The changed recipe, the new number, and both in words; None where nothing is left to halve.
    """
    count = recipe.tiles_best + recipe.tiles_random
    if count <= 1 and at_once <= 1:
        return None
    halved = replace(
        recipe, tiles_best=max(1, recipe.tiles_best // 2), tiles_random=recipe.tiles_random // 2
    )
    at_once = max(1, at_once // 2)
    words = (
        f"learns from at most {halved.tiles_best + halved.tiles_random} tiles of a photo and reads "
        f"{at_once} at a time from here on"
    )
    return halved, at_once, words


def judge(
    bag_logits: Tensor, truth: NDArray[np.bool_], weights: Tensor, *, exclusive: bool = False
) -> Validation:
    """Loss and macro-AP of (photos, labels) logits; labels without a positive are left out."""
    compare = exclusive_bag_loss if exclusive else bag_loss
    loss = compare(bag_logits, torch.from_numpy(truth).float(), weights)
    scores = (exclusive_odds(bag_logits) if exclusive else bag_logits).double().numpy()
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
