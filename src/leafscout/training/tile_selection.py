"""Which tiles of a photo the expert learns from: memory stays bounded whatever the photo's size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leafscout.types import FloatArray


def rank_for_learning(
    tile_logits: FloatArray, best: int, random: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Choose the tiles to learn from: the strongest of every label in turn, and some at random.

    The strongest tiles of labels that the photo has are where its lesions are thought to be; of
    labels that it does not have, they are the hardest negatives.

    Args:
        tile_logits: (tiles, labels) evidence.
        best: how many by evidence.
        random: how many of the others by chance.
        rng: randomness.

    Returns:
        Sorted indices, without repeats; all tiles when there are too few to choose from.
    """
    tiles = len(tile_logits)
    if tiles <= best + random:
        return np.arange(tiles)
    rank = np.argsort(np.argsort(-tile_logits, axis=0, kind="stable"), axis=0)
    # Best rank over the labels first, the stronger evidence between equals.
    order = np.lexsort((-tile_logits.max(axis=1), rank.min(axis=1)))
    rest = rng.choice(order[best:], size=random, replace=False)
    return np.sort(np.concatenate([order[:best], rest]))


def leave_out_best(
    tile_logits: FloatArray, truth: NDArray[np.bool_], prob: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Now and then leave the strongest tile of a disease out of the bag.

    A network that has found one lesion of a photo is content with it: the others get no gradient.
    Without its favourite the bag must be recognised by another (instance dropout).

    Args:
        tile_logits: (tiles, labels) evidence.
        truth: (labels,) labels of the photo; the strongest tiles of other labels stay, since they
            are its hardest negatives.
        prob: chance of each label's strongest tile to be left out, 0..1.
        rng: randomness.

    Returns:
        (tiles,) True for the tiles that stay; at least one does.
    """
    stays = np.ones(len(tile_logits), dtype=np.bool_)
    drawn = rng.random(len(truth)) < prob
    for label in np.flatnonzero(truth & drawn):
        best = int(tile_logits[:, label].argmax())
        if stays.sum() - int(stays[best]) >= 1:
            stays[best] = False
    return stays
