"""The scout's loss: predict the expert's evidence from the glance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
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


def best_constant(targets: NDArray[np.floating], positive_weight: float) -> NDArray[np.float64]:
    """The constant that ``evidence_loss`` likes best: what a scout that sees nothing would say.

    The derivative of the weighted cross-entropy is zero at the weighted mean of the targets.

    Args:
        targets: (tiles, ...) of the training photos, 0..1.
        positive_weight: as in ``evidence_loss``.

    Returns:
        (...) probabilities; strictly between 0 and 1, so that their logits are finite.
    """
    weight = 1.0 + (positive_weight - 1.0) * targets
    mean = (weight * targets).sum(axis=0) / weight.sum(axis=0)
    return np.asarray(np.clip(mean, 1e-6, 1.0 - 1e-6), dtype=np.float64)
