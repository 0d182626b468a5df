"""Sparsity: pressure on evidence, so that only lesions keep it. Never a quota for a photo."""

from __future__ import annotations

import torch
from torch import Tensor

ABSENT_WEIGHT = 3.0
"""A tile of a photo without the disease weighs so much more: there, nothing may be found."""

UNSURE_PROBS = (0.3, 0.7)
"""Between these the model does not know, and the tile is spared."""


def sparsity_loss(tile_logits: Tensor, truth: Tensor, *, labels_complete: bool) -> Tensor:
    """Mean over tiles of the disease probability, weighted.

    The probability is that of a disease, not a whole softmax vector, whose sum is 1 whatever it
    says and whose gradient is zero. A tile whose probability is between ``UNSURE_PROBS`` is
    spared, so that weak lesions are not pressed away before they are learnt; not so where the
    photo's label rules the disease out.

    Args:
        tile_logits: (bags, tiles, labels).
        truth: (bags, labels) 0 or 1.
        labels_complete: whether a label that is not named is known to be absent.

    Returns:
        Scalar: mean over bags, tiles and labels of weight · probability.
    """
    absent = truth < 0.5
    if not labels_complete:
        absent = absent & (truth.sum(dim=1, keepdim=True) < 0.5)
    absent = absent[:, None, :].expand_as(tile_logits)
    probs = torch.sigmoid(tile_logits)
    low, high = UNSURE_PROBS
    unsure = (probs.detach() > low) & (probs.detach() < high)
    weight = torch.where(absent, ABSENT_WEIGHT, torch.where(unsure, 0.0, 1.0))
    return (weight * probs).mean()
