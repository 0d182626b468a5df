"""Has a stage learnt anything? Its figures against those of saying the same of every photo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leafscout.diagnosis.pooling import ATTENTION_POOLINGS, pool_tiles
from leafscout.evaluation.scores import average_precision
from leafscout.types import FloatArray

SHUFFLES = 200
CHANCE_QUANTILE = 0.95
"""Better than chance means better than this share of random orders of the photos."""


def judge_expert(
    tile_logits: Sequence[FloatArray],
    truth: NDArray[np.bool_],
    labels: Sequence[str],
    pooling: str,
    seed: int = 0,
    *,
    network: str = "expert",
) -> list[str]:
    """Say which labels the expert does not find better than chance.

    Args:
        tile_logits: per validation photo, (tiles, labels) evidence.
        truth: (photos, labels).
        labels: their names.
        pooling: evidence of tiles → evidence of the photo; attention is judged by the loudest tile.
        seed: of the random orders.
        network: what to call it.

    Returns:
        A sentence for each label that is not found; none for labels that validation lacks.
    """
    name = "max" if pooling in ATTENTION_POOLINGS else pooling
    bags = np.stack(
        [
            pool_tiles(name, logits, np.zeros_like(logits), np.ones(len(logits), dtype=np.bool_))
            for logits in tile_logits
        ]
    )
    rng = np.random.default_rng(seed)
    closer = (
        "smaller tiles, or --set best_tile_dropout=0.2"
        if network == "expert"
        else "a larger --glance-px"
    )
    sentences = []
    for column, label in enumerate(labels):
        has_it, scores = truth[:, column], bags[:, column].astype(np.float64)
        if not has_it.any() or has_it.all():
            continue
        found = float(average_precision(has_it, scores)[0])
        chance = [
            float(average_precision(has_it[rng.permutation(len(has_it))], scores)[0])
            for _ in range(SHUFFLES)
        ]
        bound = float(np.quantile(chance, CHANCE_QUANTILE))
        if found <= bound:
            sentences.append(
                f"The {network} does not find {label} better than chance: average precision "
                f"{found:.2f} on {len(has_it)} validation photos, {int(has_it.sum())} of them with "
                f"it, where guessing reaches up to {bound:.2f}. Check the labels of {label}, give "
                f"more photos or more time, or try {closer}."
            )
    return sentences


def judge_scout(
    losses: NDArray[np.float64], constants: NDArray[np.float64], labels: Sequence[str]
) -> list[str]:
    """Say where the scout does not beat the same answer for every place.

    Args:
        losses: (1 + labels,) loss of tile evidence on the validation photos: score, then labels.
        constants: the same of the best constants.
        labels: their names.

    Returns:
        Sentences; empty where all is well.
    """
    names = ["where something is wrong", *(f"where {label} is" for label in labels)]
    poor = [
        f"{name} (loss {loss:.3f}, a constant has {constant:.3f})"
        for name, loss, constant in zip(names, losses, constants, strict=True)
        if not loss < constant
    ]
    if not poor:
        return []
    sentence = (
        f"The scout has not learnt to see {', nor '.join(poor)}: saying the same of every place "
        "does as well. Lesions may be too small in the glance: try a larger --glance-px, or give "
        "more photos or more time. Until then more tiles are read than should be needed."
    )
    return [sentence]
