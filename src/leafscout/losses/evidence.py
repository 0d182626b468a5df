"""The scout's loss: predict the expert's evidence from the glance."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def evidence_loss(logits: Tensor, target_prob: Tensor, positive_weight: float) -> Tensor:
    """Weighted binary cross-entropy with continuous targets.

    Plain squared error is won by a map of zeros, because nearly all tiles are background; here
    tiles with evidence weigh ``1 + (positive_weight − 1)·target`` times as much.

    Args:
        logits: (...) the scout's evidence.
        target_prob: (...) the expert's evidence, 0..1.
        positive_weight: weight of a tile that surely holds a lesion against one that does not.

    Returns:
        Scalar, normalised by the sum of the weights.
    """
    weight = 1.0 + (positive_weight - 1.0) * target_prob
    loss = F.binary_cross_entropy_with_logits(logits, target_prob, reduction="none")
    mean: Tensor = (weight * loss).sum() / weight.sum()
    return mean
