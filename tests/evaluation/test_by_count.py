"""Figures by the number of labels in a photo, against counting by hand."""

import numpy as np
import pytest

from leafscout.evaluation.by_count import measure_by_count

TRUTH = np.array([[0, 0], [0, 0], [1, 0], [0, 1], [1, 1], [1, 1]])
FOUND = np.array([[0, 0], [1, 0], [1, 0], [1, 1], [1, 1], [1, 0]])


def test_each_number_of_labels_is_judged_by_itself() -> None:
    none, one, two = measure_by_count(TRUTH, FOUND, resamples=50)
    assert [(row.count, row.photos) for row in (none, one, two)] == [(0, 2), (1, 2), (2, 2)]
    assert none.exact_match.value == 0.5
    assert np.isnan([none.recall.value, none.precision.value, none.f1.value]).all()
    assert none.wrong_labels.value == 0.5
    assert (one.precision.value, one.recall.value) == (pytest.approx(2 / 3), 1.0)
    assert one.f1.value == pytest.approx(0.8)
    assert one.accuracy.value == 0.75
    assert (two.precision.value, two.recall.value) == (1.0, 0.75)
    assert two.exact_match.low <= two.exact_match.value <= two.exact_match.high
    assert two.wrong_labels.value == 0.0


def test_numbers_that_no_photo_has_are_left_out() -> None:
    rows = measure_by_count(TRUTH[2:4], FOUND[2:4], resamples=0)
    assert [row.count for row in rows] == [1]
    assert np.isnan(rows[0].f1.low)


def test_groups_are_drawn_together() -> None:
    alike = np.array([[1, 0]] * 4), np.array([[1, 0], [1, 0], [0, 0], [0, 0]])
    (single,) = measure_by_count(*alike, resamples=400)
    (paired,) = measure_by_count(*alike, resamples=400, groups=np.array([0, 0, 1, 1]))
    assert (paired.exact_match.low, paired.exact_match.high) == (0.0, 1.0)
    assert paired.exact_match.value == single.exact_match.value == 0.5
