"""ArcFace for several labels at once: class centres on a sphere, and a margin while learning.

Deng et al. 2019, "ArcFace: additive angular margin loss for deep face recognition".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAST_SQUARE = 1e-9
"""The sine's square is held above it: the root's slope at 0 is infinite."""


@dataclass(frozen=True)
class Margin:
    """How much nearer to its class centre a feature must lie than it needs to be right.

    Attributes:
        radians: added to the angle between a feature and the centres of its own labels; 0 is none.
        easy: add it only where the angle is below 90 degrees, for starts that find no way.
    """

    radians: float = 0.5
    easy: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.radians < math.pi:
            raise ValueError(f"Expected a margin from 0 to below π, but got {self.radians}.")


USUAL_MARGIN = Margin()


def add_margin(cosines: Tensor, truth: Tensor, margin: Margin) -> Tensor:
    """Turn cos θ into cos(θ + m) where the truth is 1; all other cosines stay.

    Beyond θ = π − m the cosine would rise again; there, ``m · sin(π − m)`` is taken off instead,
    so that a larger angle never gives more evidence.

    Args:
        cosines: (photos, labels) −1..1.
        truth: (photos, labels) 0 or 1; several labels of a photo may be 1.
        margin: how much.

    Returns:
        (photos, labels).
    """
    cos_m, sin_m = math.cos(margin.radians), math.sin(margin.radians)
    sines = (1.0 - cosines * cosines).clamp(min=LEAST_SQUARE).sqrt()
    turned = cosines * cos_m - sines * sin_m
    if margin.easy:
        turned = torch.where(cosines > 0, turned, cosines)
    else:
        turned = torch.where(cosines > -cos_m, turned, cosines - sin_m * margin.radians)
    return torch.where(truth > 0.5, turned, cosines)


class ArcFaceHead(nn.Module):
    """Evidence for each label from the angle between a photo's features and the label's centre.

    The class centres are parameters of this module and of nothing else: what is optimised, saved,
    shown and asked is one and the same. Evidence, ``scale · cos θ + bias``, never has a margin:
    it would need the labels that are to be told. Only ``loss`` adds it.

    With ``scale`` fixed at 30 and no bias, a cosine of 0, which is what chance gives, would be
    probability 0.5, and 0.1 already 0.95. So both are learnt, and the bias starts at a prior.

    Args:
        features: length of the feature vector.
        labels: number of labels.
        margin: for the loss.
        scale: at the start.
        learn_scale: whether it is learnt, one for all labels.
        prior: the probability at a right angle that the bias starts with, 0..1; None for no bias.
    """

    scale_log: Tensor

    def __init__(
        self,
        features: int,
        labels: int,
        margin: Margin = USUAL_MARGIN,
        *,
        scale: float = 30.0,
        learn_scale: bool = True,
        prior: float | None = 0.1,
    ) -> None:
        super().__init__()
        if scale <= 0 or (prior is not None and not 0 < prior < 1):
            raise ValueError(
                f"Expected a scale above 0 and a prior between 0 and 1, but got {scale}, {prior}."
            )
        self.margin = margin
        self.weight = nn.Parameter(torch.empty(labels, features))
        nn.init.xavier_uniform_(self.weight)
        start = torch.tensor(math.log(scale))
        if learn_scale:
            self.scale_log = nn.Parameter(start)
        else:
            self.register_buffer("scale_log", start)
        self.bias: nn.Parameter | None = None
        if prior is not None:
            self.bias = nn.Parameter(torch.full((labels,), math.log(prior / (1 - prior))))

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by."""
        return self.scale_log.exp()

    def cosines(self, features: Tensor) -> Tensor:
        """(photos, features) → (photos, labels) cosines of the angles to the class centres."""
        wide = features if features.dtype == torch.float64 else features.float()
        return F.normalize(wide, dim=1) @ F.normalize(self.weight.to(wide.dtype), dim=1).T

    def forward(self, features: Tensor) -> Tensor:
        """(photos, features) → (photos, labels) logits, without margin and without labels."""
        return self._to_logits(self.cosines(features))

    def margin_logits(self, features: Tensor, truth: Tensor) -> Tensor:
        """(photos, labels) logits with the margin on each photo's own labels: for losses alone."""
        return self._to_logits(add_margin(self.cosines(features), truth, self.margin))

    def loss(self, features: Tensor, truth: Tensor) -> Tensor:
        """Binary cross-entropy with the margin on the labels that are there.

        Args:
            features: (photos, features).
            truth: (photos, labels) 0 or 1; any number of labels a photo.

        Returns:
            Scalar mean over photos and labels.
        """
        logits = self.margin_logits(features, truth)
        return F.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype))

    def exclusive_loss(self, features: Tensor, label: Tensor) -> Tensor:
        """The original ArcFace: a softmax over labels, of which each photo has exactly one.

        Args:
            features: (photos, features).
            label: (photos,) index of its label.

        Returns:
            Scalar mean over photos.
        """
        truth = F.one_hot(label, len(self.weight))
        return F.cross_entropy(self.margin_logits(features, truth), label)

    def _to_logits(self, cosines: Tensor) -> Tensor:
        logits = self.scale.to(cosines.dtype) * cosines
        return logits if self.bias is None else logits + self.bias.to(cosines.dtype)
