"""Pressure on a gate: what a token costs, so that only what the labels need is let through."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

CLEAN_WEIGHT = 3.0
"""A token of a photo without disease weighs so much more: there, everything may be dropped."""


def bottleneck_loss(
    gate_logits: Tensor, truth: Tensor, keep_prior: float, *, labels_complete: bool
) -> Tensor:
    """Divergence of each token's gate from a prior that keeps little (an information bottleneck).

    ``KL(Bernoulli(σ(a)) ‖ Bernoulli(π))`` is what it costs, in nats, to tell which tokens were
    kept to someone who expects the share π (Alemi et al. 2017, eq. 14, with a gate as the code).
    It is a price for each token, never a quota for a photo: a photo full of lesions pays more.

    Args:
        gate_logits: (photos, tokens) of the gate.
        truth: (photos, labels) 0 or 1.
        keep_prior: π, the share of tokens that costs nothing, inside (0, 1).
        labels_complete: whether a label that is not named is known to be absent.

    Returns:
        Scalar: mean over photos and tokens, those of a photo known to be clean weighted by
        ``CLEAN_WEIGHT``.

    Raises:
        ValueError: when the prior is not inside (0, 1).
    """
    if not 0.0 < keep_prior < 1.0:
        raise ValueError(f"Expected keep_prior inside (0, 1), but got {keep_prior}.")
    logits = gate_logits.float()
    keep = torch.sigmoid(logits)
    # log p = −softplus(−a) and log(1 − p) = −softplus(a) stay finite for a saturated gate.
    kept = keep * (-F.softplus(-logits) - math.log(keep_prior))
    dropped = (1.0 - keep) * (-F.softplus(logits) - math.log1p(-keep_prior))
    return ((kept + dropped).mean(dim=1) * _photo_weights(truth, labels_complete)).mean()


def excess_loss(
    gate_logits: Tensor,
    truth: Tensor,
    keep_share: float,
    seen_share: float,
    *,
    labels_complete: bool,
) -> Tensor:
    """Hinge on the share of tokens kept over many photos: only the excess costs.

    The share is that of a running mean over photos, so one photo may keep all it needs.

    Args:
        gate_logits: (photos, tokens) of the gate.
        truth: (photos, labels) 0 or 1.
        keep_share: wanted mean share, 0..1; below it nothing is paid.
        seen_share: mean share over the last photos, 0..1.
        labels_complete: whether a label that is not named is known to be absent.

    Returns:
        Scalar: weighted mean keep probability times the excess; 0 without one.
    """
    excess = max(0.0, seen_share - keep_share)
    kept = torch.sigmoid(gate_logits.float()).mean(dim=1)
    return excess * (kept * _photo_weights(truth, labels_complete)).mean()


def _photo_weights(truth: Tensor, labels_complete: bool) -> Tensor:
    """(photos,) ``CLEAN_WEIGHT`` where nothing can be lost by dropping everything."""
    clean = truth.sum(dim=1) < 0.5
    if not labels_complete:
        # A photo without a named disease may still show one that nobody wrote down.
        clean = torch.zeros_like(clean)
    return torch.where(clean, CLEAN_WEIGHT, 1.0)
