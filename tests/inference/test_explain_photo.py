"""leafscout explain: pictures for labels and views, films, and refusals in words."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from leafscout.cli import app
from leafscout.errors import InputError
from leafscout.inference.explain_photo import Question, explain_photo
from leafscout.inference.explanation_files import write_explanation
from leafscout.inference.load import Model, load


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture
def model(untrained_run: Path) -> Model:
    return load(untrained_run, threads=1)


@pytest.fixture
def photo(used_photos: Path) -> Path:
    return min(used_photos.glob("*.png"))


def test_class_maps_of_the_tiles_are_the_lesion_map(model: Model, photo: Path) -> None:
    labels = model.labels
    found = explain_photo(model, photo, Question(labels=labels, method="cam"))
    tiles, glance = found.views
    assert (tiles.view, glance.view) == ("tiles", "glance")
    lesion_map = found.answer.diagnosis.lesion_map
    for one, wanted in zip(tiles.labels, lesion_map, strict=True):
        assert np.allclose(one.over.heat, wanted, atol=1e-5)
        assert one.over.looked_at is not None
        assert not one.over.heat[~one.over.looked_at].any()


@pytest.mark.parametrize("method", ["grad-cam", "grad-cam++", "saliency", "integrated-gradients"])
def test_heat_of_every_method_is_scaled_and_stays_where_tiles_were_read(
    method: str, model: Model, photo: Path
) -> None:
    found = explain_photo(model, photo, Question(labels=model.labels, method=method))
    for view in found.views:
        assert [one.label for one in view.labels] == list(model.labels)
        for one in view.labels:
            assert float(one.over.heat.min()) >= 0
            assert float(one.over.heat.max()) <= 1 + 1e-6
    json.dumps(found.to_dict(), allow_nan=False)


def test_without_a_label_what_was_found_is_explained(model: Model, photo: Path) -> None:
    found = explain_photo(model, photo, Question())
    diagnosis = found.answer.diagnosis
    most = model.labels[int(np.argmax(diagnosis.label_probs))]
    assert [one.label for one in found.views[0].labels] == (list(diagnosis.present) or [most])


def test_faithfulness_and_layers_are_there_when_asked_for(model: Model, photo: Path) -> None:
    found = explain_photo(
        model, photo, Question(labels=("rust",), faithful=True, by_layer=True, method="grad-cam")
    )
    for view in found.views:
        (one,) = view.labels
        assert one.faithfulness is not None
        assert 0 <= one.faithfulness.deletion_area <= 1
        assert len(one.layers) > 2
    record = found.to_dict()["views"][0]["labels"][0]
    assert {"deletion_area", "insertion_area", "hottest_px_xy"} <= set(record)


def test_pictures_films_and_json_lie_in_one_folder(
    model: Model, photo: Path, tmp_path: Path
) -> None:
    found = explain_photo(model, photo, Question(labels=model.labels, by_layer=True))
    record = write_explanation(found, tmp_path / "out", "leaf", films=True)
    assert json.loads((tmp_path / "out/leaf_explanation.json").read_text()) == record
    names = []
    for view in record["views"]:
        names.append(view["film"])
        for one in view["labels"]:
            names += [one["picture"], one["layers"]["film"], *one["layers"]["pictures"]]
            with Image.open(tmp_path / "out" / one["layers"]["film"]) as film:
                assert getattr(film, "n_frames", 1) > 1
    assert len(set(names)) == len(names)
    for name in names:
        with Image.open(tmp_path / "out" / name) as image:
            assert image.width > 100
    assert not list((tmp_path / "out").rglob("*.unfinished"))


def test_the_command_goes_on_past_a_broken_photo(
    untrained_run: Path, photo: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    out = tmp_path / "out"
    result = run("explain", untrained_run, broken, photo, "--out", out, "--json", "--threads", "1")
    assert result.exit_code == 1
    record = json.loads(result.stdout.strip().splitlines()[-1])
    assert record["source"] == str(photo)
    assert (out / f"{photo.stem}_explanation.json").is_file()
    assert "1 of 2 photos could not be explained" in result.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--method", "magic"], "'magic' does not exist. Expected one of: cam"),
        (["--method", "rollout"], "'rollout' cannot be used with this network"),
        (["--label", "blight"], "no label 'blight'. Its labels are: mildew, rust"),
        (["--layer", "nine"], "Leave the layer out, or use grad-cam"),
    ],
)
def test_the_impossible_is_refused_in_words(
    options: list[str], sentence: str, untrained_run: Path, photo: Path, tmp_path: Path
) -> None:
    result = run("explain", untrained_run, photo, *options, "--out", tmp_path, "--threads", "1")
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.output


def test_exported_models_cannot_be_looked_into(exported_run: Path, photo: Path) -> None:
    model = load(exported_run / "exports" / "onnx", threads=1)
    with pytest.raises(InputError, match="exported one"):
        explain_photo(model, photo, Question())
