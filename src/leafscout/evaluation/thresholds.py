"""The probability at which a label counts as found, chosen on validation photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.evaluation.json_values import JsonValue
from leafscout.evaluation.scores import BoolArray, Floats, check_truth_and_probs

UNFITTED = 0.5
"""The threshold of a label that no validation photo has."""


@dataclass(frozen=True, eq=False)
class ThresholdFit(JsonValue):
    """Thresholds and whether they were fitted.

    Attributes:
        thresholds: (labels,) a label is found at or above its threshold, 0..1.
        fitted: (labels,) False where no photo has the label and the threshold is 0.5 for want of
            anything better.
    """

    thresholds: Floats
    fitted: BoolArray


@dataclass(frozen=True, eq=False)
class _Cuts:
    """What each possible threshold of one label finds, from the highest to the lowest."""

    thresholds: Floats
    gaps: Floats
    hits: Floats
    found: Floats
    positives: int


def best_f1_thresholds(truth: NDArray[Any], probs: NDArray[Any]) -> ThresholdFit:
    """The threshold of the best F1 for each label; see ``best_f_beta_thresholds``."""
    return best_f_beta_thresholds(truth, probs, 1.0)


def bagged_f1_thresholds(
    truth: NDArray[Any], probs: NDArray[Any], *, resamples: int = 100, seed: int = 0
) -> ThresholdFit:
    """The mean of the thresholds of the best F1 over resampled photos (bagging, Breiman 1996).

    On the few photos of a validation split, the best F1 lies at a threshold that one photo more
    or less would move far; the mean over resamples lies nearer to the best one for new photos.

    Args:
        truth: (photos, labels) which labels each photo truly has.
        probs: (photos, labels) probabilities, 0..1.
        resamples: how many times as many photos are drawn with replacement; those without a
            photo of the label say nothing about it.
        seed: of the drawing.

    Raises:
        InputError: when shapes do not fit, a probability is not in 0..1 or nothing is resampled.
    """
    if resamples < 1:
        raise InputError(f"Expected at least 1 resample, but got {resamples}.")
    whole = best_f1_thresholds(truth, probs)
    truth, probs = check_truth_and_probs(truth, probs)
    rng = np.random.default_rng(seed)
    total = np.zeros(truth.shape[1])
    counted = np.zeros(truth.shape[1])
    for _ in range(resamples):
        drawn = rng.integers(0, len(truth), len(truth))
        fit = best_f1_thresholds(truth[drawn], probs[drawn])
        total += np.where(fit.fitted, fit.thresholds, 0.0)
        counted += fit.fitted
    mean = total / np.maximum(counted, 1.0)
    mean = mean.astype(np.float32).astype(np.float64)
    return ThresholdFit(np.where(counted > 0, mean, whole.thresholds), whole.fitted)


def best_f_beta_thresholds(truth: NDArray[Any], probs: NDArray[Any], beta: float) -> ThresholdFit:
    """The threshold of the best F-beta for each label.

    Thresholds lie midway between neighbouring observed probabilities. Of equally good ones, the
    one in the widest gap is taken: it is the least likely to split new photos differently.

    Args:
        truth: (photos, labels) which labels each photo truly has.
        probs: (photos, labels) probabilities, 0..1.
        beta: how many times as much recall weighs as precision; 1 is F1.

    Raises:
        InputError: when shapes do not fit, a probability is not in 0..1 or beta is not positive.
    """
    if not beta > 0:
        raise InputError(f"Expected a beta above 0, but got {beta}. Use 1 for F1.")
    truth, probs = check_truth_and_probs(truth, probs)
    square = beta * beta

    def choose(cuts: _Cuts) -> float:
        f_beta = (1 + square) * cuts.hits / (cuts.found + square * cuts.positives)
        best = np.flatnonzero(f_beta >= f_beta.max() - 1e-12)
        return float(cuts.thresholds[best[np.argmax(cuts.gaps[best])]])

    return _fit(truth, probs, choose)


def thresholds_for_recall(truth: NDArray[Any], probs: NDArray[Any], target: float) -> ThresholdFit:
    """The highest threshold for each label that finds at least a share of the photos with it.

    The recall is reached on these photos; on others it varies around the target.

    Args:
        truth: (photos, labels) which labels each photo truly has.
        probs: (photos, labels) probabilities, 0..1.
        target: wanted recall, above 0 and up to 1.

    Raises:
        InputError: when shapes do not fit, a probability or the target is out of range.
    """
    _check_target("recall", target)
    truth, probs = check_truth_and_probs(truth, probs)

    def choose(cuts: _Cuts) -> float:
        enough = cuts.hits >= target * cuts.positives - 1e-9
        return float(cuts.thresholds[np.argmax(enough)])

    return _fit(truth, probs, choose)


def thresholds_for_precision(
    truth: NDArray[Any], probs: NDArray[Any], target: float
) -> ThresholdFit:
    """The lowest threshold for each label whose finds are right at least so often.

    Of all thresholds that reach the target, the lowest finds most. Where none reaches it, the one
    of the best precision is taken. The precision is that on these photos.

    Args:
        truth: (photos, labels) which labels each photo truly has.
        probs: (photos, labels) probabilities, 0..1.
        target: wanted precision, above 0 and up to 1.

    Raises:
        InputError: when shapes do not fit, a probability or the target is out of range.
    """
    _check_target("precision", target)
    truth, probs = check_truth_and_probs(truth, probs)

    def choose(cuts: _Cuts) -> float:
        precision = cuts.hits / cuts.found
        enough = np.flatnonzero(precision >= min(target, float(precision.max())) - 1e-9)
        return float(cuts.thresholds[enough[-1]])

    return _fit(truth, probs, choose)


def thresholds_for_cost(
    truth: NDArray[Any], probs: NDArray[Any], *, missed: float, false_alarm: float
) -> ThresholdFit:
    """The threshold for each label at which mistakes cost least.

    Of equally cheap ones, the one in the widest gap is taken. A label that is never worth finding
    gets a threshold above every probability seen.

    Args:
        truth: (photos, labels) which labels each photo truly has.
        probs: (photos, labels) probabilities, 0..1.
        missed: cost of a label that is there and not found, 0 or more.
        false_alarm: cost of a label that is found and not there, 0 or more, in the same money.

    Raises:
        InputError: when shapes do not fit, a probability is not in 0..1 or a cost is negative.
    """
    if not (missed >= 0 and false_alarm >= 0 and missed + false_alarm > 0):
        raise InputError(
            "Expected two costs of at least 0, one of them above 0, but got "
            f"{missed} and {false_alarm}."
        )
    truth, probs = check_truth_and_probs(truth, probs)

    def choose(cuts: _Cuts) -> float:
        costs = missed * (cuts.positives - cuts.hits) + false_alarm * (cuts.found - cuts.hits)
        if costs.min() > missed * cuts.positives:
            highest = float(cuts.thresholds[0] + cuts.gaps[0] / 2)  # the largest probability
            return min(1.0, (highest + 1.0) / 2 if highest < 1.0 else 1.0)
        best = np.flatnonzero(costs <= costs.min() + 1e-9)
        return float(cuts.thresholds[best[np.argmax(cuts.gaps[best])]])

    return _fit(truth, probs, choose)


def _fit(truth: BoolArray, probs: Floats, choose: Callable[[_Cuts], float]) -> ThresholdFit:
    fitted = np.asarray(truth.any(axis=0))
    thresholds = np.full(truth.shape[1], UNFITTED)
    for label in np.flatnonzero(fitted):
        thresholds[label] = choose(_cut(truth[:, label], probs[:, label]))
    return ThresholdFit(thresholds, fitted)


def _cut(truth: BoolArray, probs: Floats) -> _Cuts:
    """Every threshold that finds a different set of photos, at least one of them."""
    observed, group = np.unique(probs, return_inverse=True)
    below = np.concatenate([[0.0], observed[:-1]])
    # Diagnoses keep thresholds in 32 bits: rounded there, so that neither side crosses over.
    middle = ((observed + below) / 2).astype(np.float32).astype(np.float64)
    middle = np.where((middle > below) & (middle <= observed), middle, observed)
    everyone = np.bincount(group, minlength=len(observed))[::-1]
    positive = np.bincount(group, weights=truth, minlength=len(observed))[::-1]
    return _Cuts(
        thresholds=middle[::-1],
        gaps=(observed - below)[::-1],
        hits=np.cumsum(positive),
        found=np.cumsum(everyone).astype(np.float64),
        positives=int(truth.sum()),
    )


def _check_target(name: str, target: float) -> None:
    if not 0 < target <= 1:
        raise InputError(
            f"Expected a wanted {name} above 0 and up to 1, but got {target}. Use 0.95 for 95%."
        )


def describe_unfitted(labels: Sequence[str], fitted: Sequence[bool] | BoolArray) -> tuple[str, ...]:
    """A sentence that names the labels without a positive validation photo, if there are any.

    Args:
        labels: names.
        fitted: (labels,) whether a threshold could be fitted.
    """
    names = [label for label, known in zip(labels, fitted, strict=True) if not known]
    if not names:
        return ()
    sentence = (
        f"No validation photo has {', '.join(names)}: no threshold can be fitted there, and 0.5 "
        "is used."
    )
    return (sentence,)
