"""Losses that judge a photo by its label: of the pooled bag, and of tiles known to be clean."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

MAX_POSITIVE_WEIGHT = 10.0


def positive_weights(truth: NDArray[np.bool_]) -> Tensor:
    """Weights that give rare labels a larger say.

    Args:
        truth: (photos, labels) of the training split only.

    Returns:
        (labels,) square root of negatives per positive, between 1 and ``MAX_POSITIVE_WEIGHT``: the
        full ratio makes a rare label shout, none lets it be forgotten.
    """
    positives = truth.sum(axis=0)
    ratio = np.sqrt((len(truth) - positives) / np.maximum(positives, 1))
    return torch.from_numpy(np.clip(ratio, 1.0, MAX_POSITIVE_WEIGHT).astype(np.float32))


def bag_loss(bag_logits: Tensor, truth: Tensor, positive_weight: Tensor) -> Tensor:
    """Binary cross-entropy of pooled evidence with the photo's labels.

    Labels are independent diseases; a healthy photo has none of them. A *healthy* class of its
    own would leave even a perfect tile classifier with a loss of ln 2, because the background
    tiles of a diseased photo rightly look healthy.

    Args:
        bag_logits: (bags, labels).
        truth: (bags, labels) 0 or 1.
        positive_weight: (labels,).

    Returns:
        Scalar mean over bags and labels.
    """
    return F.binary_cross_entropy_with_logits(bag_logits, truth, pos_weight=positive_weight)


def exact_negative_loss(tile_logits: Tensor, truth: Tensor, *, labels_complete: bool) -> Tensor:
    """Push down labels that the photo does not have, on every tile given.

    A photo without a disease has it on none of its tiles, weeds and soil included: the only exact
    tile labels that photo labels hold. Where labels name only the main disease, that is known of
    photos without any label alone.

    Args:
        tile_logits: (bags, tiles, labels).
        truth: (bags, labels) 0 or 1.
        labels_complete: whether a label that is not named is known to be absent.

    Returns:
        Scalar: ``softplus(z)`` meaned over the clean pairs of tile and label; 0 without any.
    """
    clean = truth < 0.5
    if not labels_complete:
        clean = clean & (truth.sum(dim=1, keepdim=True) < 0.5)
    weight = clean[:, None, :].expand_as(tile_logits).float()
    total: Tensor = (F.softplus(tile_logits) * weight).sum() / weight.sum().clamp(min=1.0)
    return total
