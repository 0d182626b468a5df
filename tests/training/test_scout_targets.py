"""Targets of the score: monotone, absolute, and exactly nothing where labels rule it out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.training.scout_settings import SCOUT_TARGETS
from leafscout.training.scout_targets import (
    RANKED_FRAC,
    ScoreScale,
    evidence_targets,
    fit_score_scale,
)

TRUTH = np.array([[True, False], [False, False], [True, True]])


def make_evidence(seed: int = 0, tiles: int = 200) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(-3, 2, (tiles, 2)).astype(np.float32) for _ in TRUTH]


def fit(kind: str, evidence: list[np.ndarray]) -> ScoreScale:
    return fit_score_scale(kind, evidence, TRUTH, labels_complete=True)


@pytest.mark.parametrize("kind", SCOUT_TARGETS)
def test_louder_evidence_never_gets_a_lower_target(kind: str) -> None:
    evidence = make_evidence()
    scale = fit(kind, evidence)
    for logits, truth in zip(evidence, TRUTH, strict=True):
        targets = scale.apply(logits, truth, labels_complete=True)
        assert targets.shape == (200,)
        assert ((targets >= 0) & (targets <= 1)).all()
        if truth.any():
            order = np.argsort(np.where(truth, logits, -np.inf).max(axis=1))
            assert (np.diff(targets[order]) >= 0).all()
            assert targets.max() > 0.5
        else:
            assert (targets == 0).all(), "a healthy photo has nothing, however excited the expert"


def test_the_same_evidence_has_the_same_target_in_every_photo() -> None:
    """A scaling within each photo would give its loudest tile a 1 whatever it says."""
    evidence = make_evidence()
    quiet = np.full((200, 2), -8.0, np.float32)
    for kind in SCOUT_TARGETS:
        scale = fit(kind, [evidence[0], evidence[1], quiet])
        assert scale.apply(quiet, TRUTH[2], labels_complete=True).max() < 0.01


def test_activation_tells_what_the_probability_does_not() -> None:
    evidence = [logits - 3 for logits in make_evidence()]  # an expert that is sure of most tiles
    for logits in evidence:
        logits[:8, 0] = 3.0
    scale = fit("activation", evidence)
    mild = np.array([[-5.0, -9.0], [-3.5, -9.0]], np.float32)
    probs = evidence_targets(mild, TRUTH[0], labels_complete=True)[:, 0]
    activation = scale.apply(mild, TRUTH[0], labels_complete=True)
    assert activation[1] - activation[0] > 2 * (probs[1] - probs[0])


def test_ranks_do_not_change_when_the_expert_gets_surer() -> None:
    evidence = make_evidence()
    surer = [2.0 * logits + 1.0 for logits in evidence]
    targets, again = (
        [fit("rank", one).apply(logits, TRUTH[2], labels_complete=True) for logits in one]
        for one in (evidence, surer)
    )
    np.testing.assert_allclose(np.stack(targets), np.stack(again), atol=1e-5)
    every = fit("rank", evidence)
    share = np.mean(
        [
            every.apply(logits, truth, labels_complete=True) > 0
            for logits, truth in zip(evidence, TRUTH, strict=True)
        ]
    )
    assert share == pytest.approx(RANKED_FRAC, abs=0.01)


@pytest.mark.parametrize("kind", SCOUT_TARGETS)
def test_tiles_that_the_expert_did_not_read_stay_unknown(kind: str) -> None:
    evidence = make_evidence()
    hidden = [logits.copy() for logits in evidence]
    for logits in hidden:
        logits[::2] = np.nan
    targets = fit(kind, hidden).apply(hidden[0], TRUTH[0], labels_complete=True)
    assert np.isnan(targets[::2]).all()
    assert not np.isnan(targets[1::2]).any()


@pytest.mark.parametrize("kind", SCOUT_TARGETS)
@pytest.mark.parametrize("level", [-4.0, 2.0])
def test_evidence_without_differences_still_has_targets(kind: str, level: float) -> None:
    flat = [np.full((9, 2), level, np.float32) for _ in TRUTH]
    targets = fit(kind, flat).apply(flat[0], TRUTH[0], labels_complete=True)
    np.testing.assert_allclose(targets, 1 / (1 + np.exp(-level)), rtol=1e-5)
    empty = fit_score_scale(kind, flat, np.zeros_like(TRUTH), labels_complete=True)
    assert (empty.apply(flat[0], np.zeros(2, np.bool_), labels_complete=True) == 0).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_the_target_probability_is_the_loudest_allowed_probability(seed: int) -> None:
    logits = make_evidence(seed, 20)[0]
    truth = np.array([True, False])
    score = ScoreScale("probability").apply(logits, truth, labels_complete=True)
    wanted = evidence_targets(logits, truth, labels_complete=True).max(axis=1)
    np.testing.assert_allclose(score, wanted, rtol=1e-6)
