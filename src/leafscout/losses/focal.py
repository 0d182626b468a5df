"""Losses that let clear cases count less: focal, balanced, and the hardest negatives alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def focal_loss(logits: Tensor, truth: Tensor, *, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """Binary cross-entropy, less of it the clearer a case is already (Lin et al. 2017, eq. 5).

    ``−α_t (1 − p_t)^γ log p_t``, with ``p_t`` the probability of the truth and ``α_t`` alpha for
    labels that are there, ``1 − alpha`` for those that are not. With gamma 0 and alpha 0.5 it is
    half of the binary cross-entropy.

    Args:
        logits: (photos, labels), any shape.
        truth: 0 or 1, of the same shape.
        gamma: 0 or more; 0 weighs all cases alike.
        alpha: weight of labels that are there, 0..1.

    Returns:
        Scalar mean.

    Raises:
        ValueError: when gamma or alpha is out of range.
    """
    return focal_losses(logits, truth, gamma=gamma, alpha=alpha).mean()


def focal_losses(
    logits: Tensor, truth: Tensor, *, gamma: float = 2.0, alpha: float = 0.25
) -> Tensor:
    """Like ``focal_loss``, one value for each logit."""
    if gamma < 0:
        raise ValueError(f"Expected a gamma of at least 0, but got {gamma}.")
    if not 0 <= alpha <= 1:
        raise ValueError(f"Expected an alpha between 0 and 1, but got {alpha}.")
    truth = truth.to(logits.dtype)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    # log(1 - p_t) is a log-sigmoid of the logit's other side: no cancellation near p_t = 1.
    miss = torch.exp(gamma * F.logsigmoid(-logits * (2 * truth - 1)))
    weight = alpha * truth + (1 - alpha) * (1 - truth)
    return weight * miss * cross_entropy


def balanced_loss(logits: Tensor, truth: Tensor, alpha: Tensor) -> Tensor:
    """Binary cross-entropy with a weight for each label: ``−α_t log p_t``.

    Args:
        logits: (photos, labels).
        truth: (photos, labels) 0 or 1.
        alpha: (labels,) weight of photos with the label, 0..1; those without get ``1 − alpha``.

    Returns:
        Scalar mean; with 0.5 everywhere, half of the binary cross-entropy.
    """
    truth = truth.to(logits.dtype)
    weight = alpha * truth + (1 - alpha) * (1 - truth)
    return F.binary_cross_entropy_with_logits(logits, truth, weight=weight)


def keep_hard_negatives(losses: Tensor, truth: Tensor, *, ratio: float = 3.0) -> Tensor:
    """Which cases to learn from: all positives and the negatives with the largest losses.

    Args:
        losses: one loss for each case, any shape.
        truth: 0 or 1, of the same shape.
        ratio: negatives kept for each positive; without positives, for one.

    Returns:
        Bool of the same shape.

    Raises:
        ValueError: when the ratio is negative or the shapes differ.
    """
    if ratio < 0 or losses.shape != truth.shape:
        raise ValueError(
            f"Expected a ratio of at least 0 and one truth a loss, but got {ratio}, "
            f"{tuple(losses.shape)} and {tuple(truth.shape)}."
        )
    positive = truth > 0.5
    negatives = int((~positive).sum())
    wanted = min(negatives, round(ratio * max(1, int(positive.sum()))))
    hardness = losses.detach().masked_fill(positive, -torch.inf).flatten()
    keep = positive.flatten().clone()
    keep[hardness.topk(wanted).indices] = True
    return keep.view_as(positive)


def hard_negative_loss(logits: Tensor, truth: Tensor, *, ratio: float = 3.0) -> Tensor:
    """Binary cross-entropy over what ``keep_hard_negatives`` keeps.

    Args:
        logits: (photos, labels), any shape.
        truth: 0 or 1, of the same shape.
        ratio: negatives kept for each positive.

    Returns:
        Scalar mean over the cases kept; 0 when none is.
    """
    losses = F.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype), reduction="none")
    kept = keep_hard_negatives(losses, truth, ratio=ratio)
    total: Tensor = (losses * kept).sum() / kept.sum().clamp(min=1)
    return total
