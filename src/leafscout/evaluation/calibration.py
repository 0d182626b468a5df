"""Do probabilities mean what they say?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.evaluation.json_values import JsonValue
from leafscout.evaluation.scores import BoolArray, Floats, check_truth_and_probs


@dataclass(frozen=True)
class ReliabilityBin(JsonValue):
    """Photos of similar probability.

    Attributes:
        photos: how many.
        mean_prob: their mean probability, 0..1.
        share: share of them that have the label, 0..1.
    """

    photos: int
    mean_prob: float
    share: float


@dataclass(frozen=True)
class Calibration(JsonValue):
    """How far the probabilities of one label are from the shares they announce.

    Attributes:
        label: its name.
        ece: expected calibration error over bins of equal numbers of photos, 0..1.
        ece_if_perfect: the mean ECE that perfectly calibrated probabilities would score by chance
            on as many photos: an ECE is only bad news when it is clearly above.
        ece_if_perfect_high: what perfect ones would exceed in 5% of the cases.
        brier: mean squared difference between probability and truth.
        bins: from low to high probability.
    """

    label: str
    ece: float
    ece_if_perfect: float
    ece_if_perfect_high: float
    brier: float
    bins: tuple[ReliabilityBin, ...]


def measure_calibration(
    label: str,
    truth: NDArray[Any],
    probs: NDArray[Any],
    *,
    bins: int = 10,
    draws: int = 500,
    seed: int = 0,
) -> Calibration:
    """Measure the calibration of one label.

    Bins hold equal numbers of photos as nearly as possible; photos of equal probability are never
    torn apart, so there can be fewer bins than asked for.

    Args:
        label: its name.
        truth: (photos,) which photos have it.
        probs: (photos,) probabilities, 0..1.
        bins: wanted number of bins.
        draws: how many perfectly calibrated outcomes to simulate.
        seed: seed of the simulation.

    Raises:
        InputError: when shapes do not fit, a probability is not in 0..1 or a number is below 1.
    """
    if bins < 1 or draws < 1:
        raise InputError(f"Expected at least one bin and one draw, but got {bins} and {draws}.")
    column, checked = check_truth_and_probs(truth.reshape(-1, 1), probs.reshape(-1, 1))
    order = np.argsort(checked[:, 0], kind="stable")
    ranked, positive = checked[order, 0], column[order, 0]
    starts = _bin_starts(ranked, bins)
    sizes = np.diff(np.append(starts, len(ranked)))
    mean_probs = np.add.reduceat(ranked, starts) / sizes
    shares = np.add.reduceat(positive.astype(np.float64), starts) / sizes
    simulated = _simulate_perfect(ranked, starts, mean_probs, draws, seed)
    return Calibration(
        label=label,
        ece=float(np.abs(mean_probs - shares) @ sizes / len(ranked)),
        ece_if_perfect=float(simulated.mean()),
        ece_if_perfect_high=float(np.quantile(simulated, 0.95)),
        brier=float(np.mean((ranked - positive) ** 2)),
        bins=tuple(
            ReliabilityBin(int(size), float(mean_prob), float(share))
            for size, mean_prob, share in zip(sizes, mean_probs, shares, strict=True)
        ),
    )


def _bin_starts(ranked: Floats, bins: int) -> NDArray[np.intp]:
    """First photo of each bin; a start inside a run of equal probabilities moves to its end."""
    wanted = np.round(np.arange(1, bins) * len(ranked) / bins).astype(np.intp)
    wanted = wanted[(wanted > 0) & (wanted < len(ranked))]
    moved = np.searchsorted(ranked, ranked[wanted - 1], side="right")
    starts = np.unique(np.append(0, moved))
    return starts[starts < len(ranked)]


def _simulate_perfect(
    ranked: Floats, starts: NDArray[np.intp], mean_probs: Floats, draws: int, seed: int
) -> Floats:
    """(draws,) the ECE of outcomes that are drawn from the probabilities themselves."""
    rng = np.random.default_rng(seed)
    sizes = np.diff(np.append(starts, len(ranked)))
    eces = np.empty(draws)
    for draw in range(draws):
        outcome: BoolArray = rng.random(len(ranked)) < ranked
        shares = np.add.reduceat(outcome.astype(np.float64), starts) / sizes
        eces[draw] = np.abs(mean_probs - shares) @ sizes / len(ranked)
    return eces
