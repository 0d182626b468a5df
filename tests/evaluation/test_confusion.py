"""Confusion of one label and between labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, multilabel_confusion_matrix

from leafscout.errors import InputError
from leafscout.evaluation.confusion import ADDED, MISSED, count_binary, count_taken_for

LABELS = ("blast", "rust", "scab")


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_binary_tables_equal_scikit_learn_and_rows_add_up_to_the_photos(seed):
    rng = np.random.default_rng(seed)
    truth, found = rng.random((2, 30, 3)) < 0.4
    expected = multilabel_confusion_matrix(truth, found, labels=[0, 1, 2])
    for entry, ((tn, fp), (fn, tp)) in zip(
        count_binary(truth, found, LABELS), expected, strict=True
    ):
        ours = (
            entry.true_negatives,
            entry.false_positives,
            entry.false_negatives,
            entry.true_positives,
        )
        assert ours == (tn, fp, fn, tp)
    photos = count_taken_for(truth, found, LABELS).photos
    with_healthy = np.column_stack([truth, ~truth.any(1)])
    np.testing.assert_allclose(photos[:-1].sum(axis=1), with_healthy.sum(axis=0))


def test_exclusive_labels_give_the_usual_confusion_matrix():
    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 4, size=(2, 60))
    one_hot = np.eye(4, dtype=bool)[:, :3]  # the fourth row has no label: healthy
    table = count_taken_for(one_hot[truth], one_hot[found], LABELS)
    np.testing.assert_allclose(table.photos[:4, :4], confusion_matrix(truth, found))
    assert not table.photos[4].any()
    assert not table.photos[:, 4].any()


@pytest.mark.parametrize(
    ("truth", "found", "cells"),
    [
        ({"blast", "rust"}, {"blast"}, {("blast", "blast"): 1, ("rust", MISSED): 1}),
        ({"blast"}, {"blast", "rust"}, {("blast", "blast"): 1, (ADDED, "rust"): 1}),
        ({"blast"}, {"rust", "scab"}, {("blast", "rust"): 0.5, ("blast", "scab"): 0.5}),
        ({"blast"}, set(), {("blast", "healthy"): 1}),
        (set(), {"scab"}, {("healthy", "scab"): 1}),
        (set(), set(), {("healthy", "healthy"): 1}),
    ],
)
def test_one_photo_of_each_kind(truth, found, cells):
    rows = [np.array([[label in names for label in LABELS]]) for names in (truth, found)]
    table = count_taken_for(*rows, LABELS)
    got = {
        (table.truths[i], table.answers[j]): table.photos[i, j]
        for i, j in np.argwhere(table.photos).tolist()
    }
    assert got == cells


def test_unlike_shapes_are_named():
    with pytest.raises(InputError, match=r"shape \(photos, 3\)"):
        count_binary(np.ones((2, 2), bool), np.ones((2, 2), bool), LABELS)
