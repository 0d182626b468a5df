"""Evidence from two feature maps of one pass: a coarse one that knows what, a finer one where."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def add_maps(fine_logits: Tensor, coarse_logits: Tensor) -> Tensor:
    """Lay coarse evidence bilinearly over finer evidence, and add both (Long et al. 2015).

    Args:
        fine_logits: (batch, channels, rows, columns).
        coarse_logits: (batch, channels, fewer rows, fewer columns).

    Returns:
        (batch, channels, rows, columns) as fine as the finer one.
    """
    return fine_logits + functional.interpolate(
        coarse_logits, size=fine_logits.shape[2:], mode="bilinear", align_corners=False
    )
