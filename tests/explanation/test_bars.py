"""Bars are as long as their probabilities, and marked at their thresholds."""

import dataclasses

import numpy as np
import pytest

from leafscout.explanation.bars import TRACK, bars_height_px, draw_bars
from leafscout.explanation.heat import LABEL_COLOURS
from leafscout.explanation.lettering import INK, Canvas
from leafscout.explanation.panel import Scale


@pytest.mark.parametrize("prob", [0.35, 0.6, 1.0])
def test_a_bar_is_as_long_as_its_probability(photo_of, diagnosis_of, prob):
    diagnosis = dataclasses.replace(
        diagnosis_of(photo_of(100, 100), labels=("rust",)),
        label_probs=np.array([prob], np.float32),
        thresholds=np.array([0.25], np.float32),
        healthy_prob=0.0,
    )
    scale = Scale(1600)
    canvas = Canvas(500, bars_height_px(diagnosis, 1, scale))
    draw_bars(canvas, diagnosis, (0, 0), 500, 1, scale)
    middle = canvas.to_pixels()[32 + 22 + 5]  # title, name, half of the bar's thickness
    coloured = np.flatnonzero((middle == LABEL_COLOURS[0]).all(axis=1))
    assert coloured.max() + 1 == pytest.approx(500 * prob, abs=2)
    mark = np.flatnonzero((middle == INK).all(axis=1))
    assert mark.mean() == pytest.approx(500 * 0.25, abs=2)
    track = (middle == TRACK).all(axis=1).sum()
    assert track == pytest.approx(500 * (1 - prob), abs=10)


def test_only_the_strongest_of_many_labels_get_bars(photo_of, diagnosis_of):
    photo, scale = photo_of(100, 100), Scale(1600)
    names = tuple(f"label {i}" for i in range(30))
    many = bars_height_px(diagnosis_of(photo, labels=names), 1, scale)
    dozen = bars_height_px(diagnosis_of(photo, labels=names[:12]), 1, scale)
    assert dozen < many < 1.1 * dozen
