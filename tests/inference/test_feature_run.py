"""What models find alike: features of every family, checked against the networks themselves."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import leafscout
from leafscout.cli import app
from leafscout.errors import InputError
from leafscout.evaluation.feature_space import agree_with_neighbours
from leafscout.glance.view import take_square
from leafscout.inference.feature_run import FeatureWishes, study_features
from leafscout.inference.photo_features import feature_readers, read_features
from leafscout.networks import TorchNetworks, to_batch
from leafscout.photos.decode import open_photo
from leafscout.recogniser_networks import TorchPhotoNetwork
from leafscout.training.run import TrainOptions, train

OPTIONS = TrainOptions(threads=1, workers=1, seed=2)
SETTINGS = {
    "small_arc_psa_swin": {"epochs": 1, "photo_px": 64, "batch": 4, "features": 8},
    "gated": {"epochs": 1, "glance_px": 128},
    "tiny": {"expert_epochs": 1, "scout_epochs": 1, "tile_px": 64, "glance_px": 64},
}
VIEWS = {"small_arc_psa_swin": ["photo"], "gated": ["tokens"], "tiny": ["tiles", "glance"]}


@pytest.fixture(scope="module", params=sorted(SETTINGS))
def some_run(
    request: pytest.FixtureRequest, used_photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("features") / request.param
    return train(
        used_photos, out, recipe=request.param, overrides=SETTINGS[request.param], options=OPTIONS
    )


def test_every_family_is_laid_out(some_run: Path, used_photos: Path) -> None:
    asked = used_photos / "1.png"
    study, pictures = study_features(
        leafscout.load(some_run, threads=1), FeatureWishes(count=2), [asked]
    )
    said = " ".join(study.notes)
    for name in VIEWS[some_run.name]:
        views = [view for view in study.views if view.view == name]
        assert views or f"{name}: only" in said
        for view in views:
            photos = len(view.photos)
            assert view.neighbours.shape == (photos, 2)
            assert (view.neighbours != np.arange(photos)[:, None]).all()
            assert (np.diff(view.neighbour_cosines, axis=1) <= 1e-9).all()
            assert view.by_variance.shape == (photos, 2)
            assert np.isfinite(view.by_variance).all()
            assert view.centre_cosines.shape == (len(study.labels),) * 2
            assert np.allclose(np.diag(view.centre_cosines), 1)
            for one, label in zip(view.angles, study.labels, strict=True):
                assert one.positive.sum() == sum(label in names for names in view.truth)
                assert one.positive.sum() + one.negative.sum() == photos
    json.dumps(study.to_dict(), allow_nan=False)
    assert any(one.name.startswith("filters_") for one in pictures)


def test_a_recognisers_features_are_what_its_head_reads(used_photos: Path, tmp_path: Path) -> None:
    run = train(
        used_photos, tmp_path / "run", recipe="small_arc_psa_swin",
        overrides=SETTINGS["small_arc_psa_swin"], options=OPTIONS,
    )  # fmt: skip
    model = leafscout.load(run, threads=1)
    (reader,) = feature_readers(model)
    photo = open_photo(used_photos / "1.png")
    (found,) = read_features(model, (reader,), photo)
    assert found is not None
    runtime = model.recogniser.network
    assert isinstance(runtime, TorchPhotoNetwork)
    square = take_square(photo, model.manifest.glance_px)
    with torch.no_grad():
        wanted = runtime.network(to_batch(square[None], runtime.device)).features[0]
    assert np.allclose(found.values, wanted.numpy(), atol=1e-5)
    height, width = photo.size_px_hw
    assert found.box_px_xyxy == (0, 0, width, height)


def test_an_experts_features_are_of_the_place_with_the_most_evidence(
    untrained_run: Path, used_photos: Path
) -> None:
    model = leafscout.load(untrained_run, threads=1)
    photo = open_photo(used_photos / "1.png")
    readers = feature_readers(model)
    of_tiles, of_glance = read_features(model, readers, photo)
    evidence, tiles = model.recogniser.forward(photo)
    assert of_tiles is not None
    assert of_glance is not None
    networks = model.core.networks
    assert isinstance(networks, TorchNetworks)
    head = networks.expert.head
    said = torch.from_numpy(of_tiles.values) @ head.weight.detach()[:, :, 0, 0].T
    said = said + head.bias.detach()
    assert float(said.max()) == pytest.approx(float(evidence.place_logits.max()), abs=1e-4)
    boxes = tiles.boxes_px_xyxy[evidence.read].tolist()
    assert list(of_tiles.box_px_xyxy) in boxes
    loudest = evidence.place_logits.max(axis=(1, 2, 3)).argmax()
    assert list(of_tiles.box_px_xyxy) == boxes[int(loudest)]


def test_neighbours_that_share_their_labels_are_counted_by_hand() -> None:
    truth = np.array([[1, 0], [1, 0], [0, 1], [0, 0]])
    neighbours = np.array([[1, 2], [0, 2], [3, 0], [2, 1]])
    same, chance = agree_with_neighbours(truth, neighbours)
    assert same == pytest.approx(2 / 8)
    assert chance == pytest.approx(2 / 12)
    assert np.isnan(agree_with_neighbours(truth[:1], neighbours[:1])).all()


def test_the_command_writes_page_tables_and_pictures_and_the_report_shows_them(
    some_run: Path, used_photos: Path, tmp_path: Path
) -> None:
    asked = used_photos / "1.png"
    said = CliRunner().invoke(app, ["features", str(some_run), str(asked), "--count", "2"])
    assert said.exit_code == 0, said.output
    folder = some_run / "features"
    assert "photos most alike" in said.output
    page = (folder / "features.html").read_text(encoding="utf-8")
    study = json.loads((folder / "features.json").read_text())
    for view in study["views"]:
        for kind in ("map", "angles", "centres"):
            with Image.open(folder / f"feature_{kind}_{view['view']}.png") as picture:
                assert min(picture.size) > 200
        assert view["sentence"] in page
    assert "http" not in page.replace("http-equiv", "")
    with (folder / "features.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(view["photos"]) for view in study["views"])
    assert all(row["nearest"].count("|") == 1 for row in rows)
    assert "What it finds alike" in (some_run / "report.html").read_text(encoding="utf-8")


def test_pictures_of_labels_are_drawn_on_demand(some_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ["features", str(some_run), "--count", "2", "--label-pictures", "--out", str(out)]
    said = CliRunner().invoke(app, asked)
    assert said.exit_code == 0, said.output
    drawn = sorted(path.stem for path in out.glob("labels_*.png"))
    # A token is no picture that could be made larger in one label's favour.
    assert drawn == sorted(f"labels_{view}" for view in VIEWS[some_run.name] if view != "tokens")


def test_mistakes_are_sentences(some_run: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["features", str(some_run), "--count", "4000"])
    assert run.exit_code == 2
    assert "too few to be laid out" in run.output
    none = CliRunner().invoke(app, ["features", str(some_run), str(tmp_path / "none.jpg")])
    assert none.exit_code == 2
    assert "none.jpg" in none.output


def test_an_exported_model_is_refused(exported_run: Path) -> None:
    with pytest.raises(InputError, match="exported one"):
        feature_readers(leafscout.load(exported_run / "exports" / "onnx", threads=1))
