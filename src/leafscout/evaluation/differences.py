"""Which of several models is better on the same photos, and whether the difference is real."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.evaluation import scores as formulas
from leafscout.evaluation.bootstrap import Difference, draw_weights, percentile_interval
from leafscout.evaluation.json_values import JsonValue
from leafscout.evaluation.scores import BoolArray, Floats, plain_weights

SIGNIFICANCE = 0.05
"""A difference counts as real when its p value, corrected for several comparisons, is below."""

FEWEST_POSITIVES = 6
"""With fewer photos of a label, even an exact sign test could not reach ``SIGNIFICANCE``."""

BETTER, WORSE, OPEN, TOO_FEW, SAME = "better", "worse", "open", "too few photos", "same"
"""Verdicts on a model against the reference."""

FAMILIES = {"macro_ap": "average", "macro_f1": "average", "ap": "label", "f1": "label",
            "macs_share": "cost", "tiles_read": "cost"}  # fmt: skip
"""Figure → the comparisons that its p value is corrected together with."""

LOWER_IS_BETTER = frozenset({"macs_share", "tiles_read"})


@dataclass(frozen=True, eq=False)
class PhotoAnswers:
    """What one model said about all photos, and what that cost.

    Attributes:
        probs: (photos, labels) 0..1.
        decided: (photos, labels) bool, which labels were found.
        macs_share: (photos,) multiply-adds as a share of reading every tile.
        tiles_read: (photos,).
    """

    probs: Floats
    decided: BoolArray
    macs_share: Floats
    tiles_read: Floats


@dataclass(frozen=True)
class FigureDifference(JsonValue):
    """One figure of a model against the reference.

    Attributes:
        figure: a key of ``FAMILIES``.
        label: the label; empty for averages and costs.
        positives: photos with the label; all photos for averages and costs.
        difference: model - reference, with its 95% interval.
        p: two-sided bootstrap p value of no difference, 0..1; NaN where it cannot be tested.
        p_corrected: the same after Holm's correction within its family.
        verdict: ``better``, ``worse``, ``open``, ``same`` or ``too few photos``.
    """

    figure: str
    label: str
    positives: int
    difference: Difference
    p: float
    p_corrected: float
    verdict: str


def compare_answers(
    truth: BoolArray,
    labels: Sequence[str],
    reference: PhotoAnswers,
    others: Sequence[PhotoAnswers],
    *,
    groups: NDArray[np.int64] | None = None,
    seed: int = 0,
    resamples: int = 2000,
) -> list[tuple[FigureDifference, ...]]:
    """Compare models with a reference by a paired bootstrap over photos.

    A p value is twice the smaller share of resamples on either side of no difference; a resample
    in which the figure is undefined counts on both. Those of one family (averages, single labels,
    costs) are corrected together, over all models, by Holm's method (Holm 1979).

    Args:
        truth: (photos, labels) which labels each photo truly has.
        labels: their names.
        reference: what the others are compared with.
        others: the other models.
        groups: (photos,) photos that are drawn together.
        seed: of the bootstrap; the same resamples serve all models.
        resamples: at least so many; more are drawn where many comparisons are corrected together.

    Returns:
        For each other model, its figures: averages, labels, costs.

    Raises:
        InputError: when shapes do not fit or there is no photo.
    """
    _check(truth, labels, [reference, *others])
    names = _name_figures(labels)
    largest = sum(FAMILIES[figure] == "label" for figure, _ in names) * max(1, len(others))
    # The smallest p value that so many resamples can give must survive the correction.
    resamples = max(resamples, 100 * largest)
    models = (reference, *others)
    plain = [_measure(model, truth, plain_weights(len(truth)))[0] for model in models]
    drawn: list[list[Floats]] = [[] for _ in models]
    for weights in draw_weights(len(truth), resamples, seed, groups):
        for kept, model in zip(drawn, models, strict=True):
            kept.append(_measure(model, truth, weights))
    first, *rest = (np.concatenate(parts) for parts in drawn)
    positives = dict(zip(labels, truth.sum(axis=0).tolist(), strict=True))
    found = [
        tuple(
            _judge(name, positives.get(name[1], len(truth)), values[k] - plain[0][k],
                   more[:, k] - first[:, k], values[k], plain[0][k])
            for k, name in enumerate(names)
        )
        for values, more in zip(plain[1:], rest, strict=True)
    ]  # fmt: skip
    return _correct(found)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of p values (Holm 1979); NaN stays NaN and is not counted."""
    order = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    corrected = [math.nan] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        corrected[index] = largest
    return corrected


def _name_figures(labels: Sequence[str]) -> list[tuple[str, str]]:
    return [
        ("macro_ap", ""),
        ("macro_f1", ""),
        *(("ap", label) for label in labels),
        *(("f1", label) for label in labels),
        ("macs_share", ""),
        ("tiles_read", ""),
    ]


def _measure(model: PhotoAnswers, truth: BoolArray, weights: Floats) -> Floats:
    """(resamples, figures) in the order of ``_name_figures``."""
    ap = formulas.score_labels(formulas.average_precision, truth, model.probs, weights)
    f1 = formulas.f1(formulas.count_decisions(truth, model.decided, weights))
    totals = weights.sum(axis=1)
    columns = [
        formulas.mean_defined(ap, 1),
        formulas.mean_defined(f1, 1),
        *ap.T,
        *f1.T,
        weights @ model.macs_share / totals,
        weights @ model.tiles_read / totals,
    ]
    return np.stack(columns, axis=1)


def _judge(
    name: tuple[str, str],
    positives: int,
    value: float,
    drawn: Floats,
    value_model: float,
    value_reference: float,
) -> FigureDifference:
    figure, label = name
    # Rounding must not tell two equal models apart.
    drawn = np.where(np.abs(drawn) < 1e-12, 0.0, drawn)
    value = 0.0 if abs(value) < 1e-12 else float(value)
    low, high = percentile_interval(drawn)
    defined = drawn[~np.isnan(drawn)]
    share = float((defined > 0).mean()) if len(defined) else math.nan
    too_few = positives < FEWEST_POSITIVES
    same = not too_few and value == 0.0 and not defined.any()
    p = math.nan if too_few or same or math.isnan(value) else _p_value(drawn)
    return FigureDifference(
        figure=figure,
        label=label,
        positives=positives,
        difference=Difference(value, low, high, share, float(value_model), float(value_reference)),
        p=p,
        p_corrected=math.nan,
        verdict=TOO_FEW if too_few else SAME if same else OPEN,
    )


def _p_value(drawn: Floats) -> float:
    undefined = int(np.isnan(drawn).sum())
    not_above = int((drawn <= 0).sum()) + undefined
    not_below = int((drawn >= 0).sum()) + undefined
    return min(1.0, 2 * (min(not_above, not_below) + 1) / (len(drawn) + 1))


def _correct(found: list[tuple[FigureDifference, ...]]) -> list[tuple[FigureDifference, ...]]:
    places = [(model, k) for model, row in enumerate(found) for k in range(len(row))]
    corrected: dict[tuple[int, int], FigureDifference] = {}
    for family in dict.fromkeys(FAMILIES.values()):
        members = [(model, k) for model, k in places if FAMILIES[found[model][k].figure] == family]
        values = holm([found[model][k].p for model, k in members])
        for (model, k), p_corrected in zip(members, values, strict=True):
            one = found[model][k]
            corrected[model, k] = dataclasses.replace(
                one, p_corrected=p_corrected, verdict=_decide(one, p_corrected)
            )
    return [tuple(corrected[model, k] for k in range(len(row))) for model, row in enumerate(found)]


def _decide(one: FigureDifference, p_corrected: float) -> str:
    if math.isnan(p_corrected) or p_corrected >= SIGNIFICANCE:
        return one.verdict
    gain = one.difference.value * (-1 if one.figure in LOWER_IS_BETTER else 1)
    return BETTER if gain > 0 else WORSE if gain < 0 else OPEN


def _check(truth: BoolArray, labels: Sequence[str], models: Sequence[PhotoAnswers]) -> None:
    for model in models:
        formulas.check_truth_and_probs(truth, model.probs, len(labels))
        costs = (model.macs_share, model.tiles_read)
        if model.decided.shape != truth.shape or any(c.shape != truth.shape[:1] for c in costs):
            raise InputError(
                "Expected decisions of shape (photos, labels) and costs of shape (photos,) for "
                f"truth of shape {truth.shape}, but got {model.decided.shape}, "
                f"{costs[0].shape} and {costs[1].shape}."
            )
