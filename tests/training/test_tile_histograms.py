"""Counts of tile probabilities in the run folder, and their figure in the report."""

import json
from pathlib import Path

import numpy as np
import pytest

from leafscout.errors import InputError
from leafscout.reports.report_figures import draw_tile_histograms
from leafscout.reports.run_report import write_run_report
from leafscout.training.tile_histograms import BINS, count_tile_probs, write_tile_histograms

LABELS = ("rust", "scab")


def draw_evidence() -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    return [
        (3 * rng.standard_normal((tiles, 2))).astype(np.float32) for tiles in (5, 7, 9)
    ], np.array([[True, False], [False, False], [True, True]])


def test_every_tile_is_counted_once_under_its_photos_label() -> None:
    logits, truth = draw_evidence()
    rows = count_tile_probs(logits, truth, LABELS)
    assert [row["label"] for row in rows] == list(LABELS)
    assert [sum(row["present"]) for row in rows] == [14, 9]
    assert [sum(row["absent"]) for row in rows] == [7, 12]
    probs = 1 / (1 + np.exp(-np.concatenate([logits[0], logits[2]])[:, 0]))
    assert rows[0]["present"] == np.histogram(probs, BINS, (0, 1))[0].tolist()


def test_the_file_and_its_figure(tmp_path: Path) -> None:
    logits, truth = draw_evidence()
    rows = count_tile_probs(logits, truth, LABELS)
    path = write_tile_histograms(tmp_path, {"expert": rows, "scout": rows})
    content = json.loads(path.read_text())
    assert len(content["edges"]) == BINS + 1
    assert [stage["stage"] for stage in content["stages"]] == ["expert", "scout"]
    figure = draw_tile_histograms(content)
    assert figure.section == "training"
    assert figure.png.startswith(b"\x89PNG")
    page = write_run_report(tmp_path).read_text(encoding="utf-8")
    assert "Tiles of the validation photos" in page


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tile_histograms.json").write_text('{"stages": [{}]}')
    with pytest.raises(InputError, match=r"tile_histograms\.json .* Remove the file"):
        write_run_report(tmp_path)
