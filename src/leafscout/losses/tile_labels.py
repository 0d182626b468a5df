"""Losses that multiple-instance learning must beat: copied labels, and a class for background."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def copied_label_loss(
    tile_logits: Tensor,
    truth: Tensor,
    positive_weight: Tensor,
    *,
    smoothing: float = 0.0,
) -> Tensor:
    """Binary cross-entropy of every tile with the label of its photo.

    Most tiles of a diseased photo show none of it, so most of these positives are wrong; smoothing
    says so. A label that is absent is absent from every tile: negatives are exact and not smoothed.

    Args:
        tile_logits: (bags, tiles, labels).
        truth: (bags, labels) 0 or 1.
        positive_weight: (labels,).
        smoothing: a positive's target is ``1 − smoothing``, 0..1.

    Returns:
        Scalar mean over bags, tiles and labels.
    """
    target = truth[:, None, :].expand_as(tile_logits)
    return F.binary_cross_entropy_with_logits(
        tile_logits, target * (1.0 - smoothing), pos_weight=positive_weight
    )


def background_class_loss(
    tile_logits: Tensor, background_logits: Tensor, truth: Tensor, positive_weight: Tensor
) -> Tensor:
    """Cross-entropy over the strongest tile of each class, background among the classes.

    The background tiles of a diseased photo rightly look like background, so that class ties with
    the disease and the loss of a perfect tile classifier stays at ln 2. It is here to be measured
    against, not to be used.

    Args:
        tile_logits: (bags, tiles, labels) evidence against background, as it is deployed.
        background_logits: (bags, tiles) evidence of background.
        truth: (bags, labels) 0 or 1; a photo with several labels is shared between them.
        positive_weight: (labels,) weight of a photo with the label; a healthy photo has weight 1.

    Returns:
        Scalar mean over bags.
    """
    classes = torch.cat([torch.zeros_like(tile_logits[..., :1]), tile_logits], dim=2)
    strongest = (classes + background_logits[..., None]).amax(dim=1)
    target = torch.cat([(truth.sum(dim=1, keepdim=True) < 0.5).float(), truth], dim=1)
    target = target / target.sum(dim=1, keepdim=True)
    weight = torch.cat([torch.ones_like(positive_weight[:1]), positive_weight])
    return -(target * weight * F.log_softmax(strongest, dim=1)).sum(dim=1).mean()
