"""Thresholds by a rule that can be named in a few letters: the best F1, or a wanted recall."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.evaluation.thresholds import (
    ThresholdFit,
    bagged_f1_thresholds,
    best_f1_thresholds,
    best_f_beta_thresholds,
    thresholds_for_cost,
    thresholds_for_precision,
    thresholds_for_recall,
)

OWN_RULE = "bagged_f1"
"""How a model's own thresholds are fitted."""

FORMS = "bagged_f1, f1, f_beta=2, recall=0.95, precision=0.9 or cost=5:1"
"""What may be asked for; of a cost, first that of a missed label, then that of a false alarm."""


@dataclass(frozen=True)
class ThresholdRule:
    """A way to choose thresholds.

    Attributes:
        name: as it is asked for and kept, such as ``recall=0.95``.
        fit: (photos, labels) truth and probabilities → thresholds.
    """

    name: str
    fit: Callable[[NDArray[Any], NDArray[Any]], ThresholdFit]


def read_threshold_rule(text: str) -> ThresholdRule:
    """The rule that a text names.

    Args:
        text: one of ``FORMS``.

    Raises:
        InputError: for anything else, and for values out of range.
    """
    kind, _, value = text.strip().lower().partition("=")
    if kind == "cost" and value:
        missed, false_alarm = _read_costs(value, text)
        return ThresholdRule(
            f"cost={missed:g}:{false_alarm:g}",
            lambda truth, probs: thresholds_for_cost(
                truth, probs, missed=missed, false_alarm=false_alarm
            ),
        )
    if kind in _PLAIN and not value and "=" not in text:
        return ThresholdRule(kind, _PLAIN[kind])
    if kind in _WITH_NUMBER and value:
        fit, low, high = _WITH_NUMBER[kind]
        number = _read_number(value, text)
        if not low < number <= high:
            ends = f"above {low:g}" if math.isinf(high) else f"above {low:g} and up to {high:g}"
            raise InputError(f"Expected a {kind} {ends}, but got {text!r}.")
        return ThresholdRule(f"{kind}={number:g}", lambda truth, probs: fit(truth, probs, number))
    raise InputError(f"There are no thresholds called {text!r}. Expected one of: {FORMS}.")


_PLAIN: dict[str, Callable[[NDArray[Any], NDArray[Any]], ThresholdFit]] = {
    OWN_RULE: bagged_f1_thresholds,
    "f1": best_f1_thresholds,
}

_WITH_NUMBER: dict[
    str, tuple[Callable[[NDArray[Any], NDArray[Any], float], ThresholdFit], float, float]
] = {
    "f_beta": (best_f_beta_thresholds, 0.0, math.inf),
    "recall": (thresholds_for_recall, 0.0, 1.0),
    "precision": (thresholds_for_precision, 0.0, 1.0),
}


def _read_costs(value: str, text: str) -> tuple[float, float]:
    missed, colon, false_alarm = value.partition(":")
    if not colon:
        raise InputError(
            f"Expected two costs as in cost=5:1, of a missed label and of a false alarm, but got "
            f"{text!r}."
        )
    costs = _read_number(missed, text), _read_number(false_alarm, text)
    if min(costs) < 0 or max(costs) <= 0:
        raise InputError(f"Expected two costs of at least 0, one above 0, but got {text!r}.")
    return costs


def _read_number(value: str, text: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"Expected a number behind the = of {text!r}, as in one of: {FORMS}.")
    return number
