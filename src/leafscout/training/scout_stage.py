"""Stage 2: the scout learns from the glance to predict the frozen expert's evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leafscout.diagnosis.calibrate import sigmoid
from leafscout.glance.scout import Scout, pool_places_torch
from leafscout.glance.view import take_glance
from leafscout.losses.bag import bag_loss, positive_weights
from leafscout.losses.evidence import evidence_loss
from leafscout.losses.exclusive import exclusive_bag_loss
from leafscout.networks import to_batch
from leafscout.photos.augment import draw_augmentation
from leafscout.photos.labels import LabelTable
from leafscout.photos.loader import load_photos
from leafscout.photos.tiles import lay_tiles
from leafscout.training.expert_stage import judge, light, split_parameters
from leafscout.training.loop import Validation
from leafscout.training.recipes import Recipe, StageSettings
from leafscout.types import FloatArray, Photo, Pixels


def evidence_targets(
    tile_logits: FloatArray, truth: NDArray[np.bool_], *, labels_complete: bool
) -> FloatArray:
    """What the scout should see: the expert's probabilities, without what the label rules out.

    Args:
        tile_logits: (tiles, labels) the expert's evidence.
        truth: (labels,) the photo's labels.
        labels_complete: whether a label that is not named is known to be absent.

    Returns:
        (tiles, labels) 0..1; exactly 0 for labels that the photo does not have.
    """
    probs = sigmoid(tile_logits).astype(np.float32)
    known_absent = ~truth if labels_complete or not truth.any() else np.zeros_like(truth)
    probs[:, known_absent] = 0.0
    return probs


@dataclass
class ScoutStage:
    """The scout with its photos and the expert's evidence of them.

    Attributes:
        evidence: per training photo, (tiles, labels) logits of the expert on the upright photo.
        validation_evidence: the same of the validation photos.
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

    def prepare(self) -> None:
        """Training mode; running statistics of a pretrained backbone stay as they are."""
        self.network.train()
        self.network.backbone.freeze_statistics()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The backbone learns more slowly than the new layers."""
        return split_parameters(self.network, self.settings)

    def loss(self, index: int, photo: Photo, epoch: int) -> Tensor:
        """How far the scout's maps of one photo are from the expert's evidence."""
        augmentation = draw_augmentation((self.seed, 2, epoch, index), light=0.2)
        glance = take_glance(photo, self.recipe.glance_px).pixels
        moved = np.ascontiguousarray(augmentation.move(glance), dtype=np.uint8)
        truth = self.train.truth[index]
        targets = evidence_targets(self.evidence[index], truth, labels_complete=self.train.complete)
        # The grid is symmetric, so that turning the photo turns the evidence with it.
        grid = lay_tiles(photo.size_px_hw, self.recipe.tile_px)
        turned = augmentation.move(targets.reshape(grid.rows, grid.columns, -1))
        height, width = photo.size_px_hw
        if augmentation.quarter_turns % 2:
            height, width = width, height
        out = self.network(light(moved[None], augmentation, self.device))
        return self._loss(
            out,
            lay_tiles((height, width), self.recipe.tile_px),
            # A copy: where the grid has one row, a mirrored one counts as contiguous to numpy.
            torch.from_numpy(np.array(turned, dtype=np.float32, order="C")).flatten(0, 1),
            torch.from_numpy(truth[None]).float(),
        )

    def _loss(self, out: Any, tiles: Any, targets: Tensor, truth: Tensor) -> Tensor:
        targets, truth = targets.to(self.device), truth.to(self.device)
        weight = self.recipe.evidence_weight
        photo_loss = exclusive_bag_loss if self.recipe.exclusive else bag_loss
        score = pool_places_torch(out.score_map, tiles)[:, 0]
        labels = pool_places_torch(out.label_maps[0], tiles)
        return (
            evidence_loss(score, targets.amax(dim=1), weight)
            + evidence_loss(labels, targets, weight)
            + photo_loss(out.glance_logits, truth, self._weights)
        )

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
    def guess_tiles(self) -> list[FloatArray]:
        """Per validation photo, (tiles, labels) logits: the scout's guess at the expert's."""
        self.network.eval()
        rows = []
        for glance, size in self._glances():
            maps = self.network(to_batch(glance[None], self.device)).label_maps[0]
            guess = pool_places_torch(maps, lay_tiles(size, self.recipe.tile_px))
            rows.append(guess.float().cpu().numpy())
        return rows

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
            targets = evidence_targets(
                self.validation_evidence[index],
                self.validation.truth[index],
                labels_complete=self.validation.complete,
            )
            truth = torch.from_numpy(self.validation.truth[index][None]).float()
            tiles = lay_tiles(size, self.recipe.tile_px)
            losses.append(float(self._loss(out, tiles, torch.from_numpy(targets), truth)))
            rows.append(out.glance_logits.float().cpu())
        judged = judge(
            torch.cat(rows),
            self.validation.truth,
            self._weights.cpu(),
            exclusive=self.recipe.exclusive,
        )
        loss = float(np.mean(losses))
        return Validation(score=-loss, loss=loss, macro_ap=judged.macro_ap)
