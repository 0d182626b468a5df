"""A teacher beside the photos' labels: what it says of the very tiles that a student learns from.

The teacher runs on the student's own tiles, turned and lit as the student sees them, so that both
speak of the same pixels (Beyer et al. 2022); nothing of it is stored but one row of soft labels a
photo. It costs a pass without gradients over a few tiles a photo, whatever the photo's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from leafscout.focus.expert import Expert, ExpertOutput, TileFeatures
from leafscout.losses.distillation import (
    PROJECTION,
    attach_projection,
    attention_transfer_loss,
    blend_losses,
    detach_projection,
    feature_loss,
    soft_label_loss,
)
from leafscout.training.distil_settings import read_levels
from leafscout.training.recipes import Recipe
from leafscout.types import FloatArray


@dataclass(frozen=True, eq=False)
class Attempt:
    """What a student made of a photo, for its teacher to judge.

    Attributes:
        index: of the photo among those that are learnt from.
        batch: (tiles, 3, side, side) pixels of the tiles learnt from, as the student saw them.
        features: the student's, of these tiles.
        output: the student's evidence of these tiles.
        bag_logits: (labels,) the student's evidence of the photo; gradients reach these tiles.
    """

    index: int
    batch: Tensor
    features: TileFeatures
    output: ExpertOutput
    bag_logits: Tensor


class Tutor(Protocol):
    """Something that an expert learns from beside the photos' labels."""

    def attach(self, student: Expert, seed: int) -> None:
        """Give the student what only learning from this tutor needs; often nothing."""
        ...

    def detach(self, student: Expert) -> None:
        """Take it away again."""
        ...

    def teach(self, student: Expert, attempt: Attempt, hard: Tensor | None) -> Tensor:
        """The loss of one photo: of its labels and of the tutor together.

        Args:
            student: the network that learns.
            attempt: what it made of the photo.
            hard: loss against the photo's labels; None where it has none.
        """
        ...


@dataclass(frozen=True, eq=False)
class NetworkTutor:
    """A tutor that is an expert itself, or the soft labels that some network gave photos.

    Attributes:
        recipe: the student's; says what is learnt from the teacher, and how much it counts.
        network: the teacher; None where only soft labels of photos are known.
        photo_logits: (photos, labels) the teacher's evidence of the photos; None where the recipe
            asks for no soft labels of photos.
    """

    recipe: Recipe
    network: Expert | None
    photo_logits: FloatArray | None = None

    def attach(self, student: Expert, seed: int) -> None:
        """Where widths differ, a linear map from the student's features to the teacher's."""
        if self.recipe.distil_features == "none" or self.network is None:
            return
        widths = student.backbone.channels, self.network.backbone.channels
        if widths[0] == widths[1]:
            return
        attach_projection(student, *widths, seed)

    def detach(self, student: Expert) -> None:
        """Take the linear map away."""
        detach_projection(student)

    def teach(self, student: Expert, attempt: Attempt, hard: Tensor | None) -> Tensor:
        """``α·T²·KL + (1 − α)·hard``, and features where the recipe asks for them.

        Photos without labels have no hard loss: there the soft labels count alone.
        """
        recipe = self.recipe
        taught = None if self.network is None else _ask(self.network, attempt.batch)
        levels = [self._soft_loss(level, attempt, taught) for level in self._levels()]
        soft = torch.stack(levels).mean()
        total = soft if hard is None else blend_losses(hard, soft, recipe.distil_soft_weight)
        if taught is None:
            return total
        mine = attempt.features.coarse
        theirs = fit_map(taught[0].coarse.float(), mine)
        if recipe.distil_features != "none":
            projected = _project(student, mine.float())
            away = feature_loss(projected, theirs, kind=recipe.distil_features)
            total = total + recipe.distil_feature_weight * away
        if recipe.distil_attention_weight > 0:
            away = attention_transfer_loss(mine, theirs)
            total = total + recipe.distil_attention_weight * away
        return total

    def _levels(self) -> tuple[str, ...]:
        return ("photo",) if self.network is None else read_levels(self.recipe.distil_levels)

    def _soft_loss(
        self, level: str, attempt: Attempt, taught: tuple[TileFeatures, ExpertOutput] | None
    ) -> Tensor:
        temperature, exclusive = self.recipe.distil_temperature, self.recipe.exclusive
        student, teacher = self._compare(level, attempt, taught)
        return soft_label_loss(student, teacher, temperature, exclusive=exclusive)

    def _compare(
        self, level: str, attempt: Attempt, taught: tuple[TileFeatures, ExpertOutput] | None
    ) -> tuple[Tensor, Tensor]:
        """(…, labels) logits of the student and of the teacher at one level."""
        if level == "photo" or taught is None:
            if self.photo_logits is None:
                raise ValueError("Soft labels of photos are wanted, but the tutor has none.")
            row = torch.from_numpy(self.photo_logits[attempt.index]).to(attempt.bag_logits.device)
            return attempt.bag_logits, row
        output = taught[1]
        if level == "tile":
            return attempt.output.tile_logits, output.tile_logits
        places = attempt.output.place_logits
        return places.movedim(1, -1), fit_evidence(output.place_logits, places).movedim(1, -1)


@torch.no_grad()
def _ask(teacher: Expert, batch: Tensor) -> tuple[TileFeatures, ExpertOutput]:
    """Features and evidence of a teacher that may be learning itself."""
    was_training = teacher.training
    teacher.eval()
    features = teacher.see(batch)
    output = teacher.read_features(features)
    if was_training:
        teacher.train()
        teacher.backbone.freeze_statistics()
    return features, output


def _project(student: Expert, features: Tensor) -> Tensor:
    projection: nn.Module | None = getattr(student, PROJECTION, None)
    if projection is None:
        return features
    projected: Tensor = projection(features)
    return projected


def fit_map(teacher: Tensor, student: Tensor) -> Tensor:
    """Bring the teacher's feature map to the student's grid: means of finer cells.

    Args:
        teacher: (tiles, channels, rows, columns).
        student: (tiles, any channels, rows, columns) whose grid is wanted.
    """
    return _fit(teacher, student, coarsen=functional.adaptive_avg_pool2d)


def fit_evidence(teacher: Tensor, student: Tensor) -> Tensor:
    """Bring the teacher's evidence to the student's grid: a cell is as ill as its worst part.

    Args:
        teacher: (tiles, labels, rows, columns) logits.
        student: (tiles, labels, rows, columns) whose grid is wanted.
    """
    return _fit(teacher, student, coarsen=functional.adaptive_max_pool2d)


def _fit(teacher: Tensor, student: Tensor, coarsen: object) -> Tensor:
    size = (int(student.shape[2]), int(student.shape[3]))
    if tuple(teacher.shape[2:]) == size:
        return teacher
    if teacher.shape[2] >= size[0] and teacher.shape[3] >= size[1] and callable(coarsen):
        smaller: Tensor = coarsen(teacher, size)
        return smaller
    return functional.interpolate(teacher, size=size, mode="bilinear", align_corners=False)
