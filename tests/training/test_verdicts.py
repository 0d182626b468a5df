"""A stage that has learnt nothing is said to have learnt nothing, label by label."""

import numpy as np
import pytest

from leafscout.training.verdicts import judge_expert, judge_scout

LABELS = ("rust", "scab")


def make_photos(skill: tuple[float, float]) -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.random((60, 2)) < 0.4
    rows = []
    for row in truth:
        logits = rng.normal(-3, 1, (9, 2))
        logits[4] += np.array(skill) * row
        rows.append(logits.astype(np.float32))
    return rows, truth


@pytest.mark.parametrize("pooling", ["max", "top_k_mean", "log_sum_exp", "gated_attention"])
def test_the_label_that_is_not_found_is_named(pooling: str) -> None:
    sentences = judge_expert(*make_photos((8.0, 0.0)), LABELS, pooling)
    assert len(sentences) == 1
    assert "does not find scab better than chance" in sentences[0]
    assert "60 validation photos" in sentences[0]
    assert not judge_expert(*make_photos((8.0, 8.0)), LABELS, pooling)


def test_labels_that_validation_lacks_are_not_judged() -> None:
    rows, truth = make_photos((0.0, 0.0))
    assert not judge_expert(rows, np.zeros_like(truth), LABELS, "max")
    assert not judge_expert(rows, np.ones_like(truth), LABELS, "max")


def test_a_scout_no_better_than_a_constant_is_told_so() -> None:
    constants = np.array([0.5, 0.4, 0.4])
    assert judge_scout(np.array([0.3, 0.2, 0.2]), constants, LABELS) == []
    (sentence,) = judge_scout(np.array([0.3, 0.4, 0.2]), constants, LABELS)
    assert "has not learnt to see where rust is (loss 0.400, a constant has 0.400)" in sentence
    assert "scab" not in sentence
    (sentence,) = judge_scout(np.array([np.nan, 0.2, 0.9]), constants, LABELS)
    assert "where something is wrong" in sentence
    assert "nor where scab is" in sentence
