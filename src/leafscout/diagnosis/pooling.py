"""Pooling: evidence of tiles → evidence of the photo, per label.

Every pooling takes (tiles, labels) logits, (tiles, labels) attention logits and a (tiles,) mask
of the tiles that count, and gives (labels,) logits. The order of the tiles does not matter, masked
tiles have no influence, and a bag without tiles has the logit ``EMPTY_BAG_LOGIT``: no evidence.

This is what runs in a diagnosis; ``leafscout.diagnosis.pooling_torch`` holds the twins used in
training. Poolings that learn from the features of all tiles at once stand in
``leafscout.diagnosis.context``: they teach the expert, and are not deployed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from leafscout.types import FloatArray

EMPTY_BAG_LOGIT = -10.0
TOP_K = 3
POOL_SHARPNESS = 2.0
MIN_SURPRISE = 1e-13
"""Noisy-or counts a bag as at least this far from surely clean: a logit of −30."""

_Array = NDArray[np.float64]
Pooling = Callable[[_Array, _Array], _Array]


def pool_max(logits: _Array, attention_logits: _Array) -> _Array:  # noqa: ARG001
    """The strongest tile of each label: one diseased tile makes a diseased photo."""
    best: _Array = logits.max(axis=0)
    return best


def pool_top_k_mean(logits: _Array, attention_logits: _Array) -> _Array:  # noqa: ARG001
    """The mean of the ``TOP_K`` strongest tiles; of all tiles where there are fewer."""
    strongest = np.sort(logits, axis=0)[::-1][:TOP_K]
    mean: _Array = strongest.mean(axis=0)
    return mean


def pool_log_sum_exp(logits: _Array, attention_logits: _Array) -> _Array:  # noqa: ARG001
    """``log(mean(exp(r z))) / r``: between mean and maximum (Pinheiro & Collobert 2015, eq. 6)."""
    scaled = POOL_SHARPNESS * logits
    top = scaled.max(axis=0)
    pooled: _Array = (np.log(np.exp(scaled - top).mean(axis=0)) + top) / POOL_SHARPNESS
    return pooled


def pool_noisy_or(logits: _Array, attention_logits: _Array) -> _Array:  # noqa: ARG001
    """``1 − Π(1 − p)`` as a logit: tiles are independent causes."""
    # With s = −log Π(1 − p) = Σ softplus(z), the logit is log(exp(s) − 1) = s + log(1 − exp(−s)).
    total = np.maximum(np.logaddexp(0.0, logits).sum(axis=0), MIN_SURPRISE)
    pooled: _Array = total + np.log(-np.expm1(-total))
    return pooled


def pool_mean(logits: _Array, attention_logits: _Array) -> _Array:  # noqa: ARG001
    """The mean of all tiles: what a lesion says is thinned by every tile without one."""
    mean: _Array = logits.mean(axis=0)
    return mean


def pool_attention(logits: _Array, attention_logits: _Array) -> _Array:
    """Mean of the tiles weighted by a softmax of their attention (Ilse et al. 2018, eq. 7).

    Plain and gated attention differ in where the weights come from (eq. 8 and 9), which is the
    expert's business; what is done with them is the same.
    """
    weights = np.exp(attention_logits - attention_logits.max(axis=0))
    pooled: _Array = (weights * logits).sum(axis=0) / weights.sum(axis=0)
    return pooled


POOLINGS: dict[str, Pooling] = {
    "max": pool_max,
    "mean": pool_mean,
    "top_k_mean": pool_top_k_mean,
    "log_sum_exp": pool_log_sum_exp,
    "noisy_or": pool_noisy_or,
    "attention": pool_attention,
    "gated_attention": pool_attention,
}

ATTENTION_POOLINGS = ("attention", "gated_attention")
"""Those that weigh tiles by their attention."""


def pool_tiles(
    name: str, logits: FloatArray, attention_logits: FloatArray, mask: NDArray[np.bool_]
) -> FloatArray:
    """Pool the tiles of one photo.

    Args:
        name: a key of ``POOLINGS``.
        logits: (tiles, labels) evidence.
        attention_logits: (tiles, labels); only the ``ATTENTION_POOLINGS`` use it.
        mask: (tiles,) True for the tiles that count.

    Returns:
        (labels,) logits; ``EMPTY_BAG_LOGIT`` when no tile counts.
    """
    if not mask.any():
        return np.full(logits.shape[1], EMPTY_BAG_LOGIT, dtype=np.float32)
    pooled = POOLINGS[name](
        logits[mask].astype(np.float64), attention_logits[mask].astype(np.float64)
    )
    return pooled.astype(np.float32)
