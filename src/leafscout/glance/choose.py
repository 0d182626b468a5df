"""Which tiles to read: written once, in numpy, for every runtime.

The order is: keep every tile whose score reaches the threshold; keep the tiles on which mirrored
glances disagree most, in places of their own; keep the best few when the glance itself suspects a
disease; then at most ``max_tiles``. Nothing kept is an early exit: the photo is healthy and the
expert never runs. Scores are absolute, so "nothing here" can be said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.types import FloatArray

MOST_MIRRORED = 3
"""Mirrored left-right, upside down, and both: more of them would be turned, not mirrored."""

MOST_BORDER_EXPONENT = 64.0
"""Above it a place belongs to one tile or the other, and no more changes."""


@dataclass(frozen=True)
class ChoiceRule:
    """How tiles are chosen.

    Attributes:
        threshold_prob: a tile at or above this scout probability is kept, 0..1.
        max_tiles: at most so many tiles a photo, the best by score.
        suspicion_prob: glance probability of any label at or above which there is no early exit.
        suspicion_tiles: so many tiles are read at least when the glance suspects a disease.
        mirrored_glances: further glances, mirrored, that the scout takes of every photo, 0..3. A
            tile's score is the mean of them all, and its spread their standard deviation.
        uncertain_tiles: so many places under the cap are kept for uncertain tiles.
        uncertain_spread: a tile below the threshold whose logits spread at least so much over the
            glances is uncertain; the most spread come first.
        closer_glance_px: long side of a closer glance, of which the most promising regions are
            looked at before tiles are chosen; 0 for none.
        closer_regions: so many regions at most.
        border_exponent: how strictly a place that a tile's border cuts counts for the tile that
            holds most of it; 1 is in proportion to its area. At least 1.
    """

    threshold_prob: float
    max_tiles: int
    suspicion_prob: float = 0.5
    suspicion_tiles: int = 2
    mirrored_glances: int = 0
    uncertain_tiles: int = 0
    uncertain_spread: float = 0.0
    closer_glance_px: int = 0
    closer_regions: int = 8
    border_exponent: float = 1.0

    def __post_init__(self) -> None:
        for name in ("threshold_prob", "suspicion_prob"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise InputError(f"Expected {name} to be in [0, 1], but got {value}.")
        if self.max_tiles < 1:
            raise InputError(f"Expected max_tiles to be at least 1, but got {self.max_tiles}.")
        if not 0 <= self.mirrored_glances <= MOST_MIRRORED:
            raise InputError(
                f"Expected mirrored_glances from 0 to {MOST_MIRRORED}, but got "
                f"{self.mirrored_glances}."
            )
        if self.uncertain_tiles < 0 or not self.uncertain_spread >= 0.0:
            raise InputError(
                "Expected uncertain_tiles and uncertain_spread from 0, but got "
                f"{self.uncertain_tiles} and {self.uncertain_spread}."
            )
        if self.uncertain_tiles and not self.mirrored_glances:
            raise InputError(
                "Uncertain tiles are told by mirrored glances that disagree, but mirrored_glances "
                "is 0. Give 1 to 3 of them, or uncertain_tiles=0."
            )
        if self.closer_glance_px < 0 or self.closer_regions < 1:
            raise InputError(
                "Expected closer_glance_px from 0 and closer_regions from 1, but got "
                f"{self.closer_glance_px} and {self.closer_regions}."
            )
        if not 1.0 <= self.border_exponent <= MOST_BORDER_EXPONENT:
            raise InputError(
                f"Expected border_exponent from 1 to {MOST_BORDER_EXPONENT:g}, but got "
                f"{self.border_exponent}."
            )


def choose_tiles(
    scout_probs: FloatArray,
    glance_probs: FloatArray,
    rule: ChoiceRule,
    spread: FloatArray | None = None,
) -> NDArray[np.bool_]:
    """Choose the tiles that the expert reads.

    Args:
        scout_probs: (tiles,) score of each tile, 0..1.
        glance_probs: (labels,) photo-level evidence of the glance, 0..1.
        rule: how to choose.
        spread: (tiles,) standard deviation of each tile's logit over several glances; None where
            there was one, which leaves no tile uncertain.

    Returns:
        (tiles,) True for the tiles to read; all False is an early exit. Between equal scores the
        earlier tile is preferred.
    """
    best_first = np.argsort(-scout_probs, kind="stable")
    above = int((scout_probs >= rule.threshold_prob).sum())
    uncertain = _most_uncertain(best_first[above:], rule, spread)
    sure_places = rule.max_tiles - min(len(uncertain), rule.max_tiles)
    read = np.zeros(len(scout_probs), dtype=np.bool_)
    read[best_first[: min(above, sure_places)]] = True
    read[uncertain[: rule.max_tiles]] = True
    if glance_probs.size and glance_probs.max() >= rule.suspicion_prob:
        missing = min(rule.suspicion_tiles, rule.max_tiles) - int(read.sum())
        read[best_first[~read[best_first]][: max(0, missing)]] = True
    return read


def _most_uncertain(
    below: NDArray[np.intp], rule: ChoiceRule, spread: FloatArray | None
) -> NDArray[np.intp]:
    """Of the tiles below the threshold, the most spread first; between equals the better score."""
    if spread is None or not rule.uncertain_tiles:
        return below[:0]
    spread_first = below[np.argsort(-spread[below], kind="stable")]
    return spread_first[spread[spread_first] >= rule.uncertain_spread][: rule.uncertain_tiles]


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


def fit_uncertain_spread(healthy_spreads: list[FloatArray], false_frac: float) -> float:
    """The spread that few tiles of healthy photos reach.

    Args:
        healthy_spreads: per photo without disease, (tiles,) spreads.
        false_frac: share of these tiles that may count as uncertain, 0..1.

    Returns:
        The spread, in logits; infinite without healthy photos is not JSON, so a very large number.
    """
    if not healthy_spreads:
        return 1e6
    return float(np.quantile(np.concatenate(healthy_spreads), 1.0 - false_frac))
