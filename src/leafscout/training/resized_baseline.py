"""The cheap way, as a baseline: one network on the photo made small."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from leafscout.glance.view import take_glance
from leafscout.losses.bag import bag_loss, positive_weights
from leafscout.networks import to_batch
from leafscout.nn.backbones import Backbone
from leafscout.photos.augment import draw_augmentation
from leafscout.photos.labels import LabelTable
from leafscout.photos.loader import load_photos
from leafscout.training.expert_stage import judge, light, split_parameters
from leafscout.training.loop import Validation
from leafscout.training.recipes import Recipe, StageSettings
from leafscout.types import FloatArray, Photo, Pixels

BASELINE_EPOCHS = 15
BASELINE_PATIENCE = 8
BASELINE_RATE = 1e-3
BASELINE_BACKBONE_RATE = 0.01


class ResizedPhotoNetwork(nn.Module):
    """Backbone, global average pooling, one linear layer: what a resized photo is usually given.

    Args:
        backbone: feature maps of stride 32.
        labels: number of diseases.
        dropout: share of features dropped in training, 0..1.
    """

    def __init__(self, backbone: Backbone, labels: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.channels, labels)

    def forward(self, photos: Tensor) -> Tensor:
        """(batch, 3, height, width) pixels 0..255 → (batch, labels) logits."""
        logits: Tensor = self.head(self.dropout(self.backbone(photos).mean(dim=(2, 3)))).float()
        return logits


@dataclass
class ResizedPhotoStage:
    """The baseline with its photos; trained by the same loop as scout and expert.

    The photos are resized once, into a temporary folder: decoding them anew in every epoch would
    cost more than the network does.

    Attributes:
        side_px: long side that the photos are resized to.
    """

    network: ResizedPhotoNetwork
    recipe: Recipe
    train: LabelTable
    validation: LabelTable
    side_px: int
    seed: int
    device: torch.device
    mixed_precision: bool
    name: str = "resized_photo"

    def __post_init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="leafscout-resized-")
        self.paths: list[Path] = self._write_resized(list(self.train.paths))
        self.settings: StageSettings = replace(
            self.recipe.expert_stage,
            epochs=BASELINE_EPOCHS,
            patience=BASELINE_PATIENCE,
            learning_rate=BASELINE_RATE,
            backbone_rate=BASELINE_BACKBONE_RATE if self.recipe.pretrained else 1.0,
        )
        self._weights = positive_weights(self.train.truth).to(self.device)
        self._cache: dict[Path, Pixels] = {}

    def prepare(self) -> None:
        """Training mode; running statistics of a pretrained backbone stay as they are."""
        self.network.train()
        self.network.backbone.freeze_statistics()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The backbone learns more slowly than the new layer."""
        return split_parameters(self.network, self.settings)

    def loss(self, index: int, photo: Photo, epoch: int) -> Tensor:
        """Binary cross-entropy with the photo's labels."""
        augmentation = draw_augmentation(
            (self.seed, 3, epoch, index), change=self.recipe.light_change
        )
        moved = np.ascontiguousarray(augmentation.move(photo.pixels), dtype=np.uint8)
        truth = torch.from_numpy(self.train.truth[index : index + 1]).float().to(self.device)
        return bag_loss(
            self.network(light(moved[None], augmentation, self.device)), truth, self._weights
        )

    def validate(self) -> Validation:
        """Judge the validation photos."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.mixed_precision):
            logits = self.predict(self.validation.paths)
        return judge(torch.from_numpy(logits), self.validation.truth, self._weights.cpu())

    @torch.no_grad()
    def predict(self, paths: Any) -> FloatArray:
        """(photos, labels) logits of photos."""
        self.network.eval()
        rows = []
        for path, pixels in self._resized(list(paths)):
            del path
            rows.append(self.network(to_batch(pixels[None], self.device)).float().cpu().numpy())
        return np.concatenate(rows)

    def _write_resized(self, paths: list[Path]) -> list[Path]:
        out = []
        for index, photo in load_photos(paths, range(len(paths))):
            file = Path(self._folder.name) / f"{index}.png"
            small = take_glance(photo, self.side_px).pixels
            Image.fromarray(small).save(file, compress_level=1)
            out.append(file)
        return out

    def _resized(self, paths: list[Path]) -> Any:
        missing = [index for index, path in enumerate(paths) if path not in self._cache]
        for index, photo in load_photos(paths, missing):
            self._cache[paths[index]] = take_glance(photo, self.side_px).pixels
        return [(path, self._cache[path]) for path in paths]
