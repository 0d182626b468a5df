"""Threshold rules by name: each is the function that it names, and nothing else is taken."""

import numpy as np
import pytest

from leafscout.errors import InputError
from leafscout.evaluation import thresholds as direct
from leafscout.evaluation.threshold_rules import read_threshold_rule

RNG = np.random.default_rng(0)
TRUTH = RNG.random((60, 3)) < [0.5, 0.2, 0.0]
PROBS = np.clip(0.35 * TRUTH + 0.6 * RNG.random((60, 3)), 0, 1)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("f1", "f1", direct.best_f1_thresholds(TRUTH, PROBS)),
        ("bagged_f1", "bagged_f1", direct.bagged_f1_thresholds(TRUTH, PROBS)),
        ("F_Beta=2.0", "f_beta=2", direct.best_f_beta_thresholds(TRUTH, PROBS, 2)),
        (" recall=0.950 ", "recall=0.95", direct.thresholds_for_recall(TRUTH, PROBS, 0.95)),
        ("precision=.9", "precision=0.9", direct.thresholds_for_precision(TRUTH, PROBS, 0.9)),
        (
            "cost=5:1",
            "cost=5:1",
            direct.thresholds_for_cost(TRUTH, PROBS, missed=5, false_alarm=1),
        ),
    ],
)
def test_a_rule_is_the_function_of_its_name(
    text: str, name: str, expected: direct.ThresholdFit
) -> None:
    rule = read_threshold_rule(text)
    assert rule.name == name
    fit = rule.fit(TRUTH, PROBS)
    assert fit.thresholds == pytest.approx(expected.thresholds)
    assert fit.fitted.tolist() == [True, True, False]
    assert fit.thresholds[2] == 0.5, "nothing to fit on"
    again = read_threshold_rule(rule.name)
    assert again.fit(TRUTH, PROBS).thresholds == pytest.approx(expected.thresholds)


def test_what_is_asked_for_is_reached_on_the_photos_fitted_on() -> None:
    found = read_threshold_rule("recall=0.9").fit(TRUTH, PROBS).thresholds <= PROBS
    for label in range(2):
        assert found[TRUTH[:, label], label].mean() >= 0.9
    costs = [
        (5 * (TRUTH & ~decided) + (~TRUTH & decided))[:, :2].sum()
        for decided in (
            read_threshold_rule(rule).fit(TRUTH, PROBS).thresholds <= PROBS
            for rule in ("cost=5:1", "f1", "cost=1:5")
        )
    ]
    assert costs[0] <= min(costs)


@pytest.mark.parametrize(
    "text",
    [
        "", "recall", "recall=", "recall=0", "recall=1.1", "recall=nan", "recall=high", "f1=0.5",
        "f_beta=0", "f_beta=inf", "cost=5", "cost=-1:2", "cost=0:0", "cost=a:b", "precision=-1",
        "best", "f1=",
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(InputError, match=r"Expected|expected"):
        read_threshold_rule(text)
