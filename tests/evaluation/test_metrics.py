"""Metrics against scikit-learn, printed tables and the rules of our own."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from leafscout.errors import InputError
from leafscout.evaluation import scores
from leafscout.evaluation.metrics import FIGURES, evaluate_labels

LABELS = ("blast", "rust", "scab")


def answers(seed: int, photos: int = 60, steps: int = 8):
    """Truth and coarse probabilities, so that many photos tie."""
    rng = np.random.default_rng(seed)
    truth = rng.random((photos, 3)) < 0.3
    truth[0] = True
    truth[1] = False
    probs = np.clip(np.round((0.3 * truth + rng.random((photos, 3)) * 0.7) * steps) / steps, 0, 1)
    return truth, probs


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), steps=st.sampled_from([2, 8, 10_000]))
def test_every_label_figure_equals_scikit_learn(seed, steps):
    truth, probs = answers(seed, steps=steps)
    thresholds = np.array([0.3, 0.5, 0.7])
    found = probs >= thresholds
    result = evaluate_labels(truth, probs, thresholds, LABELS, resamples=0)
    for j, row in enumerate(result.rows):
        y, z, s = truth[:, j], found[:, j], probs[:, j]
        expected = (
            oracle.precision_score(y, z, zero_division=0),
            oracle.recall_score(y, z),
            oracle.f1_score(y, z),
            oracle.average_precision_score(y, s),
            oracle.roc_auc_score(y, s),
            oracle.accuracy_score(y, z),
        )
        ours = [getattr(row, figure).value for figure in FIGURES]
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_averages_with_and_without_healthy_equal_scikit_learn(seed):
    truth, probs = answers(seed)
    thresholds = np.full(3, 0.5)
    found = probs >= thresholds
    result = evaluate_labels(truth, probs, thresholds, LABELS, resamples=0)
    y = np.column_stack([truth, ~truth.any(1)])
    z = np.column_stack([found, ~found.any(1)])
    s = np.column_stack([probs, np.prod(1 - probs, axis=1)])
    for average, columns, ours in (
        ("macro", 3, result.macro),
        ("micro", 3, result.micro),
        ("macro", 4, result.macro_with_healthy),
        ("micro", 4, result.micro_with_healthy),
    ):
        yc, zc, sc = y[:, :columns], z[:, :columns], s[:, :columns]
        expected = [
            *oracle.precision_recall_fscore_support(yc, zc, average=average, zero_division=0)[:3],
            oracle.average_precision_score(yc, sc, average=average),
            oracle.roc_auc_score(yc, sc, average=average),
            (yc == zc).mean(),
        ]
        values = [getattr(ours, figure).value for figure in FIGURES]
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)
    assert result.exact_match.value == pytest.approx(oracle.accuracy_score(truth, found), abs=1e-12)
    sick, called = truth.any(1), found.any(1)
    assert result.sensitivity.value == pytest.approx((called & sick).sum() / sick.sum())
    assert result.specificity.value == pytest.approx((~called & ~sick).sum() / (~sick).sum())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_weighted_ranking_figures_equal_those_of_repeated_photos(seed):
    truth, probs = answers(seed, photos=30)
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 4, size=(2, 30)).astype(float)
    weights[:, :2] = 1  # one positive and one negative at least
    for row in weights.astype(int):
        repeated = np.repeat(np.arange(30), row)
        y, s = truth[repeated, 0], probs[repeated, 0]
        w = row[None].astype(float)
        assert scores.average_precision(truth[:, 0], probs[:, 0], w)[0] == pytest.approx(
            oracle.average_precision_score(y, s), abs=1e-12
        )
        assert scores.roc_auc(truth[:, 0], probs[:, 0], w)[0] == pytest.approx(
            oracle.roc_auc_score(y, s), abs=1e-12
        )


def test_average_precision_and_auc_of_four_photos_by_hand():
    truth = np.array([True, False, True, False])
    probs = np.array([0.9, 0.8, 0.7, 0.1])
    assert scores.average_precision(truth, probs)[0] == pytest.approx((1 + 2 / 3) / 2)
    assert scores.roc_auc(truth, probs)[0] == pytest.approx(3 / 4)
    assert scores.roc_auc(truth, np.full(4, 0.5))[0] == 0.5


# Positives, precision, recall and F1 of each label as printed for the EfficientNet and the EVA-CLIP
# with a spatial transformer on 608 photos of Plant Pathology 2021, with their macro and micro rows.
PRINTED = {
    "efficientnet": (
        [
            (190, 0.9205, 0.8526, 0.8852),
            (145, 0.9586, 0.9586, 0.9586),
            (142, 0.8288, 0.8521, 0.8403),
            (69, 0.8904, 0.9420, 0.9155),
            (63, 0.5882, 0.6349, 0.6107),
            (34, 0.8857, 0.9118, 0.8986),
        ],
        (0.8454, 0.8587, 0.8515),
        (0.8678, 0.8678, 0.8678),
    ),
    "eva-clip": (
        [
            (190, 0.8783, 0.8737, 0.8760),
            (145, 0.9456, 0.9586, 0.9521),
            (142, 0.9375, 0.7394, 0.8268),
            (69, 0.9403, 0.9130, 0.9265),
            (63, 0.6857, 0.7619, 0.7218),
            (34, 0.9032, 0.8235, 0.8615),
        ],
        (0.8818, 0.8450, 0.8608),
        (0.8912, 0.8538, 0.8721),
    ),
}


@pytest.mark.parametrize("model", PRINTED)
def test_printed_tables_recompute_from_counts(model):
    rows, macro, micro = PRINTED[model]
    tp = np.array([round(n * recall) for n, _, recall, _ in rows], dtype=float)
    fp = np.array(
        [round(h / precision - h) for h, (_, precision, _, _) in zip(tp, rows, strict=True)]
    )
    fn = np.array([n for n, *_ in rows]) - tp
    counts = scores.Counts(tp[None], fp[None].astype(float), fn[None], (608 - tp - fp - fn)[None])
    figures = [scores.precision(counts), scores.recall(counts), scores.f1(counts)]
    np.testing.assert_allclose(
        np.stack(figures, axis=2)[0], [row[1:] for row in rows], atol=0.5001e-4
    )
    np.testing.assert_allclose([figure.mean() for figure in figures], macro, atol=0.5001e-4)
    summed = counts.summed()
    values = [scores.precision(summed), scores.recall(summed), scores.f1(summed)]
    np.testing.assert_allclose(np.ravel(values), micro, atol=0.5001e-4)


def test_label_without_positives_is_undefined_left_out_and_named():
    truth, probs = answers(3)
    truth[:, 1] = False
    result = evaluate_labels(truth, probs, np.full(3, 0.5), LABELS, resamples=50)
    assert result.without_positives == ("rust",)
    assert np.isnan(result.rows[1].f1.value)
    assert np.isnan(result.rows[1].ap.low)
    assert result.macro.labels == ("blast", "scab")
    both = [result.rows[0].ap.value, result.rows[2].ap.value]
    assert result.macro.ap.value == pytest.approx(np.mean(both))
    assert result.to_dict()["rows"][1]["f1"]["value"] is None


def test_all_healthy_photos_evaluate_without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = evaluate_labels(
            np.zeros((5, 2), bool), np.full((5, 2), 0.2), np.full(2, 0.5), ("a", "b"), resamples=20
        )
    assert np.isnan(result.macro.f1.value)
    assert result.specificity.value == 1
    assert result.healthy.positives == 5


def test_given_healthy_probability_ranks_the_healthy_row():
    truth = np.array([[True], [False], [False]])
    probs = np.array([[0.9], [0.1], [0.2]])
    wrong_way = np.array([0.9, 0.1, 0.2])
    default = evaluate_labels(truth, probs, np.array([0.5]), ["a"], resamples=0)
    given_prob = evaluate_labels(
        truth, probs, np.array([0.5]), ["a"], healthy_prob=wrong_way, resamples=0
    )
    assert default.healthy.auc.value == 1
    assert given_prob.healthy.auc.value == 0
    assert given_prob.healthy.f1.value == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"truth": np.zeros((4, 2), bool)}, "same shape"),
        ({"probs": np.full((4, 3), 1.5)}, "from 0 to 1, but photo 0, label 0 has 1.5"),
        ({"probs": np.full((4, 3), np.nan)}, "from 0 to 1"),
        ({"thresholds": np.zeros(2)}, "one threshold for each of 3 labels"),
        ({"labels": ("a", "b")}, "one column for each of the 2 labels"),
        ({"healthy_prob": np.zeros(3)}, "one healthy probability for each of 4 photos"),
        ({"truth": np.zeros((0, 3), bool), "probs": np.zeros((0, 3))}, "at least one photo"),
    ],
)
def test_wrong_arrays_are_named(change, words):
    arguments = {
        "truth": np.zeros((4, 3), bool),
        "probs": np.zeros((4, 3)),
        "thresholds": np.full(3, 0.5),
        "labels": LABELS,
        **change,
    }
    with pytest.raises(InputError, match=words):
        evaluate_labels(**arguments, resamples=0)
