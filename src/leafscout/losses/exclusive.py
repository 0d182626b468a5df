"""The bag loss of photos that show one disease or none: a softmax with healthy fixed at 0."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def exclusive_bag_loss(bag_logits: Tensor, truth: Tensor, positive_weight: Tensor) -> Tensor:
    """Cross-entropy over healthy and the diseases, where healthy has the logit 0.

    Healthy is the absence of evidence and needs none of its own: background tiles of a diseased
    photo have nothing to tie with, unlike with a healthy class that is pooled like a disease.

    Args:
        bag_logits: (bags, labels).
        truth: (bags, labels) 0 or 1, at most one 1 a bag.
        positive_weight: (labels,) weight of a photo with the label; a healthy photo has weight 1.

    Returns:
        Scalar mean over bags.
    """
    healthy = 1.0 - truth.sum(dim=1, keepdim=True)
    log_probs = F.log_softmax(with_healthy(bag_logits), dim=1)
    weight = torch.cat([torch.ones_like(positive_weight[:1]), positive_weight])
    return -(torch.cat([healthy, truth], dim=1) * weight * log_probs).sum(dim=1).mean()


def with_healthy(bag_logits: Tensor) -> Tensor:
    """(bags, labels) logits → (bags, 1 + labels), healthy first, with logit 0."""
    return F.pad(bag_logits, (1, 0), value=0.0)


def exclusive_odds(bag_logits: Tensor) -> Tensor:
    """Log-odds of each label in that softmax: what photos are ranked by.

    Args:
        bag_logits: (bags, labels).

    Returns:
        (bags, labels) ``log p − log(1 − p)``.
    """
    logits = with_healthy(bag_logits)
    others = torch.stack(
        [
            torch.cat([logits[:, : label + 1], logits[:, label + 2 :]], dim=1).logsumexp(dim=1)
            for label in range(bag_logits.shape[1])
        ],
        dim=1,
    )
    return bag_logits - others
