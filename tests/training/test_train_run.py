"""From photos with labels to a run folder: complete, resumable, and the same each time."""

import csv
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

import leafscout
from leafscout.errors import InputError
from leafscout.inference.load import load
from leafscout.manifest import read_manifest
from leafscout.networks import build_expert, build_scout
from leafscout.photos.labels import read_labels
from leafscout.training import run as run_module
from leafscout.training.expert_stage import ExpertStage
from leafscout.training.recipes import Recipe, recipe_from_dict
from leafscout.training.run import TrainOptions, train
from leafscout.training.run_folder import read_plan
from leafscout.training.scout_stage import ScoutStage
from leafscout.types import Photo

OPTIONS = TrainOptions(threads=1, workers=1, seed=4)
SETTINGS = {
    "tile_px": 64, "glance_px": 208, "tiles_best": 4, "tiles_random": 2, "epochs": 8,
    "evidence_weight": 8.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(spot_writer: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spot_writer(tmp_path_factory.mktemp("photos"), 40)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    return train(data, out, recipe="tiny", overrides=SETTINGS, options=OPTIONS)


def press_ctrl_c(patch: pytest.MonkeyPatch, stage: Any, at_call: int) -> list[int]:
    """Ctrl-C when the stage is asked for its nth loss; gives the photos it was asked about."""
    loss, calls = stage.loss, []

    def note(self: Any, index: int, photo: Photo, epoch: int) -> Tensor:
        calls.append(index)
        if len(calls) == at_call:
            signal.raise_signal(signal.SIGINT)
        result: Tensor = loss(self, index, photo, epoch)
        return result

    patch.setattr(stage, "loss", note)
    return calls


@pytest.mark.slow
def test_the_run_folder_is_complete(run: Path, data: Path) -> None:
    assert {path.name for path in run.iterdir()} == {
        "plan.json", "splits.csv", "history.csv", "tile_histograms.json", "variants.json",
        "checkpoints", "model",
    }  # fmt: skip
    plan = read_plan(run)
    assert plan["photos"]["train"] + plan["photos"]["val"] == 40
    assert plan["photos"]["test"] == 0
    assert plan["photos_per_label"] == {"blue": 20, "red": 20}
    recipe: Recipe = recipe_from_dict(plan["recipe"])
    assert recipe.tile_px == 64
    with (run / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["stage"] for row in rows} == {"expert", "scout"}
    manifest = read_manifest(run / "model")
    assert manifest.labels == ("blue", "red")
    assert manifest.data_fingerprint == plan["data_fingerprint"]
    assert manifest.leafscout == leafscout.__version__
    assert manifest.expert_macs > 0
    assert set(manifest.files) == {"expert.safetensors", "scout.safetensors"}


@pytest.mark.slow
def test_it_has_learned_what_the_spots_mean(
    run: Path, spot_writer: Callable[..., Path], tmp_path: Path
) -> None:
    unseen = read_labels(spot_writer(tmp_path, 24, seed=99))
    model = load(run)
    probs = np.array([model.diagnose(path).diagnosis.label_probs for path in unseen.paths])
    for label in range(2):
        present = unseen.truth[:, label]
        ranked = (probs[present, label][:, None] > probs[~present, label]).mean()
        assert ranked > 0.9, "area under the ROC curve"


@pytest.mark.slow
def test_a_photo_gets_the_same_diagnosis_every_time(run: Path, data: Path) -> None:
    photo = data.parent / "03.jpg"
    first, second = (load(run).diagnose(source) for source in (photo, photo.read_bytes()))
    np.testing.assert_array_equal(first.diagnosis.label_probs, second.diagnosis.label_probs)
    np.testing.assert_array_equal(first.diagnosis.lesion_map, second.diagnosis.lesion_map)
    np.testing.assert_array_equal(first.diagnosis.read, second.diagnosis.read)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [ExpertStage, ScoutStage])
def test_a_run_that_was_stopped_ends_with_the_same_model(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: Any
) -> None:
    calls = press_ctrl_c(monkeypatch, stage, at_call=40)
    out = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        train(data, out, recipe="tiny", overrides=SETTINGS, options=OPTIONS)
    assert 40 <= len(calls) < 44, "the step is done first"
    with pytest.raises(InputError, match="no trained model"):
        load(out)
    with pytest.raises(InputError, match="already holds a run"):
        train(data, out, recipe="tiny", overrides=SETTINGS, options=OPTIONS)

    resume = replace(OPTIONS, resume=True)
    train(data, out, recipe="tiny", overrides=SETTINGS, options=resume)
    for name in ("manifest.json", "expert.safetensors", "scout.safetensors"):
        assert (out / "model" / name).read_bytes() == (run / "model" / name).read_bytes(), name
    stages = [
        [row["stage"] + row["epoch"] for row in csv.DictReader((one / "history.csv").open())]
        for one in (run, out)
    ]
    assert stages[0] == stages[1]


def test_a_stopped_expert_does_not_cost_the_scout_its_pretrained_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, list[Any]] = {"expert": [], "scout": []}

    def note(kind: str, build: Callable[..., Any]) -> Callable[..., Any]:
        def build_untrained(name: str, labels: int, **given: Any) -> Any:
            asked[kind].append(given["pretrained"])
            return build(name, labels)

        return build_untrained

    monkeypatch.setattr(run_module, "build_expert", note("expert", build_expert))
    monkeypatch.setattr(run_module, "build_scout", note("scout", build_scout))
    settings = {**SETTINGS, "pretrained": True, "epochs": 1}
    with monkeypatch.context() as patch:
        press_ctrl_c(patch, ExpertStage, at_call=1)
        with pytest.raises(KeyboardInterrupt):
            train(data, tmp_path / "run", recipe="tiny", overrides=settings, options=OPTIONS)
    assert asked == {"expert": [True], "scout": [True]}
    resume = replace(OPTIONS, resume=True)
    train(data, tmp_path / "run", recipe="tiny", overrides=settings, options=resume)
    assert asked == {"expert": [True, False], "scout": [True, True]}


@pytest.mark.slow
def test_time_bounds_a_run(data: Path, tmp_path: Path) -> None:
    options = TrainOptions(threads=1, workers=1, time_s=3.0)
    settings = {**SETTINGS, "epochs": 10_000}
    train(data, tmp_path / "run", recipe="tiny", overrides=settings, options=options)
    with (tmp_path / "run" / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["stage"] for row in rows} == {"expert", "scout"}
    assert max(float(row["seconds"]) for row in rows) < 20


@pytest.mark.parametrize(
    ("options", "settings", "sentence"),
    [
        (TrainOptions(time_s=-1.0), {}, "Expected --time to be positive"),
        (OPTIONS, {"pooling": "median"}, "no pooling called 'median'"),
        (TrainOptions(resume=True, threads=1, workers=1), {}, "no run to resume"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(
    data: Path, tmp_path: Path, options: TrainOptions, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        train(data, tmp_path / "run", recipe="tiny", overrides=settings, options=options)
    assert not (tmp_path / "run").exists()
