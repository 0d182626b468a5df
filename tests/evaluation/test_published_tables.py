"""Published result tables, recomputed from whole photos: our formulas give the same four digits.

A row's recall fixes its hits, its precision the photos found; F1, macro and micro must follow.
"""

from typing import NamedTuple

import numpy as np
import pytest

from leafscout.evaluation import scores
from leafscout.evaluation.scores import Counts, count_decisions

POSITIVES = {"scab": 190, "healthy": 145, "frog_eye": 142, "rust": 69, "complex": 63, "powdery": 34}
PHOTOS = 608


class Row(NamedTuple):
    precision: float
    recall: float
    f1: float


TABLES: dict[str, tuple[dict[str, Row], Row, Row]] = {
    "EfficientNet": (
        {
            "scab": Row(0.9205, 0.8526, 0.8852),
            "healthy": Row(0.9586, 0.9586, 0.9586),
            "frog_eye": Row(0.8288, 0.8521, 0.8403),
            "rust": Row(0.8904, 0.9420, 0.9155),
            "complex": Row(0.5882, 0.6349, 0.6107),
            "powdery": Row(0.8857, 0.9118, 0.8986),
        },
        Row(0.8454, 0.8587, 0.8515),
        Row(0.8678, 0.8678, 0.8678),
    ),
    "EVA-CLIP with spatial transformer": (
        {
            "scab": Row(0.8783, 0.8737, 0.8760),
            "healthy": Row(0.9456, 0.9586, 0.9521),
            "frog_eye": Row(0.9375, 0.7394, 0.8268),
            "rust": Row(0.9403, 0.9130, 0.9265),
            "complex": Row(0.6857, 0.7619, 0.7218),
            "powdery": Row(0.9032, 0.8235, 0.8615),
        },
        Row(0.8818, 0.8450, 0.8608),
        Row(0.8912, 0.8538, 0.8721),
    ),
    "ArcFace Swin": (
        {
            "scab": Row(0.9200, 0.8474, 0.8822),
            "healthy": Row(0.9338, 0.9724, 0.9527),
            "frog_eye": Row(0.7712, 0.8310, 0.8000),
            "rust": Row(0.9394, 0.8986, 0.9185),
            "complex": Row(0.5000, 0.6349, 0.5594),
            "powdery": Row(0.8571, 0.8824, 0.8696),
        },
        Row(0.8203, 0.8444, 0.8304),
        Row(0.8364, 0.8585, 0.8473),
    ),
    "ArcPSASwin": (
        {
            "scab": Row(0.8028, 0.9211, 0.8578),
            "healthy": Row(0.9496, 0.9103, 0.9296),
            "frog_eye": Row(0.7987, 0.8662, 0.8311),
            "rust": Row(0.8919, 0.9565, 0.9231),
            "complex": Row(0.5645, 0.5556, 0.5600),
            "powdery": Row(0.9143, 0.9412, 0.9275),
        },
        Row(0.8203, 0.8585, 0.8382),
        Row(0.8255, 0.8756, 0.8498),
    ),
}


def _found_and_hits(label: str, row: Row) -> tuple[int, int]:
    """Photos found and rightly found: the whole numbers that give the row's precision."""
    hits = round(row.recall * POSITIVES[label])
    return round(hits / row.precision), hits


def _decisions(rows: dict[str, Row]) -> tuple[np.ndarray, np.ndarray]:
    truth = np.zeros((PHOTOS, len(rows)), dtype=bool)
    decided = np.zeros_like(truth)
    for column, (label, row) in enumerate(rows.items()):
        found, hits = _found_and_hits(label, row)
        positives = POSITIVES[label]
        truth[:positives, column] = True
        decided[:hits, column] = True
        decided[positives : positives + found - hits, column] = True
    return truth, decided


def _digits(value: float) -> float:
    return round(float(value) + 1e-9, 4)


@pytest.fixture(params=TABLES)
def table(request: pytest.FixtureRequest) -> tuple[dict[str, Row], Row, Row, Counts]:
    rows, macro, micro = TABLES[request.param]
    return rows, macro, micro, count_decisions(*_decisions(rows))


def test_every_row_follows_from_whole_photos(
    table: tuple[dict[str, Row], Row, Row, Counts],
) -> None:
    rows, _, _, counts = table
    figures = [scores.precision(counts), scores.recall(counts), scores.f1(counts)]
    ours = np.stack([np.ravel(one) for one in figures], axis=1)
    for row, mine in zip(rows.values(), ours, strict=True):
        assert tuple(_digits(value) for value in mine) == tuple(row)


def test_the_macro_row_is_the_mean_of_the_labels(
    table: tuple[dict[str, Row], Row, Row, Counts],
) -> None:
    _, macro, _, counts = table
    figures = (scores.precision(counts), scores.recall(counts), scores.f1(counts))
    for figure, wanted in zip(figures, macro, strict=True):
        assert _digits(np.mean(figure)) == wanted


def test_the_micro_row_is_that_of_all_pairs_together(
    table: tuple[dict[str, Row], Row, Row, Counts],
) -> None:
    rows, _, micro, _ = table
    truth, decided = _decisions(rows)
    counts = count_decisions(truth.reshape(-1, 1), decided.reshape(-1, 1))
    figures = (scores.precision(counts), scores.recall(counts), scores.f1(counts))
    assert tuple(_digits(np.ravel(one)[0]) for one in figures) == tuple(micro)
