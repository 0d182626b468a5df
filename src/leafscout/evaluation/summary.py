"""Everything measured about one model on one set of photos, and its JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.evaluation.bootstrap import Difference
from leafscout.evaluation.by_count import CountRow, measure_by_count
from leafscout.evaluation.calibration import Calibration, measure_calibration
from leafscout.evaluation.co_occurrence import CoOccurrence, count_together
from leafscout.evaluation.comparison import compare_models
from leafscout.evaluation.confusion import (
    BinaryConfusion,
    TakenFor,
    count_binary,
    count_taken_for,
)
from leafscout.evaluation.cost import CostSummary, summarise_cost
from leafscout.evaluation.curves import (
    ConfidenceCurve,
    PrecisionRecallCurve,
    confidence_curves,
    precision_recall_curve,
)
from leafscout.evaluation.json_values import JsonValue
from leafscout.evaluation.localisation import Localisation
from leafscout.evaluation.metrics import LabelEvaluation, evaluate_labels
from leafscout.types import Cost

_CURVE_POINTS = 300


@dataclass(frozen=True, eq=False)
class BaselineAnswers:
    """What a baseline said about the same photos.

    Attributes:
        probs: (photos, labels) probabilities, 0..1.
        thresholds: (labels,) its own thresholds, fitted on the same photos as the model's.
    """

    probs: NDArray[Any]
    thresholds: NDArray[Any]


@dataclass(frozen=True)
class Baseline(JsonValue):
    """A baseline's figures, and how much better the model is on the same photos."""

    labels: LabelEvaluation
    model_minus_baseline: dict[str, Difference]


@dataclass(frozen=True, eq=False)
class AlternativeAnswers:
    """What the model itself said about the same photos, decided or looked at in another way.

    Attributes:
        probs: (photos, labels) probabilities, 0..1.
        thresholds: (labels,) fitted on validation photos, looked at in the same way.
        fitted: (labels,) False where no validation photo has the label.
        rule: how the thresholds were chosen.
        looks: kind of looks.
        looks_each: looks at each photo.
    """

    probs: NDArray[Any]
    thresholds: NDArray[Any]
    fitted: NDArray[Any]
    rule: str
    looks: str
    looks_each: int


@dataclass(frozen=True)
class Alternative(JsonValue):
    """The figures of the model with other thresholds or more looks.

    Attributes:
        rule: how the thresholds were chosen.
        looks: kind of looks.
        looks_each: looks at each photo.
        labels: its figures.
        not_fitted: labels that no validation photo has; their threshold is 0.5.
        alternative_minus_model: what it gains on the same photos.
    """

    rule: str
    looks: str
    looks_each: int
    labels: LabelEvaluation
    not_fitted: tuple[str, ...]
    alternative_minus_model: dict[str, Difference]


@dataclass(frozen=True)
class EvaluationSummary(JsonValue):
    """Everything measured about one model on one set of photos.

    Attributes:
        labels: figures of each label, healthy and the averages.
        precision_recall: one curve for each label that has positives.
        confidence: precision, recall and F1 against the threshold, likewise.
        binary: the 2×2 table of each label.
        taken_for: which label is taken for which.
        calibration: of each label that has positives.
        localisation: None where no lesion truth was given.
        cost: None where no costs were given.
        baselines: name → figures and paired differences.
        notes: sentences that a reader must know, such as what the photos were used for before.
        together: which labels the photos have at once.
        alternatives: name → the model with other thresholds or more looks.
        by_count: figures of photos with no label, one, two and so on.
    """

    labels: LabelEvaluation
    precision_recall: tuple[PrecisionRecallCurve, ...]
    confidence: tuple[ConfidenceCurve, ...]
    binary: tuple[BinaryConfusion, ...]
    taken_for: TakenFor
    calibration: tuple[Calibration, ...]
    localisation: Localisation | None = None
    cost: CostSummary | None = None
    baselines: dict[str, Baseline] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    together: CoOccurrence | None = None
    alternatives: dict[str, Alternative] = field(default_factory=dict)
    by_count: tuple[CountRow, ...] = ()

    def write_json(self, path: Path) -> None:
        """Write everything to one JSON file; undefined numbers are null."""
        text = json.dumps(self.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")


def summarise(
    truth: NDArray[Any],
    probs: NDArray[Any],
    thresholds: NDArray[Any],
    labels: Sequence[str],
    *,
    healthy_prob: NDArray[Any] | None = None,
    localisation: Localisation | None = None,
    costs: Sequence[Cost] | None = None,
    baselines: Mapping[str, BaselineAnswers] | None = None,
    alternatives: Mapping[str, AlternativeAnswers] | None = None,
    notes: Sequence[str] = (),
    resamples: int = 1000,
    seed: int = 0,
    groups: NDArray[Any] | None = None,
) -> EvaluationSummary:
    """Measure everything that can be measured from answers.

    Args:
        truth: (photos, labels) which labels each photo truly has; none of them means healthy.
        probs: (photos, labels) probabilities, 0..1.
        thresholds: (labels,) a label is found at or above its threshold.
        labels: their names.
        healthy_prob: (photos,) probability that a photo is healthy; see ``evaluate_labels``.
        localisation: figures of localisation, where lesion truth was given.
        costs: what each diagnosis cost.
        baselines: name → what it said about the same photos.
        alternatives: name → what the model said with other thresholds or more looks.
        notes: sentences for the reader.
        resamples: bootstrap resamples.
        seed: seed of bootstrap and simulations.
        groups: (photos,) photos that are drawn together in the bootstrap.

    Raises:
        InputError: when shapes do not fit or a probability is not in 0..1.
    """
    draw = _Draw(resamples, seed, groups)
    evaluation = _evaluate(truth, probs, thresholds, labels, healthy_prob, draw)
    truth = truth.astype(np.bool_)
    decided = np.asarray(probs >= thresholds)
    seen = np.flatnonzero(truth.any(axis=0)).tolist()
    return EvaluationSummary(
        labels=evaluation,
        precision_recall=tuple(
            precision_recall_curve(labels[j], truth[:, j], probs[:, j]).thinned(_CURVE_POINTS)
            for j in seen
        ),
        confidence=confidence_curves(truth, probs, tuple(labels)),
        binary=count_binary(truth, decided, labels),
        taken_for=count_taken_for(truth, decided, labels),
        calibration=tuple(
            measure_calibration(labels[j], truth[:, j], probs[:, j], seed=seed) for j in seen
        ),
        localisation=localisation,
        cost=None if costs is None else summarise_cost(costs, np.logical_not(truth.any(axis=1))),
        baselines={
            name: Baseline(
                _evaluate(truth, other.probs, other.thresholds, labels, None, draw),
                compare_models(
                    truth,
                    probs,
                    thresholds,
                    other.probs,
                    other.thresholds,
                    resamples=resamples,
                    seed=seed,
                    groups=groups,
                ),
            )
            for name, other in (baselines or {}).items()
        },
        notes=tuple(notes),
        together=count_together(truth, labels),
        alternatives={
            name: Alternative(
                other.rule,
                other.looks,
                other.looks_each,
                _evaluate(truth, other.probs, other.thresholds, labels, None, draw),
                tuple(label for label, fit in zip(labels, other.fitted, strict=True) if not fit),
                compare_models(
                    truth,
                    other.probs,
                    other.thresholds,
                    probs,
                    thresholds,
                    resamples=resamples,
                    seed=seed,
                    groups=groups,
                ),
            )
            for name, other in (alternatives or {}).items()
        },
        by_count=measure_by_count(truth, decided, draw.resamples, seed, groups),
    )


@dataclass(frozen=True, eq=False)
class _Draw:
    resamples: int
    seed: int
    groups: NDArray[Any] | None


def _evaluate(
    truth: NDArray[Any],
    probs: NDArray[Any],
    thresholds: NDArray[Any],
    labels: Sequence[str],
    healthy_prob: NDArray[Any] | None,
    draw: _Draw,
) -> LabelEvaluation:
    return evaluate_labels(
        truth,
        probs,
        thresholds,
        labels,
        healthy_prob=healthy_prob,
        resamples=draw.resamples,
        seed=draw.seed,
        groups=draw.groups,
    )
