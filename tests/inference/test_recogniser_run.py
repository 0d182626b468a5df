"""A recogniser through the same doors: train, load, diagnose, evaluate, report, explain, export."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import leafscout
from leafscout.errors import InputError
from leafscout.glance.view import take_square
from leafscout.inference.answer import PhotoDiagnosis
from leafscout.inference.evaluate import evaluate_run
from leafscout.inference.explain_photo import Question, explain_photo
from leafscout.inference.export_run import RUNTIME_OF, ExportOptions, export_run
from leafscout.inference.looks import answer_with
from leafscout.inference.stage_times import ONE_NETWORK_STAGES, bench_model, find_models
from leafscout.manifest import read_manifest
from leafscout.nn.spatial_transformer import rotation_affine, turn_back
from leafscout.photos.decode import decode_photo
from leafscout.recogniser_model import UNJUDGED, RecogniserModel, lay_over_photo
from leafscout.recogniser_networks import TorchPhotoNetwork
from leafscout.reports.run_report import write_run_report
from leafscout.training.plan import PlanWishes, make_plan
from leafscout.training.recogniser_recipe import RECOGNISER_RECIPES
from leafscout.training.run import TrainOptions, train
from leafscout.training.teacher import load_teacher

OPTIONS = TrainOptions(threads=1, workers=1, seed=2)
SMALL = {"epochs": 2, "photo_px": 64, "batch": 4, "features": 8}
RECIPES = sorted(name for name in RECOGNISER_RECIPES if name.startswith("small_"))
SMALLER = {
    "efficientnet": {},
    "efficientnet_g16": {},
    "eva_stn": {"encoder": "small_eva"},
    "arc_psa_swin": {"encoder": "small_swin"},
}
"""Recipe → what a training of seconds replaces of it, beside the size of the photo."""


@pytest.fixture(scope="module", params=RECIPES)
def any_run(
    request: pytest.FixtureRequest, used_photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("recogniser") / "run"
    return train(used_photos, out, recipe=request.param, overrides=SMALL, options=OPTIONS)


@pytest.fixture(scope="module")
def stn_run(used_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stn") / "run"
    settings = {**SMALL, "encoder": "small_efficientnet"}
    return train(used_photos, out, recipe="small_eva_stn", overrides=settings, options=OPTIONS)


def network_of(run: Path) -> torch.nn.Module:
    core = leafscout.load(run).recogniser
    assert isinstance(core, RecogniserModel)
    assert isinstance(core.network, TorchPhotoNetwork)
    return core.network.network


def test_the_run_folder_says_what_it_holds(any_run: Path) -> None:
    manifest = read_manifest(any_run / "model")
    assert manifest.family == "recogniser"
    assert json.loads((any_run / "plan.json").read_text())["recipe"]["family"] == "recogniser"
    header, *rows = (any_run / "history.csv").read_text().splitlines()
    assert {"epoch", "train_loss", "train_f1", "train_map", "train_acc"} <= set(header.split(","))
    assert {"val_loss", "val_f1", "val_map", "val_acc"} <= set(header.split(","))
    assert len(rows) == 2
    assert (any_run / "model" / "recogniser.safetensors").is_file()


def test_every_recipe_is_trained_here() -> None:
    assert {*RECIPES, *SMALLER} == set(RECOGNISER_RECIPES)


@pytest.mark.parametrize("recipe", sorted(SMALLER))
def test_a_large_recipe_trains_on_small_photos(
    used_photos: Path, tmp_path: Path, recipe: str
) -> None:
    """With its own losses, batches and rates; from chance, and where it must, a small encoder."""
    settings = {"photo_px": 64, "epochs": 1, "pretrained": "no", **SMALLER[recipe]}
    run = train(used_photos, tmp_path / "run", recipe=recipe, overrides=settings, options=OPTIONS)
    assert read_manifest(run / "model").family == "recogniser"
    probs = leafscout.load(run).diagnose(used_photos / "1.png").diagnosis.label_probs
    assert probs.shape == (2,)
    assert np.isfinite(probs).all()


def test_a_photo_gets_the_same_answer_alone_in_a_folder_and_as_pixels(
    any_run: Path, used_photos: Path, same_every_way: Callable[..., list[PhotoDiagnosis]]
) -> None:
    for answer in same_every_way(any_run, used_photos):
        cost = answer.diagnosis.cost
        assert (cost.tiles_read, cost.tiles_total, cost.area_read_frac) == (1, 1, 1.0)
        assert cost.macs == cost.macs_all_tiles > 0


def test_the_model_folder_holds_the_head_that_learnt(any_run: Path) -> None:
    """The very weights of the best checkpoint, class centres of ArcFace among them."""
    from leafscout.training.checkpoint import load_tensors

    best = load_tensors(any_run / "checkpoints" / "recogniser" / "best.safetensors")[0]
    for name, value in network_of(any_run).state_dict().items():
        assert torch.equal(value.cpu(), best[f"network/{name}"]), name


def test_it_is_evaluated_compared_and_reported(
    any_run: Path, photo_writer: Callable[..., Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(any_run, run)
    rows = [("a.png", "rust"), ("b.png", "healthy"), ("c.png", "mildew"), ("d.png", "rust mildew")]
    new = photo_writer(tmp_path / "new", rows, seed=5)
    evaluate_run(run, new, baselines=True, baseline_px=None)
    assert (run / "evaluation.json").is_file()
    assert write_run_report(run).stat().st_size > 10_000


@pytest.mark.parametrize("method", ["grad-cam", None])
def test_it_is_explained(any_run: Path, used_photos: Path, method: str | None) -> None:
    model = leafscout.load(any_run)
    found = explain_photo(model, used_photos / "1.png", Question(labels=("rust",), method=method))
    (view,) = found.views
    heat = view.labels[0].over
    assert view.view == "photo"
    assert heat.covers_px_hw == tuple(map(float, found.answer.photo.size_px_hw))
    assert 0.0 <= float(heat.heat.min()) <= float(heat.heat.max()) <= 1.0


def test_attention_is_shown_where_there_is_some(any_run: Path, used_photos: Path) -> None:
    encoder = read_manifest(any_run / "model").expert
    attention = {"small_eva": "rollout", "small_vit": "rollout", "small_swin": "window-attention"}
    wanted = attention.get(encoder)
    question = Question(labels=("rust",), method=wanted or "rollout")
    model = leafscout.load(any_run)
    if wanted is None:
        with pytest.raises(InputError, match="rollout"):
            explain_photo(model, used_photos / "1.png", question)
    else:
        assert explain_photo(model, used_photos / "1.png", question).views[0].method == wanted


def test_what_it_cannot_do_it_says(any_run: Path) -> None:
    with pytest.raises(InputError, match="one network without scout and expert"):
        _ = leafscout.load(any_run).core
    convolutions = "efficientnet" in read_manifest(any_run / "model").expert
    why = "at least 30 photos to calibrate int8 on, but got " if convolutions else "little would be"
    with pytest.raises(InputError, match=why):
        export_run(any_run, ExportOptions(int8=True, threads=1))
    assert not (any_run / "exports").exists()


@pytest.mark.parametrize("recipe", sorted(RECOGNISER_RECIPES))
def test_no_plan_is_made_for_one_look(recipe: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"as it is: leafscout train PHOTOS --recipe {recipe}"):
        make_plan(tmp_path, PlanWishes(recipe=recipe))


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_an_exported_one_answers_as_the_run_does(
    any_run: Path, used_photos: Path, tmp_path: Path, target: str
) -> None:
    if target == "openvino" and importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    options = ExportOptions(target, out=tmp_path / "out", photos=(used_photos,))
    made = export_run(any_run, options)
    assert made.parity.max_prob_change < 1e-4
    said = " ".join(made.parity.sentences())
    assert "Compared with PyTorch on 8 photos" in said
    assert "scout" not in said
    assert "tiles" not in said
    exported, own = leafscout.load(tmp_path / "out"), leafscout.load(any_run)
    for path in sorted(used_photos.glob("*.png"))[:2]:
        one, other = exported.diagnose(path).diagnosis, own.diagnose(path).diagnosis
        np.testing.assert_allclose(one.label_probs, other.label_probs, atol=1e-4)
        np.testing.assert_allclose(one.lesion_map, other.lesion_map, atol=1e-3)
    times = bench_model(find_models(tmp_path / "out")[0], [used_photos / "1.png"], threads=1)
    assert times.name == f"{RUNTIME_OF[target]} fp32"
    assert tuple(times.stages) == ONE_NETWORK_STAGES
    assert times.tiles_read == 1
    with pytest.raises(InputError, match="cannot be looked into"):
        explain_photo(exported, used_photos / "1.png", Question(labels=("rust",)))


@pytest.fixture(scope="module")
def many_photos(
    photo_writer: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    rows = [(f"{number}.png", "rust") for number in range(30)]
    return photo_writer(tmp_path_factory.mktemp("many") / "photos", rows, seed=8)


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_int8_says_nearly_the_same_in_fewer_bytes(
    stn_run: Path, many_photos: Path, used_photos: Path, tmp_path: Path, target: str
) -> None:
    if target == "openvino" and importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    made = export_run(
        stn_run,
        ExportOptions(
            target, int8=True, out=tmp_path / "out", photos=(used_photos,), threads=1,
            calibration=(many_photos,), max_changed=0.5,
        ),
    )  # fmt: skip
    entry = read_manifest(tmp_path / "out").export
    assert entry is not None
    assert (entry.precision, entry.calibration_photos, entry.calibration_tiles) == ("int8", 30, 30)
    assert entry.fp32_layers == {"recogniser": ()}
    assert "of fp32's." in made.notes[0]
    assert 0.0 < made.parity.max_prob_change < 0.1
    assert "scout" not in " ".join((*made.parity.sentences(), *made.notes))
    times = bench_model(find_models(tmp_path / "out")[0], [used_photos / "1.png"], threads=1)
    assert times.name == f"{RUNTIME_OF[target]} int8"
    assert sorted(one.name for one in (tmp_path / "out").iterdir() if one.is_dir()) == []


def test_evidence_of_places_is_that_of_the_photo(stn_run: Path, used_photos: Path) -> None:
    """Where the encoder sees a turned photo, its places are turned back before they are shown."""
    network = network_of(stn_run)
    core = leafscout.load(stn_run).recogniser
    with torch.no_grad():
        network.transformer.to_affine.bias.copy_(rotation_affine(torch.tensor([90.0]))[0].flatten())
    photo = decode_photo(used_photos / "1.png")
    before = core.forward(photo)[0].place_logits
    turned = RecogniserModel(TorchPhotoNetwork(network, torch.device("cpu")), core.rules)
    after = turned.forward(photo)[0].place_logits
    assert before.shape == after.shape
    maps = torch.arange(16.0).view(1, 1, 4, 4)
    quarter = rotation_affine(torch.tensor([90.0]))
    assert torch.allclose(turn_back(torch.rot90(maps, -1, (2, 3)), quarter), maps, atol=1e-4)


def test_places_of_a_squeezed_photo_lie_where_they_are() -> None:
    places = np.array([[[1.0, 2.0], [3.0, 4.0]]], dtype=np.float32)
    assert np.array_equal(lay_over_photo(places, (10, 10)), places)
    # A photo twice as wide as high fills the upper half of its tile.
    wide = lay_over_photo(np.repeat(np.repeat(places, 2, axis=1), 2, axis=2), (10, 20))
    assert np.array_equal(wide[0, :2], [[1, 1, 2, 2], [3, 3, 4, 4]])
    assert (wide[0, 2:] == UNJUDGED).all()
    none = lay_over_photo(np.zeros((3, 0, 0), dtype=np.float32), (10, 20))
    assert none.shape == (3, 1, 1)
    assert (none == UNJUDGED).all()


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"encoder": "small_swin", "photo_px": 50}, "50 px|photo_px"),
        ({"encoder": "resnet_that_is_not"}, "resnet_that_is_not"),
        ({"oversample": "blight:3"}, "mildew, rust"),
        ({"tile_px": 96}, "tile_px"),
        ({"photo_px": 100}, "multiple of 16, such as 112"),
        ({"distil_temperature": 3.0}, "takes no --distil, --soft-labels, --temperature"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_written(
    used_photos: Path, tmp_path: Path, overrides: dict[str, object], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        train(used_photos, tmp_path / "run", recipe="small_vit", overrides=overrides,
              options=OPTIONS)  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_options_of_other_recipes_are_refused(used_photos: Path, tmp_path: Path) -> None:
    options = TrainOptions(threads=1, workers=1, unlabelled=tmp_path)
    with pytest.raises(InputError, match="--unlabelled"):
        train(used_photos, tmp_path / "run", recipe="small_vit", options=options)
    options = TrainOptions(threads=1, workers=1, time_s=0.0)
    with pytest.raises(InputError, match="--time to be positive"):
        train(used_photos, tmp_path / "run", recipe="small_vit", options=options)
    other = tmp_path / "weights.safetensors"
    from safetensors.torch import save_file

    save_file({"head": torch.zeros(2)}, other)
    with pytest.raises(InputError, match="do not fit"):
        train(
            used_photos, tmp_path / "run", recipe="small_vit", overrides=SMALL,
            options=TrainOptions(threads=1, workers=1, weights=other),
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_label_that_validation_lacks_is_named_from_training_to_diagnosis(
    photo_writer: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(f"{number}.png", ("healthy", "rust", "mildew")[number % 3]) for number in range(9)]
    photos = photo_writer(tmp_path / "photos", rows, seed=7)
    splits = ["val" if number in (3, 5, 6) else "train" for number in range(9)]
    lines = ["image,labels,split"]
    lines += [f"{name},{label},{split}" for (name, label), split in zip(rows, splits, strict=True)]
    (photos / "labels.csv").write_text("\n".join(lines) + "\n")
    run = train(photos, tmp_path / "run", recipe="small_vit", overrides=SMALL, options=OPTIONS)
    said = "No validation photo has rust"
    assert said in " ".join(capsys.readouterr().err.split())
    _, notes = answer_with(leafscout.load(run))
    assert notes[0].startswith(said)
    assert answer_with(leafscout.load(run), thresholds=None)[1] == notes


@pytest.mark.parametrize(
    ("options", "overrides", "named"),
    [
        (TrainOptions(teacher_kind="wizard"), {}, "wizard"),
        (TrainOptions(), {"hidden_share": 0.4}, "--teacher"),
    ],
)
def test_lessons_without_a_teacher_are_refused(
    used_photos: Path,
    tmp_path: Path,
    options: TrainOptions,
    overrides: dict[str, object],
    named: str,
) -> None:
    with pytest.raises(InputError, match=named):
        train(
            used_photos, tmp_path / "run", recipe="small_vit", overrides=overrides,
            options=options,
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_stopped_goes_on(used_photos: Path, any_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(any_run, run)
    shutil.rmtree(run / "model")
    recipe = json.loads((run / "plan.json").read_text())["recipe"]["name"]
    resumed = TrainOptions(threads=1, workers=1, seed=2, resume=True)
    train(used_photos, run, recipe=recipe, overrides=SMALL, options=resumed)
    again, before = (read_manifest(folder / "model") for folder in (run, any_run))
    assert again.files == before.files


def test_weights_of_another_shape_are_refused(any_run: Path, tmp_path: Path) -> None:
    from leafscout.manifest import MANIFEST_NAME, RecogniserEntry, seal_manifest

    run = tmp_path / "run"
    shutil.copytree(any_run, run)
    manifest = read_manifest(run / "model")
    entry = manifest.recogniser
    assert isinstance(entry, RecogniserEntry)
    other = entry.model_copy(update={"polarised": not entry.polarised})
    (run / "model" / MANIFEST_NAME).write_bytes(
        seal_manifest(manifest.model_copy(update={"recogniser": other}))
    )
    with pytest.raises(InputError, match="does not hold the weights"):
        leafscout.load(run)


def test_a_larger_one_learns_its_features(stn_run: Path, used_photos: Path, tmp_path: Path) -> None:
    """Nothing of the lesson stays in the model; a stop within it costs nothing."""
    options = TrainOptions(threads=1, workers=1, seed=2, teacher=stn_run)
    settings = {**SMALL, "hidden_share": 0.3}
    run = train(
        used_photos, tmp_path / "run", recipe="small_vit", overrides=settings, options=options
    )
    alone = train(
        used_photos, tmp_path / "alone", recipe="small_vit", overrides=SMALL, options=OPTIONS
    )
    assert json.loads((run / "plan.json").read_text())["teacher"]["kind"] == "photo"
    taught, own = network_of(run).state_dict(), network_of(alone).state_dict()
    assert taught.keys() == own.keys()
    assert any(not torch.equal(taught[name], own[name]) for name in own)
    shutil.rmtree(run / "model")
    resumed = TrainOptions(threads=1, workers=1, seed=2, teacher=stn_run, resume=True)
    train(used_photos, run, recipe="small_vit", overrides=settings, options=resumed)
    again = network_of(run).state_dict()
    assert all(torch.equal(taught[name], again[name]) for name in taught)
    with pytest.raises(InputError, match="begun with another"):
        train(
            used_photos, run, recipe="small_vit", overrides=SMALL,
            options=TrainOptions(threads=1, workers=1, seed=2, resume=True),
        )  # fmt: skip


def test_it_teaches_what_photos_show_but_not_where(
    any_run: Path, used_photos: Path, tmp_path: Path
) -> None:
    asked = TrainOptions(threads=1, workers=1, teacher=any_run)
    with pytest.raises(InputError, match="--teacher-kind photo"):
        train(used_photos, tmp_path / "run", recipe="tiny", options=asked)
    teacher = load_teacher(any_run, "photo", torch.device("cpu"))
    side = teacher.side_px
    assert teacher.square
    assert teacher.photo_network is not None
    photo = decode_photo(used_photos / "1.png")
    said = teacher.photo_network(torch.from_numpy(take_square(photo, side)).permute(2, 0, 1)[None])
    own = leafscout.load(any_run).recogniser.forward(photo)[0].focus_logits
    np.testing.assert_allclose(said[0].numpy(), own, atol=1e-5)
    assert teacher.count_macs((3000, 4000)) == teacher.count_macs((500, 400)) > 0
