"""Learning from the tiles that a scout chooses, instead of from the strongest of all tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leafscout.diagnosis.pooling import ATTENTION_POOLINGS
from leafscout.diagnosis.pooling_torch import pool_bags
from leafscout.glance.scout import Scout, pool_places_torch
from leafscout.glance.view import take_glance
from leafscout.networks import to_batch
from leafscout.photos.augment import draw_augmentation
from leafscout.photos.loader import load_photos
from leafscout.photos.tiles import cut_tiles, lay_tiles
from leafscout.training.bag_objective import see_tiles, tile_cells
from leafscout.training.expert_stage import ExpertStage, judge, light
from leafscout.training.loop import Validation
from leafscout.training.recipes import Recipe, StageSettings
from leafscout.types import FloatArray, Photo


class ScoutedPhoto(NamedTuple):
    """What a scout says of one photo's tiles.

    Attributes:
        score: (tiles,) logits, "something is wrong here".
        guess: (tiles, labels) logits, the scout's guess at the expert's evidence.
    """

    score: FloatArray
    guess: FloatArray


def fine_tuning(settings: StageSettings, recipe: Recipe) -> StageSettings:
    """Settings of a stage for a network that has learnt already: shorter and slower."""
    return replace(
        settings,
        epochs=recipe.joint_epochs,
        learning_rate=recipe.joint_rate * settings.learning_rate,
    )


def count_allowed(tiles: int, recipe: Recipe) -> int:
    """How many tiles of a photo may be read at most."""
    return max(1, round(recipe.max_tiles_frac * tiles))


def draw_chosen(score: FloatArray, recipe: Recipe, rng: np.random.Generator) -> NDArray[np.int64]:
    """A random number of the best tiles, and a few of the others.

    Args:
        score: (tiles,) of the scout.
        recipe: says how many at most: the share that may be read, and no more than stage 1 learns
            from, so that a step needs no more memory.
        rng: randomness.

    Returns:
        Sorted indices, without repeats.
    """
    most = min(count_allowed(len(score), recipe), recipe.tiles_best)
    best = int(rng.integers(1, most + 1))
    order = np.argsort(-score, kind="stable")
    rest = order[best:]
    others = rng.choice(rest, size=min(recipe.tiles_random, len(rest)), replace=False)
    return np.sort(np.concatenate([order[:best], others])).astype(np.int64)


def pool_as_deployed(
    pooling: str,
    tile_logits: Tensor,
    attention_logits: Tensor,
    score: Tensor,
    guess: Tensor,
    read: Tensor,
) -> Tensor:
    """Pool the tiles that were read with the scout's guess at the others, as a diagnosis does.

    The torch twin of ``leafscout.model.GlanceAndFocus.pool``; gradients reach the expert through
    the tiles that were read and the scout through the others.

    Args:
        pooling: a key of ``leafscout.diagnosis.pooling.POOLINGS``.
        tile_logits: (read, labels) the expert's evidence.
        attention_logits: (read, labels).
        score: (tiles,) of the scout.
        guess: (tiles, labels) of the scout.
        read: (read,) indices of the tiles that were read, at least one.

    Returns:
        (1, labels) logits.
    """
    if pooling in ATTENTION_POOLINGS:
        everything = torch.ones_like(read, dtype=torch.bool)
        return pool_bags(pooling, tile_logits[None], attention_logits[None], everything[None])
    filled = torch.minimum(guess, score[:, None]).index_copy(0, read, tile_logits)
    everything = torch.ones_like(score, dtype=torch.bool)
    return pool_bags(pooling, filled[None], torch.zeros_like(filled)[None], everything[None])


@torch.no_grad()
def scout_photos(
    scout: Scout, paths: Sequence[Path], recipe: Recipe, device: torch.device
) -> list[ScoutedPhoto]:
    """What a trained scout says of the tiles of every photo; one glance each."""
    scout.eval()
    rows = []
    for _, photo in load_photos(paths, range(len(paths))):
        glance = take_glance(photo, recipe.glance_px).pixels
        out = scout(to_batch(glance[None], device))
        tiles = lay_tiles(photo.size_px_hw, recipe.tile_px)
        score, guess = (
            pool_places_torch(maps, tiles, recipe.border_exponent).float().cpu().numpy()
            for maps in (out.score_map, out.label_maps[0])
        )
        rows.append(ScoutedPhoto(score[:, 0], guess))
    return rows


@dataclass
class ChosenTilesStage(ExpertStage):
    """The expert, fine-tuned on what the scout chooses: the second half of taking turns.

    Only the chosen tiles are ever read, so a step costs a fraction of one of stage 1, and the
    scout is not in memory: what it says of the photos is known before.

    Attributes:
        scouted: per training photo.
        validation_scouted: per validation photo.
    """

    scouted: Sequence[ScoutedPhoto] = ()
    validation_scouted: Sequence[ScoutedPhoto] = ()
    name: str = "expert_2"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.settings = fine_tuning(self.recipe.expert_stage, self.recipe)

    def loss(self, index: int, photo: Photo, epoch: int) -> Tensor:
        """The loss of one photo, of which only chosen tiles are read."""
        seed = (self.seed, 5, epoch, index)
        augmentation = draw_augmentation(seed, change=self.recipe.light_change)
        grid = lay_tiles(photo.size_px_hw, self.recipe.tile_px)
        # The grid is symmetric: turning the photo turns the scores with it.
        score = augmentation.move(self.scouted[index].score.reshape(grid.rows, grid.columns))
        pixels = augmentation.move_pixels(photo.pixels)
        tiles = lay_tiles((pixels.shape[0], pixels.shape[1]), self.recipe.tile_px)
        rng = np.random.default_rng([*seed, 2])
        chosen = draw_chosen(score.ravel().astype(np.float32), self.recipe, rng)
        batch = light(cut_tiles(pixels, tiles, chosen), augmentation, self.device)
        learned = see_tiles(self.network, self.network.see(batch))
        where = torch.from_numpy(chosen).to(self.device)
        return self.objective.loss(
            self.network,
            learned,
            learned,
            tile_cells(tiles, self.device)[where],
            torch.ones_like(where, dtype=torch.bool),
            self._truth(self.train.truth[index]),
            # Sparsity has risen by now.
            epoch + self.recipe.expert_stage.epochs,
        )

    @torch.no_grad()
    def validate(self) -> Validation:
        """Macro-AP of the tiles that the scout chooses, as many as are ever allowed."""
        self.network.eval()
        rows = []
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.mixed_precision):
            for index, photo in load_photos(
                self.validation.paths, range(len(self.validation.paths))
            ):
                tiles = lay_tiles(photo.size_px_hw, self.recipe.tile_px)
                said = self.validation_scouted[index]
                chosen = np.argsort(-said.score, kind="stable")
                chosen = chosen[: count_allowed(len(tiles), self.recipe)]
                batch = to_batch(cut_tiles(photo.pixels, tiles, chosen), self.device)
                seen = see_tiles(self.network, self.network.see(batch))
                score, guess, read = (
                    torch.from_numpy(part).to(self.device)
                    for part in (said.score, said.guess, chosen)
                )
                rows.append(
                    pool_as_deployed(
                        self.recipe.pooling,
                        seen.tile_logits.float(),
                        seen.attention_logits.float(),
                        score,
                        guess,
                        read,
                    )
                )
        return judge(
            torch.cat(rows).cpu(),
            self.validation.truth,
            self.objective.positive_weight.cpu(),
            exclusive=self.recipe.exclusive,
        )
