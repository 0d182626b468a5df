"""Torch twins of ``leafscout.diagnosis.pooling`` for training: batched, masked, differentiable.

Shapes: (bags, tiles, labels) logits and attention logits, (bags, tiles, 1) mask → (bags, labels).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from leafscout.diagnosis.pooling import EMPTY_BAG_LOGIT, MIN_SURPRISE, POOL_SHARPNESS, TOP_K

BagPooling = Callable[[Tensor, Tensor, Tensor], Tensor]


def _max(logits: Tensor, attention_logits: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG001
    return logits.masked_fill(~mask, -torch.inf).amax(dim=1)


def _top_k_mean(logits: Tensor, attention_logits: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG001
    k = min(TOP_K, logits.shape[1])
    best = logits.masked_fill(~mask, -torch.inf).topk(k, dim=1).values  # (bags, k, labels)
    real = torch.isfinite(best)
    return best.masked_fill(~real, 0.0).sum(dim=1) / real.sum(dim=1).clamp(min=1)


def _log_sum_exp(logits: Tensor, attention_logits: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG001
    scaled = (POOL_SHARPNESS * logits).masked_fill(~mask, -torch.inf)
    count = mask.sum(dim=1).clamp(min=1).float()
    return (torch.logsumexp(scaled, dim=1) - count.log()) / POOL_SHARPNESS


def _noisy_or(logits: Tensor, attention_logits: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG001
    total = F.softplus(logits).masked_fill(~mask, 0.0).sum(dim=1).clamp(min=MIN_SURPRISE)
    return total + torch.log(-torch.expm1(-total))


def _mean(logits: Tensor, attention_logits: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG001
    total: Tensor = logits.masked_fill(~mask, 0.0).sum(dim=1)
    return total / mask.sum(dim=1).clamp(min=1)


def _attention(logits: Tensor, attention_logits: Tensor, mask: Tensor) -> Tensor:
    weights = attention_logits.masked_fill(~mask, -torch.inf).softmax(dim=1)
    return (weights * logits.masked_fill(~mask, 0.0)).sum(dim=1)


BAG_POOLINGS: dict[str, BagPooling] = {
    "max": _max,
    "mean": _mean,
    "top_k_mean": _top_k_mean,
    "log_sum_exp": _log_sum_exp,
    "noisy_or": _noisy_or,
    "attention": _attention,
    "gated_attention": _attention,
}


def pool_bags(name: str, logits: Tensor, attention_logits: Tensor, mask: Tensor) -> Tensor:
    """Pool bags of tiles into one row of logits each.

    Args:
        name: a key of ``BAG_POOLINGS``.
        logits: (bags, tiles, labels) evidence.
        attention_logits: (bags, tiles, labels).
        mask: (bags, tiles) True for the tiles that count.

    Returns:
        (bags, labels) logits; ``EMPTY_BAG_LOGIT`` for a bag without tiles.
    """
    safe_mask = mask | ~mask.any(dim=1, keepdim=True)  # an empty bag would give NaN gradients
    pooled = BAG_POOLINGS[name](logits, attention_logits, safe_mask[..., None])
    return torch.where(mask.any(dim=1, keepdim=True), pooled, pooled.new_tensor(EMPTY_BAG_LOGIT))
