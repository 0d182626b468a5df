"""The score-weighted path: how a photo's label reaches the scout although tiles are cut out hard.

Choosing the best tiles is a step that has no gradient: the expert's answer depends on which tiles
were chosen, not on how high they scored. Letting each chosen tile's score weigh its evidence makes
the photo's answer depend on the scores, so that a tile which misled is punished and one which
helped is raised.
"""

from __future__ import annotations

import torch
from torch import Tensor


def weigh_by_softmax(tile_logits: Tensor, scores: Tensor) -> Tensor:
    """Mean of the tiles' evidence, weighed by the softmax of their scores.

    Args:
        tile_logits: (tiles, labels) the expert's evidence of the chosen tiles.
        scores: (tiles,) the scout's logits of the same tiles.

    Returns:
        (labels,) logits of the photo. Only differences of scores matter here: what keeps them
        absolute is the evidence loss beside it.
    """
    pooled: Tensor = torch.softmax(scores, dim=0) @ tile_logits
    return pooled


def weigh_by_sigmoid(tile_logits: Tensor, scores: Tensor, empty_logit: float = -4.0) -> Tensor:
    """Noisy-or of the tiles' evidence, each counted as far as the scout would have looked.

    A tile of score ``s`` enters with the probability ``σ(s)·σ(z)``: looked at, and found to show
    the label. Scores stay absolute: with all of them low the photo is healthy.

    Args:
        tile_logits: (tiles, labels) the expert's evidence of the chosen tiles.
        scores: (tiles,) the scout's logits of the same tiles.
        empty_logit: the photo's logit when nothing is looked at; finite, so that a missed lesion
            has a finite loss.

    Returns:
        (labels,) logits of the photo.
    """
    seen = torch.sigmoid(scores)[:, None] * torch.sigmoid(tile_logits)
    nothing = torch.log1p(-seen.clamp(max=1.0 - 1e-6)).sum(dim=0)
    nothing = nothing - torch.nn.functional.softplus(seen.new_tensor(empty_logit))
    # From log P(no tile shows it) to the log odds that some tile does.
    odds: Tensor = torch.log(-torch.expm1(nothing.clamp(max=-1e-6))) - nothing
    return odds


PATHS = {"softmax": weigh_by_softmax, "sigmoid": weigh_by_sigmoid}
"""Name → (tiles, labels) evidence and (tiles,) scores to (labels,) logits of the photo."""
