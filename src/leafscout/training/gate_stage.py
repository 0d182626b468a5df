"""The stage of the integrated variant: early layers, gate and later layers learn together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leafscout.diagnosis.gated_pooling import pool_gated
from leafscout.glance.view import take_glance
from leafscout.losses.bag import bag_loss, exact_negative_loss, positive_weights
from leafscout.losses.exclusive import exclusive_bag_loss
from leafscout.losses.information_bottleneck import bottleneck_loss, excess_loss
from leafscout.losses.rising_weight import rising_weight
from leafscout.networks import to_batch
from leafscout.photos.augment import draw_augmentation
from leafscout.photos.labels import LabelTable
from leafscout.photos.loader import load_photos
from leafscout.recognisers.gated_transformer import GatedTransformer
from leafscout.recognisers.token_gate import draw_gates
from leafscout.training.expert_stage import judge, light
from leafscout.training.gated_recipe import GatedRecipe
from leafscout.training.loop import Validation
from leafscout.training.recipes import StageSettings
from leafscout.types import Photo, Pixels

KEEP_PRICE = 0.05
"""Of keeping everything, in macro-AP, when the best epoch is chosen."""

MEMORY = 0.98
"""Of the running mean of the share kept: about the last fifty photos."""


@dataclass
class GateStage:
    """The network with its photos; what ``leafscout.training.loop`` trains.

    Attributes:
        kept_share: running mean of the tokens kept over the last training photos, 0..1.
    """

    network: GatedTransformer
    recipe: GatedRecipe
    train: LabelTable
    validation: LabelTable
    seed: int
    device: torch.device
    mixed_precision: bool
    name: str = "gated"
    kept_share: float = 1.0
    _epoch: int = 0
    _views: dict[str, list[Pixels]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.paths: list[Path] = list(self.train.paths)
        self.settings: StageSettings = self.recipe.stage
        self._weights = positive_weights(self.train.truth).to(self.device)

    @property
    def _dense(self) -> bool:
        return self.recipe.gate_kind == "open"

    def prepare(self) -> None:
        """Training mode; running statistics of a pretrained stem stay as they are."""
        self.network.train()
        self.network.stem.freeze_statistics()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The stem at its own rate, and everything else."""
        stem = list(self.network.stem.parameters())
        known = {id(parameter) for parameter in stem}
        others = [one for one in self.network.parameters() if id(one) not in known]
        rate = self.settings.learning_rate
        return [
            {"params": stem, "lr": rate * self.settings.backbone_rate},
            {"params": others, "lr": rate},
        ]

    def notes(self) -> dict[str, Any]:
        """The running mean and the epoch, for a checkpoint."""
        return {"kept_share": self.kept_share, "epoch": self._epoch}

    def load_notes(self, notes: Mapping[str, Any]) -> None:
        """Go on from what ``notes`` gave."""
        self.kept_share, self._epoch = float(notes["kept_share"]), int(notes["epoch"])

    def loss(self, index: int, photo: Photo, epoch: int) -> Tensor:
        """L_cls + λ · cost of one photo."""
        self._epoch = epoch
        augmentation = draw_augmentation((self.seed, 3, epoch, index))
        view = take_glance(photo, self.recipe.view_px).pixels
        moved = np.ascontiguousarray(augmentation.move(view), dtype=np.uint8)
        truth = torch.from_numpy(self.train.truth[index][None]).float().to(self.device)
        return self.loss_of(light(moved[None], augmentation, self.device), truth, epoch)

    def loss_of(self, pixels: Tensor, truth: Tensor, epoch: int) -> Tensor:
        """The loss of a batch of one: (1, 3, height, width) 0..255 and (1, labels)."""
        recipe, complete = self.recipe, self.train.complete
        tokens = self.network.embed(pixels)
        gate_logits = self.network.gate(tokens.values)
        gates = draw_gates(gate_logits, recipe.gate_kind, noisy=True)
        seen = self.network.read(tokens.values, None if self._dense else gates)
        pooled = pool_gated(recipe.pooling, seen.token_logits, seen.attention_logits, gates)
        loss = self.photo_loss(pooled, truth)
        if recipe.exact_negative_weight > 0:
            loss = loss + recipe.exact_negative_weight * exact_negative_loss(
                seen.token_logits, truth, labels_complete=complete
            )
        weight = rising_weight(epoch, recipe.gate_weight, recipe.gate_warmup_epochs)
        share = float(gates.detach().mean())
        self.kept_share = MEMORY * self.kept_share + (1.0 - MEMORY) * share
        return loss + weight * self._cost(gate_logits, truth) if weight > 0 else loss

    def _cost(self, gate_logits: Tensor, truth: Tensor) -> Tensor:
        recipe, complete = self.recipe, self.train.complete
        if recipe.gate_budget == "bottleneck":
            return bottleneck_loss(gate_logits, truth, recipe.keep_share, labels_complete=complete)
        return excess_loss(
            gate_logits, truth, recipe.keep_share, self.kept_share, labels_complete=complete
        )

    def photo_loss(self, pooled: Tensor, truth: Tensor) -> Tensor:
        """L_cls: pooled evidence (photos, labels) against the labels of the photos."""
        compare = exclusive_bag_loss if self.recipe.exclusive else bag_loss
        return compare(pooled, truth, self._weights)

    def gate_gradients(self, pixels: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """What each gate means for L_cls: its derivative, at the gates as they are.

        Args:
            pixels: (1, 3, height, width) 0..255.
            truth: (1, labels) 0 or 1.

        Returns:
            (tokens,) d L_cls / d gate, negative where keeping the token lowers the loss, and
            (tokens,) bool, whether it is kept now.
        """
        self.network.eval()
        with torch.no_grad():
            values = self.network.embed(pixels).values
            gates = draw_gates(self.network.gate(values), self.recipe.gate_kind, noisy=False)
        gates.requires_grad_(True)  # noqa: FBT003 — torch's own signature
        seen = self.network.read(values, gates)
        pooled = pool_gated(self.recipe.pooling, seen.token_logits, seen.attention_logits, gates)
        (slopes,) = torch.autograd.grad(self.photo_loss(pooled, truth), gates)
        return slopes[0], gates.detach()[0] > 0.5

    def _validation_views(self) -> list[Pixels]:
        """Views of the validation photos, kept for next time."""
        if "validation" not in self._views:
            count = len(self.validation.paths)
            self._views["validation"] = [
                take_glance(photo, self.recipe.view_px).pixels
                for _, photo in load_photos(self.validation.paths, range(count))
            ]
        return self._views["validation"]

    @torch.no_grad()
    def validate(self) -> Validation:
        """Every validation photo, with the gate as it will be used.

        The best epoch is one that also drops: keeping costs a little, and an epoch before the
        pressure has fully risen is behind every later one.
        """
        self.network.eval()
        rows, shares = [], []
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.mixed_precision):
            for view in self._validation_views():
                pooled, share = self._pool_view(view)
                rows.append(pooled)
                shares.append(share)
        judged = judge(
            torch.cat(rows).float().cpu(),
            self.validation.truth,
            self._weights.cpu(),
            exclusive=self.recipe.exclusive,
        )
        weight = self.recipe.gate_weight
        risen = rising_weight(self._epoch, weight, self.recipe.gate_warmup_epochs) >= weight
        score = judged.macro_ap - KEEP_PRICE * float(np.mean(shares)) - (0.0 if risen else 2.0)
        return replace(judged, score=score)

    def _pool_view(self, view: Pixels) -> tuple[Tensor, float]:
        """(1, labels) pooled logits of a view as deployed, and the share of tokens kept."""
        recipe = self.recipe
        values = self.network.embed(to_batch(view[None], self.device)).values
        gates = draw_gates(self.network.gate(values), recipe.gate_kind, noisy=False)
        seen = self.network.read(values, None if self._dense else gates)
        pooled = pool_gated(recipe.pooling, seen.token_logits, seen.attention_logits, gates)
        return pooled, float(gates.mean())
