"""Stage 2: the scout learns from the glance to predict the frozen expert's evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leafscout.glance.scout import Scout, ScoutOutput, pool_places_torch
from leafscout.glance.view import take_glance
from leafscout.losses.bag import bag_loss, positive_weights
from leafscout.losses.evidence import best_constant, evidence_loss
from leafscout.losses.exclusive import exclusive_bag_loss
from leafscout.losses.ranking import RANKING_LOSSES
from leafscout.networks import to_batch
from leafscout.photos.augment import draw_augmentation
from leafscout.photos.labels import LabelTable
from leafscout.photos.loader import load_photos
from leafscout.photos.tiles import lay_tiles
from leafscout.training.expert_stage import judge, light, split_parameters
from leafscout.training.loop import Validation
from leafscout.training.recipes import Recipe, StageSettings
from leafscout.training.scout_targets import ScoreScale, evidence_targets, fit_score_scale
from leafscout.types import FloatArray, Photo, Pixels, Tiles


@dataclass(frozen=True, eq=False)
class ScoutLesson:
    """One training photo on its turn, turned and mirrored.

    Attributes:
        out: what the scout says.
        tiles: the grid of the turned photo.
        targets: (tiles, 1 + labels) what the score and the labels should be; NaN where the expert
            did not look.
        evidence: (tiles, labels) logits of the expert.
        truth: (1, labels) labels of the photo.
    """

    out: ScoutOutput
    tiles: Tiles
    targets: Tensor
    evidence: Tensor
    truth: Tensor


@dataclass
class ScoutStage:
    """The scout with its photos and the expert's evidence of them.

    Attributes:
        evidence: per training photo, (tiles, labels) logits of the expert on the upright photo;
            NaN for tiles that the expert did not read.
        validation_evidence: the same of the validation photos, all of their tiles.
    """

    network: Scout
    recipe: Recipe
    train: LabelTable
    validation: LabelTable
    evidence: list[FloatArray]
    validation_evidence: list[FloatArray]
    seed: int
    device: torch.device
    mixed_precision: bool
    name: str = "scout"
    _validation_glances: list[tuple[Pixels, tuple[int, int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.paths: list[Path] = list(self.train.paths)
        self.settings: StageSettings = self.recipe.scout_stage
        self._weights = positive_weights(self.train.truth).to(self.device)
        self.scale: ScoreScale = fit_score_scale(
            self.recipe.scout_target,
            self.evidence,
            self.train.truth,
            labels_complete=self.train.complete,
        )

    def prepare(self) -> None:
        """Training mode; running statistics of a pretrained backbone stay as they are."""
        self.network.train()
        self.network.backbone.freeze_statistics()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The backbone learns more slowly than the new layers."""
        return split_parameters(self.network, self.settings)

    def loss(self, index: int, photo: Photo, epoch: int) -> Tensor:
        """How far the scout's maps of one photo are from the expert's evidence."""
        return self.lesson_loss(self.take_lesson(index, photo, epoch))

    def take_lesson(self, index: int, photo: Photo, epoch: int) -> ScoutLesson:
        """Turn and mirror a training photo and let the scout glance at it, with gradients."""
        augmentation = draw_augmentation(
            (self.seed, 2, epoch, index), light=0.2, change=self.recipe.light_change
        )
        glance = take_glance(photo, self._glance_px(index, epoch)).pixels
        moved = np.ascontiguousarray(augmentation.move(glance), dtype=np.uint8)
        truth = self.train.truth[index]
        targets = self._targets(self.evidence[index], truth)
        # The grid is symmetric, so that turning the photo turns the evidence with it.
        grid = lay_tiles(photo.size_px_hw, self.recipe.tile_px)
        height, width = photo.size_px_hw
        if augmentation.quarter_turns % 2:
            height, width = width, height

        def turn(rows: FloatArray) -> Tensor:
            turned = augmentation.move(rows.reshape(grid.rows, grid.columns, -1))
            # A copy: where the grid has one row, a mirrored one counts as contiguous to numpy.
            whole = torch.from_numpy(np.array(turned, dtype=np.float32, order="C"))
            return whole.flatten(0, 1).to(self.device)

        return ScoutLesson(
            out=self.network(light(moved[None], augmentation, self.device)),
            tiles=lay_tiles((height, width), self.recipe.tile_px),
            targets=turn(targets),
            evidence=turn(self.evidence[index]),
            truth=torch.from_numpy(truth[None]).float().to(self.device),
        )

    def lesson_loss(self, lesson: ScoutLesson) -> Tensor:
        """Evidence of tiles against the expert's, and of the glance against the photo's labels."""
        return self._loss(lesson.out, lesson.tiles, lesson.targets, lesson.truth)

    def _glance_px(self, index: int, epoch: int) -> int:
        smallest = self.recipe.scout_smallest_glance
        if smallest >= 1.0:
            return self.recipe.glance_px
        share = np.random.default_rng([self.seed, 6, epoch, index]).uniform(np.log(smallest), 0.0)
        return round(self.recipe.glance_px * float(np.exp(share)))

    def _targets(self, evidence: FloatArray, truth: NDArray[np.bool_]) -> FloatArray:
        """(tiles, 1 + labels) for the score, then for the labels."""
        complete = self.train.complete
        score = self.scale.apply(evidence, truth, labels_complete=complete)
        labels = evidence_targets(evidence, truth, labels_complete=complete)
        return np.column_stack([score, labels])

    def _loss(self, out: ScoutOutput, tiles: Tiles, targets: Tensor, truth: Tensor) -> Tensor:
        recipe = self.recipe
        photo_loss = exclusive_bag_loss if recipe.exclusive else bag_loss
        total = photo_loss(out.glance_logits, truth, self._weights)
        known = ~targets.isnan().any(dim=1)
        if not bool(known.any()):
            return total
        maps = torch.cat([out.score_map, out.label_maps[0]])
        pooled = pool_places_torch(maps, tiles, recipe.border_exponent)
        logits, wanted = pooled[known], targets[known]
        score = evidence_loss(logits[:, 0], wanted[:, 0], recipe.evidence_weight)
        labels = evidence_loss(logits[:, 1:], wanted[:, 1:], recipe.evidence_weight)
        total = total + score + labels
        if recipe.scout_ranking != "none":
            ranking = RANKING_LOSSES[recipe.scout_ranking]
            total = total + recipe.scout_ranking_weight * ranking(logits[:, 0], wanted[:, 0])
        return total

    def _glances(self) -> list[tuple[Pixels, tuple[int, int]]]:
        """Glances of the validation photos, with the sizes of the photos; kept for next time."""
        if not self._validation_glances:
            self._validation_glances = [
                (take_glance(photo, self.recipe.glance_px).pixels, photo.size_px_hw)
                for _, photo in load_photos(
                    self.validation.paths, range(len(self.validation.paths))
                )
            ]
        return self._validation_glances

    @torch.no_grad()
    def score_tiles(self) -> list[FloatArray]:
        """Per validation photo, (tiles, 1 + labels) logits: the score, then the labels' guesses."""
        self.network.eval()
        rows = []
        for glance, size in self._glances():
            out = self.network(to_batch(glance[None], self.device))
            maps = torch.cat([out.score_map, out.label_maps[0]])
            tiles = lay_tiles(size, self.recipe.tile_px)
            pooled = pool_places_torch(maps, tiles, self.recipe.border_exponent)
            rows.append(pooled.float().cpu().numpy())
        return rows

    def guess_tiles(self) -> list[FloatArray]:
        """Per validation photo, (tiles, labels) logits: the scout's guess at the expert's."""
        return [rows[:, 1:] for rows in self.score_tiles()]

    def evidence_losses(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The loss of tile evidence on the validation photos, and that of the best constant.

        The constants are those that the training photos favour; a scout that has learnt to look
        must do better than saying them everywhere.

        Returns:
            Two arrays (1 + labels,): for the score, then for each label.
        """
        known = [
            rows[~np.isnan(rows).any(axis=1)]
            for rows in map(self._targets, self.evidence, self.train.truth)
        ]
        weight = self.recipe.evidence_weight
        constant = torch.from_numpy(best_constant(np.concatenate(known), weight))
        targets = torch.from_numpy(
            np.concatenate(
                list(map(self._targets, self.validation_evidence, self.validation.truth))
            )
        ).double()
        said = torch.from_numpy(np.concatenate(self.score_tiles())).double()
        constants = torch.logit(constant).expand_as(said)
        losses = [
            [
                float(evidence_loss(logits[:, column], targets[:, column], weight))
                for column in range(len(constant))
            ]
            for logits in (said, constants)
        ]
        return np.array(losses[0]), np.array(losses[1])

    @torch.no_grad()
    def validate(self) -> Validation:
        """How well the expert's evidence is predicted; the glance's own macro-AP beside it."""
        self.network.eval()
        losses, rows = [], []
        for index, (glance, size) in enumerate(self._glances()):
            with torch.autocast(
                self.device.type, dtype=torch.bfloat16, enabled=self.mixed_precision
            ):
                out = self.network(to_batch(glance[None], self.device))
            targets = self._targets(self.validation_evidence[index], self.validation.truth[index])
            truth = torch.from_numpy(self.validation.truth[index][None]).float()
            tiles = lay_tiles(size, self.recipe.tile_px)
            losses.append(
                float(
                    self._loss(
                        out,
                        tiles,
                        torch.from_numpy(targets).to(self.device),
                        truth.to(self.device),
                    )
                )
            )
            rows.append(out.glance_logits.float().cpu())
        judged = judge(
            torch.cat(rows),
            self.validation.truth,
            self._weights.cpu(),
            exclusive=self.recipe.exclusive,
        )
        loss = float(np.mean(losses))
        return Validation(score=-loss, loss=loss, macro_ap=judged.macro_ap)
