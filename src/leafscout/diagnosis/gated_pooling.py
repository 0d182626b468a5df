"""Pooling of tokens of which some are dropped, differentiable in what is dropped.

A dropped token enters with ``EMPTY_BAG_LOGIT``, no evidence, so that a photo of which nothing is
kept has a defined answer and the pooled logit does not rise by dropping. Where a pooling is a sum
over tokens, the gate is a factor in that sum: its derivative at 0 is what the token would add.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from leafscout.diagnosis.pooling import (
    ATTENTION_POOLINGS,
    EMPTY_BAG_LOGIT,
    MIN_SURPRISE,
    POOL_SHARPNESS,
)
from leafscout.diagnosis.pooling_torch import pool_bags

GatedPooling = Callable[[Tensor, Tensor], Tensor]


def _log_sum_exp(logits: Tensor, gates: Tensor) -> Tensor:
    scaled, nothing = POOL_SHARPNESS * logits, POOL_SHARPNESS * EMPTY_BAG_LOGIT
    with torch.no_grad():
        top = torch.where(gates > 0.5, scaled, nothing).logsumexp(dim=1, keepdim=True)
    lead = scaled - top
    # Of a dropped token that outweighs all that was kept, the derivative exp(lead) would say far
    # too much; log(1 + exp(lead)) is what the logarithm would rise by if it were kept.
    shares = torch.where(gates > 0.5, lead.clamp(max=0.0).exp(), F.softplus(lead))
    empty = (nothing - top).exp()
    total = (gates * shares + (1.0 - gates) * empty).sum(dim=1)
    return (top[:, 0] + total.log() - math.log(logits.shape[1])) / POOL_SHARPNESS


def _noisy_or(logits: Tensor, gates: Tensor) -> Tensor:
    nothing = math.log1p(math.exp(EMPTY_BAG_LOGIT))
    surprise = (gates * F.softplus(logits) + (1.0 - gates) * nothing).sum(dim=1)
    surprise = surprise.clamp(min=MIN_SURPRISE)
    return surprise + torch.log(-torch.expm1(-surprise))


GATED_POOLINGS: dict[str, GatedPooling] = {"log_sum_exp": _log_sum_exp, "noisy_or": _noisy_or}
"""Poolings whose derivative in the gate of a dropped token is what keeping it would add."""


def pool_gated(name: str, logits: Tensor, attention_logits: Tensor, gates: Tensor) -> Tensor:
    """Pool the tokens of photos.

    Args:
        name: a key of ``leafscout.diagnosis.pooling.POOLINGS``. For those that are not among
            ``GATED_POOLINGS`` a dropped token gets a gradient only where its place counts.
        logits: (photos, tokens, labels) evidence.
        attention_logits: (photos, tokens, labels).
        gates: (photos, tokens) 0 or 1, with any gradient.

    Returns:
        (photos, labels) logits, equal to what ``leafscout.diagnosis.pooling`` gives once dropped
        tokens have ``EMPTY_BAG_LOGIT``; attention weighs kept tokens alone.
    """
    column = gates[:, :, None]
    if name in GATED_POOLINGS:
        return GATED_POOLINGS[name](logits, column)
    filled = column * logits + (1.0 - column) * EMPTY_BAG_LOGIT
    everything = torch.ones_like(gates, dtype=torch.bool)
    if name in ATTENTION_POOLINGS:
        return pool_bags(name, filled, attention_logits, gates > 0.5)
    return pool_bags(name, filled, attention_logits, everything)
