"""The integrated variant through the same doors: train, load, diagnose, evaluate, report."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import leafscout
from leafscout.errors import InputError
from leafscout.gated_model import lay_tokens
from leafscout.inference.answer import PhotoDiagnosis
from leafscout.inference.evaluate import evaluate_run
from leafscout.inference.stage_times import ONE_NETWORK_STAGES, bench_model, find_models
from leafscout.manifest import read_manifest
from leafscout.reports.run_report import write_run_report
from leafscout.training.plan import PlanWishes, make_plan
from leafscout.training.run import TrainOptions, train

OPTIONS = TrainOptions(threads=1, workers=1, seed=2)
SMALL = {"epochs": 2, "glance_px": 128, "width": 16, "later_blocks": 1}
"""As ``gated_run`` was trained."""


def test_the_run_folder_says_what_it_holds(gated_run: Path) -> None:
    manifest = read_manifest(gated_run / "model")
    assert manifest.family == "gated"
    assert json.loads((gated_run / "plan.json").read_text())["recipe"]["family"] == "gated"
    assert (gated_run / "history.csv").read_text().count("\ngated,") == 2


def test_a_photo_gets_the_same_answer_alone_in_a_folder_and_as_pixels(
    gated_run: Path, used_photos: Path, same_every_way: Callable[..., list[PhotoDiagnosis]]
) -> None:
    assert len(same_every_way(gated_run, used_photos)) == 3


def test_tokens_kept_are_what_it_costs(gated_run: Path, used_photos: Path) -> None:
    model = leafscout.load(gated_run)
    path = used_photos / "1.png"
    everything = model.diagnose(path, read_all=True).diagnosis
    assert everything.read.all()
    assert everything.cost.macs == everything.cost.macs_all_tiles > 0
    rules = model.recogniser.rules
    closed = type(rules.choice)(threshold_prob=1.0, max_tiles=1)
    object.__setattr__(
        model.recogniser, "rules", rules.__class__(**{**vars(rules), "choice": closed})
    )
    nothing = model.diagnose(path).diagnosis
    assert nothing.cost.tiles_read == 0
    assert nothing.cost.macs < everything.cost.macs
    assert np.isnan(nothing.tile_probs).all()
    assert not nothing.lesion_map.any()


def test_it_is_evaluated_and_reported(
    gated_run: Path, photo_writer: Callable[..., Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(gated_run, run)
    rows = [("a.png", "rust"), ("b.png", "healthy"), ("c.png", "mildew"), ("d.png", "rust mildew")]
    new = photo_writer(tmp_path / "new", rows, seed=5)
    summary = evaluate_run(run, new, baselines=True, baseline_px=None)
    assert set(summary.to_dict()["baselines"]) == {"all_tiles"}
    assert "macs_share" in (run / "evaluation" / "per_photo.csv").read_text()
    assert write_run_report(run).stat().st_size > 10_000


def test_its_steps_are_timed(gated_run: Path, used_photos: Path) -> None:
    (model,) = find_models(gated_run)
    found = bench_model(model, [used_photos / "1.png"], repeats=2, threads=1)
    assert tuple(found.stages) == ONE_NETWORK_STAGES
    assert found.stages["network"].median_ms > 0


def test_what_needs_scout_and_expert_says_so(gated_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one network without scout and expert"):
        _ = leafscout.load(gated_run).core
    with pytest.raises(InputError, match="as it is"):
        make_plan(tmp_path, PlanWishes(recipe="gated"))


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"tile_px": 96}, "tile_px"),
        ({"expert": "tiny"}, "expert"),
        ({"token_px": 17}, "token_px"),
        ({"keep_share": 0.0}, "keep_share"),
        ({"gate_kind": "ajar"}, "ajar"),
        ({"nonsense": 1}, "nonsense"),
        ({"epochs": 0}, "epoch"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_written(
    used_photos: Path, tmp_path: Path, overrides: dict[str, object], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        train(used_photos, tmp_path / "run", recipe="gated", overrides=overrides, options=OPTIONS)
    assert not (tmp_path / "run").exists()


def test_weights_are_refused(used_photos: Path, tmp_path: Path) -> None:
    options = TrainOptions(threads=1, workers=1, weights=tmp_path / "some.safetensors")
    with pytest.raises(InputError, match="--weights"):
        train(used_photos, tmp_path / "run", recipe="gated", options=options)
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_stopped_goes_on(used_photos: Path, gated_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(gated_run, run)
    shutil.rmtree(run / "model")
    resumed = TrainOptions(threads=1, workers=1, seed=2, resume=True)
    train(used_photos, run, recipe="gated", overrides=SMALL, options=resumed)
    again, before = (read_manifest(folder / "model") for folder in (run, gated_run))
    assert again.files == before.files


@pytest.mark.parametrize("size", [(3000, 4000), (384, 512), (333, 517)])
def test_tokens_cover_every_pixel(size: tuple[int, int]) -> None:
    view, grid = (384, 512), (24, 32)
    boxes = lay_tokens(size, view, grid, 16).boxes_px_xyxy
    seen = np.zeros(size, dtype=np.bool_)
    for left, top, right, bottom in boxes:
        seen[top:bottom, left:right] = True
    assert seen.all()


def test_it_cannot_teach_an_expert(gated_run: Path, used_photos: Path, tmp_path: Path) -> None:
    options = TrainOptions(threads=1, workers=1, teacher=gated_run)
    with pytest.raises(InputError, match="teach"):
        train(used_photos, tmp_path / "run", recipe="tiny", options=options)
