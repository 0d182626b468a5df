"""The weight of a loss that is to come in late: pressure toward nothing, which wins at the start.

A model that finds nothing is sparse and never wrong about a tile without disease. What presses that
way, sparsity, the price of tokens or exact negatives, has to wait until something is found.
"""

from __future__ import annotations

RAMP_EPOCHS = 3


def rising_weight(epoch: int, weight: float, warmup_epochs: int) -> float:
    """The weight of a loss in an epoch: nothing at first, then rising.

    Args:
        epoch: from 0.
        weight: when fully risen.
        warmup_epochs: epochs without it.

    Returns:
        0 in the first ``warmup_epochs``; then it rises in equal steps and reaches ``weight`` in
        the ``RAMP_EPOCHS``-th epoch after them. Without a warm-up it is full from the start.
    """
    if warmup_epochs == 0:
        return weight
    return weight * min(1.0, max(0, epoch + 1 - warmup_epochs) / RAMP_EPOCHS)
