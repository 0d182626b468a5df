"""Percentile bootstrap over photos, alone and paired.

A resample is held as weights: how often each photo was drawn. Photos of one group (a plant, a
field) are drawn together when groups are given, since they are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.evaluation.json_values import JsonValue
from leafscout.evaluation.scores import BoolArray, Floats, plain_weights

LEVEL = 0.95
_WEIGHTS_AT_ONCE = 1_000_000

Metric = Callable[[BoolArray, NDArray[Any], Floats], Floats]
"""Takes truth (photos, labels), predictions (photos, labels) and weights (resamples, photos).

Gives (resamples,) figures. Predictions are probabilities for ranking metrics, decisions for the
others.
"""


@dataclass(frozen=True)
class Estimate(JsonValue):
    """A figure with its 95% bootstrap interval; NaN where undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(JsonValue):
    """How much better ``a`` is than ``b`` on the same photos.

    Attributes:
        value: the metric of a minus that of b, on all photos.
        low: lower end of the 95% interval.
        high: upper end of the 95% interval.
        share_above_zero: share of the resamples in which a was better, 0..1.
        value_a: the metric of a.
        value_b: the metric of b.
    """

    value: float
    low: float
    high: float
    share_above_zero: float
    value_a: float
    value_b: float


def draw_weights(
    photos: int, resamples: int, seed: int, groups: NDArray[Any] | None = None
) -> Iterator[Floats]:
    """Draw bootstrap resamples in chunks that keep memory bounded.

    Args:
        photos: how many photos there are.
        resamples: how many resamples to draw.
        seed: seed of the draws.
        groups: (photos,) group of each photo; None draws photos one by one.

    Yields:
        (resamples of this chunk, photos) how often each photo was drawn.
    """
    rng = np.random.default_rng(seed)
    members = np.arange(photos) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(members.max()) + 1
    left = resamples
    while left > 0:
        count = min(left, max(1, _WEIGHTS_AT_ONCE // photos))
        drawn = rng.integers(units, size=(count, units)) + units * np.arange(count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * units).reshape(count, units)
        yield weights[:, members].astype(np.float64)
        left -= count


def estimate(value: float, resampled: Floats) -> Estimate:
    """Put the percentile interval of the resampled figures around a figure.

    Args:
        value: the figure on all photos.
        resampled: (resamples,) the figure of each resample; undefined ones (NaN) are left out.
    """
    low, high = percentile_interval(resampled)
    return Estimate(float(value), low, high)


def percentile_interval(resampled: Floats, level: float = LEVEL) -> tuple[float, float]:
    """The central interval that holds ``level`` of the defined values; NaN where none is."""
    defined = resampled[~np.isnan(resampled)]
    if len(defined) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap(
    metric: Metric,
    truth: BoolArray,
    predictions: NDArray[Any],
    *,
    resamples: int = 1000,
    seed: int = 0,
    groups: NDArray[Any] | None = None,
) -> Estimate:
    """A metric with its 95% percentile interval over photos.

    Args:
        metric: see ``Metric``; ``leafscout.evaluation.comparison`` lists some.
        truth: (photos, labels) which labels each photo truly has.
        predictions: (photos, labels) probabilities or decisions, as the metric wants them.
        resamples: how many resamples to draw; 0 leaves the interval undefined.
        seed: seed of the draws.
        groups: (photos,) photos that are drawn together.
    """
    chunks = draw_weights(len(truth), resamples, seed, groups)
    values = [metric(truth, predictions, weights) for weights in chunks]
    plain = metric(truth, predictions, plain_weights(len(truth)))
    return estimate(float(plain[0]), np.concatenate([np.empty(0), *values]))


def paired_difference(
    metric: Metric,
    truth: BoolArray,
    a: NDArray[Any],
    b: NDArray[Any],
    *,
    resamples: int = 1000,
    seed: int = 0,
    groups: NDArray[Any] | None = None,
) -> Difference:
    """The difference between two models on the same photos, with a paired bootstrap interval.

    Args:
        metric: see ``Metric``; ``leafscout.evaluation.comparison`` lists some.
        truth: (photos, labels) which labels each photo truly has.
        a: (photos, labels) the first model's probabilities or decisions, as the metric wants them.
        b: (photos, labels) the second model's.
        resamples: how many resamples to draw, the same ones for both.
        seed: seed of the draws.
        groups: (photos,) photos that are drawn together.

    Raises:
        InputError: when a, b and truth do not have the same shape.
    """
    if not truth.shape == a.shape == b.shape:
        raise InputError(
            "Expected truth and both models' predictions of the same shape (photos, labels), "
            f"but got {truth.shape}, {a.shape} and {b.shape}."
        )
    differences = [
        metric(truth, a, weights) - metric(truth, b, weights)
        for weights in draw_weights(len(truth), resamples, seed, groups)
    ]
    drawn = np.concatenate([np.empty(0), *differences])
    defined = drawn[~np.isnan(drawn)]
    value_a, value_b = (
        float(metric(truth, predictions, plain_weights(len(truth)))[0]) for predictions in (a, b)
    )
    low, high = percentile_interval(drawn)
    share = float((defined > 0).mean()) if len(defined) else float("nan")
    return Difference(value_a - value_b, low, high, share, value_a, value_b)
