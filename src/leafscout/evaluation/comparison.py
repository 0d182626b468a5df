"""Is one model better than another on the same photos?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from leafscout.evaluation import scores as formulas
from leafscout.evaluation.bootstrap import Difference, Metric, paired_difference
from leafscout.evaluation.metrics import decide_with_healthy
from leafscout.evaluation.scores import BoolArray, Floats


def macro_average_precision(truth: BoolArray, probs: Floats, weights: Floats) -> Floats:
    """(resamples,) mean average precision over the labels that have positives."""
    return formulas.mean_defined(
        formulas.score_labels(formulas.average_precision, truth, probs, weights), 1
    )


def macro_auc(truth: BoolArray, probs: Floats, weights: Floats) -> Floats:
    """(resamples,) mean area under the ROC curve over the labels where it is defined."""
    return formulas.mean_defined(formulas.score_labels(formulas.roc_auc, truth, probs, weights), 1)


def macro_f1(truth: BoolArray, decided: BoolArray, weights: Floats) -> Floats:
    """(resamples,) mean F1 over the labels that have positives."""
    return formulas.mean_defined(formulas.f1(formulas.count_decisions(truth, decided, weights)), 1)


def macro_recall(truth: BoolArray, decided: BoolArray, weights: Floats) -> Floats:
    """(resamples,) mean recall over the labels that have positives."""
    return formulas.mean_defined(
        formulas.recall(formulas.count_decisions(truth, decided, weights)), 1
    )


RANKING_METRICS: Mapping[str, Metric] = {
    "macro_ap": macro_average_precision,
    "macro_auc": macro_auc,
}
"""Metrics of probabilities."""

DECISION_METRICS: Mapping[str, Metric] = {"macro_f1": macro_f1, "macro_recall": macro_recall}
"""Metrics of decisions."""


def compare_models(
    truth: NDArray[Any],
    probs_a: NDArray[Any],
    thresholds_a: NDArray[Any],
    probs_b: NDArray[Any],
    thresholds_b: NDArray[Any],
    *,
    resamples: int = 1000,
    seed: int = 0,
    groups: NDArray[Any] | None = None,
) -> dict[str, Difference]:
    """Compare two models on the same photos, each with its own thresholds.

    Args:
        truth: (photos, labels) which labels each photo truly has.
        probs_a: (photos, labels) probabilities of the first model, 0..1.
        thresholds_a: (labels,) its thresholds.
        probs_b: (photos, labels) probabilities of the second model, 0..1.
        thresholds_b: (labels,) its thresholds.
        resamples: bootstrap resamples, the same ones for both models.
        seed: seed of the bootstrap.
        groups: (photos,) photos that are drawn together.

    Returns:
        The difference first - second for every metric of this module, by name.

    Raises:
        InputError: when shapes do not fit or a probability is not in 0..1.
    """
    truth, probs_a = formulas.check_truth_and_probs(truth, probs_a)
    truth, probs_b = formulas.check_truth_and_probs(truth, probs_b)
    decided_a = decide_with_healthy(probs_a, thresholds_a)[:, :-1]
    decided_b = decide_with_healthy(probs_b, thresholds_b)[:, :-1]
    pairs: list[tuple[str, Metric, NDArray[Any], NDArray[Any]]] = [
        (name, metric, probs_a, probs_b) for name, metric in RANKING_METRICS.items()
    ]
    pairs += [(name, metric, decided_a, decided_b) for name, metric in DECISION_METRICS.items()]
    return {
        name: paired_difference(metric, truth, a, b, resamples=resamples, seed=seed, groups=groups)
        for name, metric, a, b in pairs
    }
