"""Stage 3: scout and expert are fine-tuned on the tiles that the scout chooses.

Which tiles are read is a hard choice that hands no gradient back. Three ways lead around it. The
unread tiles enter the pooling with the scout's guess, so what the scout says of them meets the
photo's label. The score-weighted evidence of the read tiles meets it too: a tile that helped pulls
its score up. And the expert's evidence of this step is what the scout is asked to guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leafscout.focus.expert import Expert
from leafscout.glance.scout import Scout, ScoutOutput, pool_places_torch
from leafscout.glance.view import take_glance
from leafscout.losses.bag import exact_negative_loss, positive_weights
from leafscout.losses.evidence import evidence_loss
from leafscout.losses.weighted_path import weigh_by_softmax
from leafscout.networks import TILES_AT_ONCE, to_batch
from leafscout.photos.augment import draw_augmentation
from leafscout.photos.labels import LabelTable
from leafscout.photos.loader import load_photos
from leafscout.photos.tiles import cut_tiles, lay_tiles
from leafscout.training.bag_objective import BagObjective
from leafscout.training.chosen_tiles import (
    count_allowed,
    draw_chosen,
    fine_tuning,
    pool_as_deployed,
)
from leafscout.training.expert_stage import halve_tiles, judge, light, split_parameters
from leafscout.training.loop import Validation
from leafscout.training.recipes import Recipe, StageSettings
from leafscout.training.scout_targets import evidence_targets
from leafscout.types import Photo, Pixels, Tiles


class ScoutAndExpert(nn.Module):
    """The two networks as one, for the training loop.

    Args:
        expert: reads tiles.
        scout: reads glances.
    """

    def __init__(self, expert: Expert, scout: Scout) -> None:
        super().__init__()
        self.expert = expert
        self.scout = scout


class _Read(NamedTuple):
    """What both networks say of one photo, of which some tiles were read.

    ``score`` is (tiles,), ``guess`` (tiles, labels); what the expert says is for the read tiles.
    """

    score: Tensor
    guess: Tensor
    glance_logits: Tensor
    tile_logits: Tensor
    attention_logits: Tensor
    read: Tensor


@dataclass
class JointStage:
    """Scout and expert with their photos; what ``leafscout.training.loop`` trains third.

    How many tiles are read is drawn anew for every photo, and some random ones are mixed in: a
    model trained with one number of tiles breaks when it changes. No more tiles than the choice
    allows are ever read, so a step costs less than one of stage 1.

    Both networks and their gradients are in memory, which stage 1 and 2 never need at a time.
    """

    network: ScoutAndExpert
    recipe: Recipe
    train: LabelTable
    validation: LabelTable
    seed: int
    device: torch.device
    mixed_precision: bool
    name: str = "joint"
    tiles_at_once: int = TILES_AT_ONCE

    def __post_init__(self) -> None:
        self.paths: list[Path] = list(self.train.paths)
        self.settings: StageSettings = fine_tuning(self.recipe.expert_stage, self.recipe)
        self._scout_settings = fine_tuning(self.recipe.scout_stage, self.recipe)
        weights = positive_weights(self.train.truth).to(self.device)
        self.objective = BagObjective(self.recipe, weights, self.train.complete)

    def prepare(self) -> None:
        """Training mode; running statistics of pretrained backbones stay as they are."""
        self.network.train()
        self.network.expert.backbone.freeze_statistics()
        self.network.scout.backbone.freeze_statistics()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Each network at the rates of its own stage, made smaller."""
        return [
            *split_parameters(self.network.expert, self.settings),
            *split_parameters(self.network.scout, self._scout_settings),
        ]

    def halve(self) -> str | None:
        """Learn from half the tiles of a photo, and read half as many at a time."""
        halved = halve_tiles(self.recipe, self.tiles_at_once)
        if halved is None:
            return None
        self.recipe, self.tiles_at_once, words = halved
        return words

    def loss(self, index: int, photo: Photo, epoch: int) -> Tensor:
        """The loss of one photo, of which a random number of tiles is read."""
        seed = (self.seed, 4, epoch, index)
        augmentation = draw_augmentation(seed)
        rng = np.random.default_rng([*seed, 2])
        pixels = augmentation.move_pixels(photo.pixels)
        glance = augmentation.move_pixels(take_glance(photo, self.recipe.glance_px).pixels)
        tiles = lay_tiles((pixels.shape[0], pixels.shape[1]), self.recipe.tile_px)
        out = self.network.scout(
            light(np.ascontiguousarray(glance)[None], augmentation, self.device)
        )
        score = pool_places_torch(out.score_map, tiles, self.recipe.border_exponent)[:, 0]
        chosen = draw_chosen(score.detach().cpu().numpy(), self.recipe, rng)
        batch = light(cut_tiles(pixels, tiles, chosen), augmentation, self.device)
        return self._loss(self._look(out, score, tiles, batch, chosen), self.train.truth[index])

    def _look(
        self,
        out: ScoutOutput,
        score: Tensor,
        tiles: Tiles,
        batch: Tensor,
        chosen: NDArray[np.int64],
    ) -> _Read:
        parts = [
            self.network.expert(batch[start : start + self.tiles_at_once])
            for start in range(0, len(batch), self.tiles_at_once)
        ]
        return _Read(
            score=score,
            guess=pool_places_torch(out.label_maps[0], tiles, self.recipe.border_exponent),
            glance_logits=out.glance_logits,
            tile_logits=torch.cat([part.tile_logits for part in parts]).float(),
            attention_logits=torch.cat([part.attention_logits for part in parts]).float(),
            read=torch.from_numpy(chosen).to(self.device),
        )

    def _loss(self, seen: _Read, truth: NDArray[np.bool_]) -> Tensor:
        recipe = self.recipe
        wanted = torch.from_numpy(truth[None]).float().to(self.device)
        total = self.objective.photo_loss(self._pool(seen), wanted)
        total = total + self.objective.photo_loss(seen.glance_logits, wanted)
        total = total + recipe.exact_negative_weight * exact_negative_loss(
            seen.tile_logits[None], wanted, labels_complete=self.train.complete
        )
        if recipe.joint_weighted > 0:
            weighted = weigh_by_softmax(seen.tile_logits, seen.score[seen.read])[None]
            total = total + recipe.joint_weighted * self.objective.photo_loss(weighted, wanted)
        if recipe.joint_fresh > 0:
            total = total + recipe.joint_fresh * self._fresh_evidence_loss(seen, truth)
        return total

    def _fresh_evidence_loss(self, seen: _Read, truth: NDArray[np.bool_]) -> Tensor:
        """How far the scout's guess at the tiles just read is from what the expert found."""
        found = seen.tile_logits.detach().cpu().numpy()
        known = evidence_targets(found, truth, labels_complete=self.train.complete)
        targets = torch.from_numpy(known).to(self.device)
        weight = self.recipe.evidence_weight
        return evidence_loss(seen.score[seen.read], targets.amax(dim=1), weight) + evidence_loss(
            seen.guess[seen.read], targets, weight
        )

    def _pool(self, seen: _Read) -> Tensor:
        return pool_as_deployed(
            self.recipe.pooling,
            seen.tile_logits,
            seen.attention_logits,
            seen.score,
            seen.guess,
            seen.read,
        )

    @torch.no_grad()
    def validate(self) -> Validation:
        """Macro-AP of the tiles that the scout chooses, as many as are ever allowed."""
        self.network.eval()
        rows = []
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.mixed_precision):
            for _, photo in load_photos(self.validation.paths, range(len(self.validation.paths))):
                glance: Pixels = take_glance(photo, self.recipe.glance_px).pixels
                tiles = lay_tiles(photo.size_px_hw, self.recipe.tile_px)
                out = self.network.scout(to_batch(glance[None], self.device))
                score = pool_places_torch(out.score_map, tiles, self.recipe.border_exponent)[:, 0]
                most = count_allowed(len(tiles), self.recipe)
                chosen = np.argsort(-score.cpu().numpy(), kind="stable")[:most]
                batch = to_batch(cut_tiles(photo.pixels, tiles, chosen), self.device)
                rows.append(self._pool(self._look(out, score, tiles, batch, chosen)))
        return judge(
            torch.cat(rows).cpu(),
            self.validation.truth,
            self.objective.positive_weight.cpu(),
            exclusive=self.recipe.exclusive,
        )


def keep_weights(network: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's weights, to go back to."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def is_better(after: Validation, before: Validation) -> bool:
    """Whether a stage was worth it: a higher score, or the same with no greater loss."""
    return (after.score, -after.loss) >= (before.score, -before.loss)
