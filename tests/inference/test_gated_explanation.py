"""The integrated model asked why: what is shown is what decided, and lies where its tokens lie."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from leafscout.cli import app
from leafscout.errors import InputError
from leafscout.inference.explain_photo import Question, explain_photo
from leafscout.inference.load import Model, load
from leafscout.inference.views import View, take_views
from leafscout.photos.decode import decode_photo

METHODS = ("cam", "grad-cam", "grad-cam++", "saliency", "integrated-gradients")

Choose = Callable[[Model, float], Model]


@pytest.fixture(scope="module")
def model(gated_run: Path) -> Model:
    return load(gated_run, threads=1)


@pytest.fixture(scope="module")
def photo(used_photos: Path) -> Path:
    return used_photos / "1.png"


@pytest.fixture(scope="module")
def choosy(model: Model, photo: Path, with_threshold: Choose) -> Model:
    """The same with a gate that keeps some tokens of this photo and drops others."""
    probs = model.diagnose(photo).diagnosis.scout_probs
    return with_threshold(model, float(np.quantile(probs, 0.6)))


def look(model: Model, path: Path) -> View:
    answer = model.diagnose(path)
    (view,) = take_views(model, answer.photo, answer.diagnosis)
    return view


@pytest.mark.parametrize("closed", [False, True])
def test_class_maps_are_the_lesion_map(
    *, closed: bool, choosy: Model, photo: Path, with_threshold: Choose
) -> None:
    model = with_threshold(choosy, 1.0) if closed else choosy
    found = explain_photo(model, photo, Question(labels=model.labels, method="cam"))
    (view,) = found.views
    diagnosis = found.answer.diagnosis
    assert bool(diagnosis.read.any()) is not closed
    assert not diagnosis.read.all()
    for one, wanted in zip(view.labels, diagnosis.lesion_map, strict=True):
        np.testing.assert_allclose(one.over.heat, wanted, atol=1e-6)
        assert one.over.looked_at is not None
        assert not one.over.heat[~one.over.looked_at].any()


def test_class_maps_finer_than_pictures_are_too(
    used_photos: Path, model: Model, with_threshold: Choose, tmp_path: Path
) -> None:
    """A photo of more tokens than heat of pixels has cells."""
    core = model.recogniser
    wide = type(core)(core.network, type(core.rules)(**{**vars(core.rules), "glance_px": 1024}))
    with Image.open(used_photos / "2.png") as image:
        image.resize((1100, 300)).save(tmp_path / "wide.png")
    asked = with_threshold(Model(wide, model.manifest, model.run), 0.0)
    found = explain_photo(asked, tmp_path / "wide.png", Question(labels=("rust",), method="cam"))
    assert found.answer.diagnosis.tiles.columns == 64
    index = model.labels.index("rust")
    wanted = found.answer.diagnosis.lesion_map[index]
    np.testing.assert_allclose(found.views[0].labels[0].over.heat, wanted, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_answers(method: str, choosy: Model, photo: Path) -> None:
    question = Question(labels=choosy.labels, method=method, faithful=True, by_layer=True)
    found = explain_photo(choosy, photo, question)
    (view,) = found.views
    assert (view.view, view.method, found.notes) == ("photo", method, ())
    for one in view.labels:
        assert 0.0 <= float(one.over.heat.min()) <= float(one.over.heat.max()) <= 1 + 1e-6
        assert one.peak > 0
        assert one.faithfulness is not None
        assert [name for name, _ in one.layers][-1] == "blocks.0"
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("method", ["grad-cam", "grad-cam++"])
def test_nothing_is_hot_where_tokens_were_dropped(method: str, choosy: Model, photo: Path) -> None:
    found = explain_photo(choosy, photo, Question(labels=choosy.labels, method=method))
    hottest = 0.0
    for one in found.views[0].labels:
        assert one.over.looked_at is not None
        assert not one.over.heat[~one.over.looked_at].any()
        hottest = max(hottest, float(one.over.heat.max()))
    assert hottest == pytest.approx(1.0)


def test_without_a_method_it_is_the_class_maps(choosy: Model, photo: Path) -> None:
    assert explain_photo(choosy, photo, Question()).views[0].method == "cam"


@pytest.mark.parametrize("method", METHODS)
def test_a_photo_of_which_nothing_is_kept_is_cold_and_says_so(
    method: str, model: Model, photo: Path, with_threshold: Choose
) -> None:
    closed = with_threshold(model, 1.0)
    question = Question(labels=model.labels, method=method, faithful=True, by_layer=True)
    found = explain_photo(closed, photo, question)
    (note,) = found.notes
    assert note.startswith("No token was kept: the gate dropped all of the photo, so no place")
    assert not any(one.over.heat.any() for one in found.views[0].labels)
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_view_says_what_the_model_says(choosy: Model, used_photos: Path) -> None:
    for path in sorted(used_photos.glob("*.png"))[:3]:
        view = look(choosy, path)
        evidence, _ = choosy.recogniser.forward(decode_photo(path))
        with torch.no_grad():
            said = view.network(view.pixels)[0].numpy()
        np.testing.assert_allclose(said, evidence.focus_logits, atol=1e-5)


def test_changing_what_was_dropped_changes_nothing(choosy: Model, photo: Path) -> None:
    """The slope of the evidence is 0 in pixels that no kept token sees."""
    view = look(choosy, photo)
    watched = view.pixels.clone().requires_grad_()
    (slope,) = torch.autograd.grad(view.network(watched)[:, 0].sum(), watched)
    diagnosis = choosy.diagnose(photo).diagnosis
    grid = diagnosis.read.reshape(diagnosis.tiles.rows, diagnosis.tiles.columns)
    # A stem of small kernels sees less than two tokens around its own.
    near = np.pad(grid, 2)
    near = np.lib.stride_tricks.sliding_window_view(near, (5, 5)).any(axis=(2, 3))
    seen = np.kron(near, np.ones((16, 16), dtype=bool))
    assert not slope[0].abs().amax(dim=0).numpy()[~seen].any()
    assert slope.abs().max() > 0


def test_heat_of_a_token_lies_where_the_token_does(choosy: Model, photo: Path) -> None:
    answer = choosy.diagnose(photo)
    tiles, read = answer.diagnosis.tiles, answer.diagnosis.read
    (view,) = take_views(choosy, answer.photo, answer.diagnosis)
    token = int(np.flatnonzero(read)[0])
    heat = np.zeros((1, tiles.rows, tiles.columns), dtype=np.float32)
    heat[0, token // tiles.columns, token % tiles.columns] = 1.0
    for of_places in (False, True):
        over = view.lay(heat, of_places)
        rows, columns = np.nonzero(over.heat == 1.0)
        cell = over.covers_px_hw[0] / over.heat.shape[0]
        left, top, right, bottom = tiles.boxes_px_xyxy[token]
        assert rows.min() * cell >= top - 1e-6
        assert columns.min() * cell >= left - 1e-6
        assert (rows.max() + 1) * cell <= bottom + cell
        assert (columns.max() + 1) * cell <= right + cell


def test_the_command_writes_pictures(gated_run: Path, photo: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app,
        ["explain", str(gated_run), str(photo), "--method", "grad-cam", "--gif", "--json",
         "--out", str(tmp_path), "--threads", "1"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert [view["layer"] for view in record["views"]] == ["norm"]
    assert (tmp_path / record["views"][0]["labels"][0]["picture"]).stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--method", "rollout"], "'rollout' cannot be used with this network"),
        (["--label", "blight"], "no label 'blight'"),
        (["--over-epochs"], "kept no weights of its epochs"),
    ],
)
def test_the_impossible_is_refused_in_words(
    options: list[str], sentence: str, gated_run: Path, photo: Path, tmp_path: Path
) -> None:
    done = CliRunner().invoke(
        app, ["explain", str(gated_run), str(photo), *options, "--out", str(tmp_path)]
    )
    assert done.exit_code == 2
    assert sentence in " ".join(done.stderr.replace("│", " ").split())


def test_a_layer_that_is_not_there_is_refused(choosy: Model, photo: Path) -> None:
    with pytest.raises(InputError, match=r"no layer with places called 'nine'.*blocks\.0"):
        explain_photo(choosy, photo, Question(method="grad-cam", layer="nine"))
