"""Explaining over the epochs of a training: a film a label, from weights that were kept."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from leafscout.cli import app
from leafscout.errors import InputError
from leafscout.inference.explain_epochs import explain_epochs, find_epochs
from leafscout.inference.explain_photo import Question, explain_photo
from leafscout.inference.load import load
from leafscout.networks import TorchNetworks
from leafscout.training.kept_epochs import list_epochs, load_epoch
from leafscout.training.run import TrainOptions, train

RUNNER = CliRunner()
EPOCHS = 3


@pytest.fixture(scope="module")
def kept_run(used_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kept") / "run"
    settings = {"epochs": EPOCHS, "tile_px": 64, "glance_px": 128}
    options = TrainOptions(threads=1, workers=1, seed=2, keep_epochs=True)
    return train(used_photos, out, recipe="tiny", overrides=settings, options=options)


def test_every_epoch_is_kept_and_the_best_one_is_the_model(kept_run: Path) -> None:
    model = load(kept_run, threads=1)
    found = find_epochs(model)
    assert {stage: list(epochs) for stage, epochs in found.items()} == {
        "expert": [1, 2, 3],
        "scout": [1, 2, 3],
    }
    networks = model.core.networks
    assert isinstance(networks, TorchNetworks)
    final = {name: value.clone() for name, value in networks.expert.state_dict().items()}
    same = []
    for path in found["expert"].values():
        load_epoch(path, networks.expert)
        state = networks.expert.state_dict()
        same.append(all(torch.equal(state[name], value) for name, value in final.items()))
    assert sum(same) == 1


def test_each_frame_is_what_that_epoch_saw_and_the_model_stays(
    kept_run: Path, used_photos: Path
) -> None:
    model, photo = load(kept_run, threads=1), used_photos / "1.png"
    question = Question(labels=("rust",), method="grad-cam")
    explanation = explain_photo(model, photo, question)
    before = model.diagnose(photo).probs
    films = explain_epochs(model, explanation, question, find_epochs(model))
    assert model.diagnose(photo).probs == before
    assert {film.view for film in films} == {view.view for view in explanation.views}
    for film in films:
        assert [frame.epoch for frame in film.frames] == [1, 2, 3]
        assert film.label == "rust"
    glance = next(film for film in films if film.view == "glance")
    networks = model.core.networks
    assert isinstance(networks, TorchNetworks)
    load_epoch(list_epochs(kept_run / "checkpoints" / "scout")[1], networks.scout)
    (first,) = next(
        view.labels for view in explain_photo(model, photo, question).views if view.view == "glance"
    )
    assert np.array_equal(first.over.heat, glance.frames[0].heat.over.heat)


def test_films_are_written_for_each_photo(
    kept_run: Path, used_photos: Path, tmp_path: Path
) -> None:
    photos = [str(used_photos / name) for name in ("1.png", "2.png")]
    result = RUNNER.invoke(
        app,
        ["explain", str(kept_run), *photos, "--over-epochs", "--label", "rust", "--out",
         str(tmp_path / "why"), "--threads", "1"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert f"{EPOCHS} epochs" in result.output
    for stem in ("1", "2"):
        record = json.loads((tmp_path / "why" / f"{stem}_epochs.json").read_text())
        for film in record["films"]:
            with Image.open(tmp_path / "why" / film["film"]) as image:
                assert getattr(image, "n_frames", 1) == EPOCHS
            assert len(film["pictures"]) == len(film["peaks"]) == EPOCHS
            for name in film["pictures"]:
                assert (tmp_path / "why" / name).is_file()


def test_a_run_without_kept_epochs_is_refused_in_a_sentence(
    untrained_run: Path, used_photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="--keep-epochs"):
        find_epochs(load(untrained_run, threads=1))
    result = RUNNER.invoke(
        app, ["explain", str(untrained_run), str(used_photos / "1.png"), "--over-epochs",
              "--out", str(tmp_path / "why")]
    )  # fmt: skip
    assert result.exit_code == 2
    assert not (tmp_path / "why").exists()


def test_the_integrated_recipe_refuses_to_keep_epochs(used_photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gated is none yet"):
        train(used_photos, tmp_path / "run", recipe="gated", options=TrainOptions(keep_epochs=True))
    assert not (tmp_path / "run").exists()


def test_a_recogniser_shows_what_each_epoch_looked_at(used_photos: Path, tmp_path: Path) -> None:
    """Also one that learns another one's features, of which no epoch keeps anything."""
    settings = {"epochs": EPOCHS, "photo_px": 64, "batch": 4}
    options = TrainOptions(threads=1, workers=1, seed=2, keep_epochs=True)
    recipe = "small_eva_stn"
    teacher = train(
        used_photos, tmp_path / "one", recipe=recipe, overrides=settings, options=options
    )
    taught = train(
        used_photos, tmp_path / "two", recipe=recipe, overrides=settings,
        options=replace(options, teacher=teacher),
    )  # fmt: skip
    photo, question = used_photos / "1.png", Question(labels=("rust",), method="grad-cam")
    for run in (teacher, taught):
        model = load(run, threads=1)
        explanation = explain_photo(model, photo, question)
        before = model.diagnose(photo).probs
        (film,) = explain_epochs(model, explanation, question, find_epochs(model))
        assert model.diagnose(photo).probs == before
        assert (film.view, film.stage) == ("photo", "recogniser")
        assert [frame.epoch for frame in film.frames] == [1, 2, 3]
        best = explanation.views[0].labels[0].over.heat
        same = [np.array_equal(frame.heat.over.heat, best) for frame in film.frames]
        assert sum(same) == 1, "the model is the best epoch"


def test_weights_of_another_network_are_refused(kept_run: Path) -> None:
    path = list_epochs(kept_run / "checkpoints" / "scout")[1]
    with pytest.raises(InputError, match="weights of another network"):
        load_epoch(path, torch.nn.Linear(2, 2))
