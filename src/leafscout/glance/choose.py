"""Which tiles to read: written once, in numpy, for every runtime.

The order is: keep every tile whose score reaches the threshold; keep the best few when the glance
itself suspects a disease; then at most ``max_tiles`` by score. Nothing kept is an early exit: the
photo is healthy and the expert never runs. Scores are absolute, so "nothing here" can be said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.types import FloatArray


@dataclass(frozen=True)
class ChoiceRule:
    """How tiles are chosen.

    Attributes:
        threshold_prob: a tile at or above this scout probability is kept, 0..1.
        max_tiles: at most so many tiles a photo, the best by score.
        suspicion_prob: glance probability of any label at or above which there is no early exit.
        suspicion_tiles: so many tiles are read at least when the glance suspects a disease.
    """

    threshold_prob: float
    max_tiles: int
    suspicion_prob: float = 0.5
    suspicion_tiles: int = 2

    def __post_init__(self) -> None:
        for name in ("threshold_prob", "suspicion_prob"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise InputError(f"Expected {name} to be in [0, 1], but got {value}.")
        if self.max_tiles < 1:
            raise InputError(f"Expected max_tiles to be at least 1, but got {self.max_tiles}.")


def choose_tiles(
    scout_probs: FloatArray, glance_probs: FloatArray, rule: ChoiceRule
) -> NDArray[np.bool_]:
    """Choose the tiles that the expert reads.

    Args:
        scout_probs: (tiles,) score of each tile, 0..1.
        glance_probs: (labels,) photo-level evidence of the glance, 0..1.
        rule: how to choose.

    Returns:
        (tiles,) True for the tiles to read; all False is an early exit. Between equal scores the
        earlier tile is preferred.
    """
    best_first = np.argsort(-scout_probs, kind="stable")
    wanted = int((scout_probs >= rule.threshold_prob).sum())
    if glance_probs.size and glance_probs.max() >= rule.suspicion_prob:
        wanted = max(wanted, rule.suspicion_tiles)
    read = np.zeros(len(scout_probs), dtype=np.bool_)
    read[best_first[: min(wanted, rule.max_tiles)]] = True
    return read


def fit_threshold(
    scout_probs: list[FloatArray], decisive_tiles: list[list[int]], keep_recall: float
) -> float:
    """The highest threshold at which enough photos keep the tiles that decide them.

    Args:
        scout_probs: per photo, (tiles,) scores.
        decisive_tiles: per photo, the tile that speaks loudest for each label it truly has and
            the expert finds; empty for photos that no tile can decide.
        keep_recall: share of the photos with decisive tiles that must keep all of them, 0..1.

    Returns:
        The threshold, 0..1; 0.5 when no photo has a decisive tile.
    """
    weakest = np.sort(
        [
            probs[tiles].min()
            for probs, tiles in zip(scout_probs, decisive_tiles, strict=True)
            if tiles
        ]
    )
    if not len(weakest):
        return 0.5
    # A share such as 1 − 0.9 is a little too small in binary: 2 of 20 must not become 1.
    may_lose = int(np.floor((1.0 - keep_recall) * len(weakest) + 1e-9))
    return float(weakest[min(may_lose, len(weakest) - 1)])
