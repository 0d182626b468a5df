"""Costs over photos, and the summary of everything as JSON and tables."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from leafscout.errors import InputError
from leafscout.evaluation.cost import summarise_cost
from leafscout.evaluation.localisation import Localisation
from leafscout.evaluation.summary import AlternativeAnswers, BaselineAnswers, summarise
from leafscout.evaluation.tables import write_tables
from leafscout.types import Cost


def cost(read, total=10, macs=5, seconds=1.0):
    return Cost(macs, 100, read, total, read / total, seconds)


def test_costs_of_healthy_and_diseased_photos_stand_apart():
    costs = [cost(0), cost(0), cost(1, macs=20), cost(4, macs=80, seconds=3.0), cost(5, 20)]
    result = summarise_cost(costs, np.array([True, True, True, False, False]))
    assert result.healthy.drop_rate == pytest.approx((1 + 1 + 0.9) / 3)
    assert result.healthy.early_exit == pytest.approx(2 / 3)
    assert result.diseased.drop_rate == pytest.approx((0.6 + 0.75) / 2)
    assert result.diseased.early_exit == 0
    assert result.everyone.macs_ratio == pytest.approx((0.05 + 0.05 + 0.2 + 0.8 + 0.05) / 5)
    assert result.everyone.macs_ratio_median == pytest.approx(0.05)
    assert result.diseased.seconds == 2
    assert result.everyone.photos == 5


def test_group_without_photos_is_undefined():
    result = summarise_cost([cost(1)], np.array([False]))
    assert result.healthy.photos == 0
    assert result.to_dict()["healthy"]["drop_rate"] is None
    with pytest.raises(InputError, match="one truth for each of 1 costs"):
        summarise_cost([cost(1)], np.array([True, False]))


@pytest.fixture
def summary():
    rng = np.random.default_rng(0)
    truth = rng.random((50, 3)) < 0.3
    truth[:, 2] = False
    probs = np.clip(0.4 * truth + 0.6 * rng.random((50, 3)), 0, 1)
    half = np.full(3, 0.5)
    return summarise(
        truth,
        probs,
        half,
        ("=SUM(A1)", "rust, yellow", "never"),
        costs=[cost(int(n)) for n in rng.integers(0, 5, 50)],
        localisation=Localisation(photos=4, hits_at_k={5: 0.5}),
        baselines={"-mean": BaselineAnswers(rng.random((50, 3)), half)},
        alternatives={
            "recall=0.9": AlternativeAnswers(
                probs, half, np.array([True, True, False]), "recall=0.9", "none", 1
            )
        },
        notes=["Evaluated on validation photos."],
        resamples=40,
    )


def test_summary_is_strict_json_with_undefined_numbers_as_null(summary, tmp_path):
    path = tmp_path / "evaluation.json"
    summary.write_json(path)
    content = json.loads(path.read_text("utf-8"), parse_constant=pytest.fail)
    assert content["labels"]["rows"][2]["ap"]["value"] is None
    assert content["labels"]["without_positives"] == ["never"]
    assert [entry["label"] for entry in content["calibration"]] == ["=SUM(A1)", "rust, yellow"]
    assert content["localisation"]["hits_at_k"] == {"5": 0.5}
    assert content["localisation"]["iou"] is None
    gap = content["baselines"]["-mean"]["model_minus_baseline"]["macro_ap"]
    assert gap["value"] == pytest.approx(gap["value_a"] - gap["value_b"])
    assert gap["value_a"] == pytest.approx(content["labels"]["macro"]["ap"]["value"])
    assert content["notes"] == ["Evaluated on validation photos."]


def test_tables_hold_the_figures_and_no_formula(summary, tmp_path):
    written = write_tables(summary, tmp_path / "evaluation")
    tables = {path.stem: list(csv.reader(path.open(encoding="utf-8"))) for path in written}
    assert set(tables) == {
        "per_label",
        "pr_curves",
        "confidence_curves",
        "confusion",
        "taken_for",
        "calibration",
        "calibration_errors",
        "whole_photos",
        "by_count",
        "labels_together",
        "cost",
        "localisation",
        "baselines",
        "baselines_per_label",
        "alternatives",
        "alternatives_per_label",
    }
    for rows in tables.values():
        assert len({len(row) for row in rows}) == 1
        for cell in (cell for row in rows for cell in row):
            assert not cell.startswith(("=", "+", "@"))
            assert not cell.startswith("-") or float(cell) < 0
    first = dict(zip(*tables["per_label"][:2], strict=True))
    assert first["label"] == "'=SUM(A1)"
    assert float(first["f1"]) == pytest.approx(summary.labels.rows[0].f1.value, rel=1e-5)
    assert tables["per_label"][3][:2] == ["never", "0"]
    assert tables["per_label"][3][3] == ""
    assert tables["per_label"][-1][0] == "micro with healthy"
    assert tables["baselines"][1][0] == "'-mean"
    marks = {row[1]: row[-1] for row in tables["alternatives_per_label"][1:]}
    assert (marks["never"], marks["rust, yellow"], marks["macro"]) == ("0", "1", "")
    gains = [
        dict(zip(tables["alternatives"][0], row, strict=True)) for row in tables["alternatives"][1:]
    ]
    assert {float(row["value"]) for row in gains} == {0.0}, "the very same answers"
    by_count = [
        dict(zip(tables["by_count"][0], row, strict=True)) for row in tables["by_count"][1:]
    ]
    assert sum(int(row["photos"]) for row in by_count) == 50
    assert dict(row[:2] for row in tables["localisation"])["hits_at_k.5"] == "0.5"
    exact = dict(zip(tables["whole_photos"][0], tables["whole_photos"][1], strict=True))
    assert float(exact["value"]) == pytest.approx(summary.labels.exact_match.value, rel=1e-5)
    assert tables["labels_together"][-1][0] == "(none)"
    # A table that the next evaluation has none of does not stay behind.
    write_tables(replace(summary, alternatives={}, cost=None), tmp_path / "evaluation")
    left = {path.stem for path in (tmp_path / "evaluation").iterdir()}
    assert set(tables) - left == {"alternatives", "alternatives_per_label", "cost"}
