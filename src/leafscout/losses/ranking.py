"""Ranking within a photo: the tiles that excite the expert more should score higher.

A budget reads the best tiles first, so their order matters beside their values. These losses are
added to the cross-entropy of ``leafscout.losses.evidence``, never put in its place: alone they do
not change when all scores of a photo move up together, and then no score could say "nothing here".
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def pairwise_ranking_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Logistic loss of every pair of tiles in the wrong order (Burges et al. 2005, RankNet).

    A pair weighs as much as its targets differ, so pairs of background tiles, whose order means
    nothing, do not count.

    Args:
        scores: (tiles,) logits of the scout.
        targets: (tiles,) what the scout should see, 0..1.

    Returns:
        Scalar: the weighted mean over pairs, scaled by the largest difference of two targets, so
        that a photo with nothing in it has no say; 0 where all targets are equal.
    """
    difference = targets[:, None] - targets[None, :]
    weight = difference.clamp(min=0.0)
    wrong = F.softplus(scores[None, :] - scores[:, None])
    mean = (weight * wrong).sum() / weight.sum().clamp(min=1e-6)
    largest: Tensor = mean * weight.max()
    return largest


def listwise_ranking_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the shares of scores and of targets (Cao et al. 2007, ListNet, top one).

    Args:
        scores: (tiles,) logits of the scout.
        targets: (tiles,) what the scout should see, 0..1.

    Returns:
        Scalar, scaled by the largest target, so that a photo with nothing in it has no say.
    """
    shares = targets / targets.sum().clamp(min=1e-6)
    loss: Tensor = -(shares * torch.log_softmax(scores, dim=0)).sum() * targets.max()
    return loss


RANKING_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "pairwise": pairwise_ranking_loss,
    "listwise": listwise_ranking_loss,
}
"""Name → loss of the scores and targets of one photo's tiles."""
