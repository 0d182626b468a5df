"""The scout's last lessons: what its choice does to the photo's answer, with a frozen expert.

The expert's evidence of all tiles is known by now, so trying another choice of tiles costs
nothing. Two ways lead the photo's label past the hard choice to the scout: the score-weighted path
(``leafscout.losses.weighted_path``) and REINFORCE (``leafscout.losses.reinforce``). The number of
tiles is drawn anew for every photo, since a scout tuned for one number serves badly for another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leafscout.glance.scout import Scout, pool_places_torch
from leafscout.losses.bag import bag_loss, positive_weights
from leafscout.losses.reinforce import (
    draw_tiles,
    leave_one_out_baselines,
    log_prob_of_draws,
    reinforce_loss,
)
from leafscout.losses.weighted_path import PATHS
from leafscout.training.loop import Validation
from leafscout.training.recipes import StageSettings
from leafscout.training.scout_stage import ScoutLesson, ScoutStage
from leafscout.types import Photo

DRAWS = 8
"""Choices tried of one photo and step; each is the baseline of the others."""

TUNING_RATE = 0.3
"""Learning rates, as a share of those of the scout's stage."""

JUDGED_TILES = (1, 2, 5)
"""Numbers of tiles that the choice is judged by on validation photos."""


@dataclass
class ScoutTuning:
    """A trained scout that learns from photo labels through what it chooses.

    Attributes:
        base: the scout's own stage, with its photos and the expert's evidence of all their tiles.
        from_scratch: keep the learning rate and the epochs of the scout's stage; for experiments
            on scouts that have not learnt yet.
        baselines: whether REINFORCE has baselines; without them for experiments alone.
    """

    base: ScoutStage
    from_scratch: bool = False
    baselines: bool = True
    name: str = "scout_tuning"

    def __post_init__(self) -> None:
        recipe = self.base.recipe
        self.paths: list[Path] = self.base.paths
        self.settings: StageSettings = recipe.scout_stage
        if not self.from_scratch:
            self.settings = replace(
                recipe.scout_stage,
                epochs=recipe.scout_tuning_epochs,
                learning_rate=TUNING_RATE * recipe.scout_stage.learning_rate,
            )
        self._weights = positive_weights(self.base.train.truth).to(self.base.device)

    @property
    def network(self) -> Scout:
        """The scout."""
        return self.base.network

    def prepare(self) -> None:
        """Training mode; running statistics of a pretrained backbone stay as they are."""
        self.base.prepare()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """As in the scout's own stage, at this stage's rate."""
        scale = self.settings.learning_rate / self.base.settings.learning_rate
        return [{**group, "lr": scale * group["lr"]} for group in self.base.parameter_groups()]

    def loss(self, index: int, photo: Photo, epoch: int) -> Tensor:
        """What the choice does to the answer, and how far scores are from the evidence."""
        lesson = self.base.take_lesson(index, photo, epoch)
        exponent = self.base.recipe.border_exponent
        scores = pool_places_torch(lesson.out.score_map, lesson.tiles, exponent)[:, 0]
        total = self._path_loss(lesson, scores, (self.base.seed, 7, epoch, index))
        share = self.base.recipe.scout_tuning_evidence
        return total + share * self.base.lesson_loss(lesson) if share > 0 else total

    def _path_loss(self, lesson: ScoutLesson, scores: Tensor, seed: tuple[int, ...]) -> Tensor:
        rng = np.random.default_rng(seed)
        known = torch.nonzero(~lesson.evidence.isnan().any(dim=1))[:, 0]
        scores, evidence = scores[known], lesson.evidence[known]
        most = max(2, round(self.base.recipe.max_tiles_frac * len(scores)))
        # Small numbers matter most: 1 to 2 tiles as often as 10 to 20.
        count = min(len(scores), int(np.exp(rng.uniform(0.0, np.log(most + 1)))))
        kind = self.base.recipe.scout_tuning
        if kind == "reinforce":
            generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
            drawn = draw_tiles(scores, count, DRAWS, generator)
            rewards = self._rewards(evidence[drawn], lesson.truth)
            baselines = (
                leave_one_out_baselines(rewards) if self.baselines else torch.zeros_like(rewards)
            )
            return reinforce_loss(log_prob_of_draws(scores, drawn), rewards, baselines)
        best = scores.detach().topk(count).indices
        others = torch.from_numpy(rng.choice(len(scores), size=count)).to(best.device)
        chosen = torch.unique(torch.cat([best, others]))
        bag = PATHS[kind.removeprefix("weighted_")](evidence[chosen], scores[chosen])
        return bag_loss(bag[None], lesson.truth, self._weights)

    @torch.no_grad()
    def _rewards(self, drawn_evidence: Tensor, truth: Tensor) -> Tensor:
        """(draws, tiles, labels) evidence of what was drawn → (draws,) minus the bag loss."""
        bags = drawn_evidence.amax(dim=1)
        return -torch.stack([bag_loss(bag[None], truth, self._weights) for bag in bags])

    @torch.no_grad()
    def validate(self) -> Validation:
        """Bag loss of the best few tiles by score; the glance's own macro-AP beside it."""
        losses = []
        for said, evidence, row in zip(
            self.base.score_tiles(),
            self.base.validation_evidence,
            self.base.validation.truth,
            strict=True,
        ):
            order = np.argsort(-said[:, 0], kind="stable")
            truth = torch.from_numpy(row[None]).float()
            losses += [
                float(
                    bag_loss(
                        torch.from_numpy(evidence[order[:count]].max(axis=0))[None],
                        truth,
                        self._weights.cpu(),
                    )
                )
                for count in JUDGED_TILES
            ]
        loss = float(np.mean(losses))
        return Validation(score=-loss, loss=loss, macro_ap=self.base.validate().macro_ap)
