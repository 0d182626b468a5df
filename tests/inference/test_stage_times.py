"""``leafscout bench``: every step is timed, and what is printed is what was measured."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from leafscout.cli import app
from leafscout.errors import InputError
from leafscout.inference.stage_times import STAGES, Spread, bench_model, find_models

MISTAKE = 2


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(
        app, [str(arg) for arg in args], prog_name="leafscout", env={"COLUMNS": "200"}
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=30))
def test_a_spread_is_in_order_and_in_milliseconds(times_s: list[float]) -> None:
    spread = Spread.of(times_s)
    assert min(times_s) * 1e3 <= spread.low_ms * (1 + 1e-9)
    assert spread.low_ms <= spread.median_ms <= spread.high_ms
    assert spread.median_ms == pytest.approx(1e3 * float(np.median(times_s)))
    assert spread.photos == len(times_s)


def test_every_model_of_a_run_is_timed(exported_run: Path, used_photos: Path) -> None:
    result = run("bench", exported_run, used_photos, "--repeats", "2", "--threads", "1", "--json")
    assert result.exit_code == 0, result.output + result.stderr
    values = json.loads(result.stdout)
    assert (values["photos"], values["repeats"], values["threads"]) == (8, 2, 1)
    assert [one["name"] for one in values["models"]] == ["torch fp32", "onnxruntime fp32"]
    for one in values["models"]:
        assert tuple(one["stages"]) == STAGES
        assert one["tiles_read_mean"] == 2
        assert set(one["whole_photo"]) == {"all", "tiles read"}, "no photo left early"
        assert one["whole_photo"]["all"]["photos"] == 16
        assert all(stage["median_ms"] >= 0 for stage in one["stages"].values())
        parts = sum(stage["median_ms"] for stage in one["stages"].values())
        assert parts < 3 * one["whole_photo"]["all"]["median_ms"]
        assert one["load_s"] > 0
        assert one["processor"]["median_ms"] > 0


def test_the_table_names_steps_and_runtimes(exported_run: Path, used_photos: Path) -> None:
    result = run(
        "bench", exported_run / "exports" / "onnx", used_photos / "1.png", "--repeats", "1"
    )
    assert result.exit_code == 0, result.output + result.stderr
    for words in (*STAGES, "onnxruntime fp32", "whole photo", "tiles read a photo", "2.0"):
        assert words in result.stdout
    assert "torch" not in result.stdout


def test_validation_photos_stand_in_for_none(exported_run: Path) -> None:
    result = run("bench", exported_run, "--runtime", "onnxruntime", "--repeats", "1", "--json")
    assert result.exit_code == 0, result.output + result.stderr
    values = json.loads(result.stdout)
    assert values["photos"] == 2
    assert [one["name"] for one in values["models"]] == ["onnxruntime fp32"]


def test_an_exported_model_needs_photos_named(exported_run: Path) -> None:
    result = run("bench", exported_run / "exports" / "onnx")
    assert result.exit_code == MISTAKE
    assert "splits.csv is missing. Name photos with PHOTO." in " ".join(result.stderr.split())


def test_the_early_exit_is_told_apart(
    exported_run: Path, used_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = find_models(exported_run, "onnxruntime")[0]
    choice = model.manifest.choice.model_copy(update={"threshold_prob": 1.0, "suspicion_prob": 1.0})
    blind = type(model)(model.folder, model.manifest.model_copy(update={"choice": choice}))
    result = bench_model(blind, [used_photos / "1.png"], repeats=2, threads=1)
    assert set(result.groups) == {"all", "early exit"}
    assert set(result.stages) == {"open", "glance", "scout", "choose", "decide"}
    assert result.tiles_read == 0


def test_nothing_to_time(exported_run: Path) -> None:
    model = find_models(exported_run, "onnxruntime")[0]
    with pytest.raises(InputError, match=r"photos and repeats"):
        bench_model(model, [])
