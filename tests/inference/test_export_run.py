"""``leafscout export`` from outside: what it writes, that it says the same, and what it refuses."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner, Result

import leafscout
from leafscout.cli import app
from leafscout.errors import InputError
from leafscout.export import openvino_graphs
from leafscout.focus.expert import Expert, ExpertOutput
from leafscout.inference.run_photos import find_run_photos
from leafscout.manifest import Manifest, read_manifest, seal_manifest, sha256_of
from leafscout.types import Diagnosis

MISTAKE = 2
HAS_OPENVINO = importlib.util.find_spec("openvino") is not None


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], prog_name="leafscout")


def words(result: Result) -> str:
    """Everything said, without line breaks and frames: the terminal's width does not matter."""
    return " ".join((result.stdout + result.stderr).replace("│", " ").split())


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def assert_alike(one: Diagnosis, other: Diagnosis) -> None:
    np.testing.assert_allclose(one.label_probs, other.label_probs, atol=1e-5)
    np.testing.assert_allclose(one.scout_probs, other.scout_probs, atol=1e-5)
    np.testing.assert_allclose(one.tile_probs, other.tile_probs, atol=1e-5)
    np.testing.assert_array_equal(one.read, other.read)
    assert (one.present, one.lesion_map_px) == (other.present, other.lesion_map_px)
    assert one.cost.macs == other.cost.macs


@pytest.fixture(scope="module")
def many_photos(
    photo_writer: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Photos of which the model reads 36 tiles."""
    rows = [(f"{index}.png", "rust") for index in range(18)]
    return photo_writer(tmp_path_factory.mktemp("many") / "photos", rows, seed=5)


@pytest.fixture
def copied_run(exported_run: Path, tmp_path: Path) -> Path:
    """A run with an export, to be spoiled."""
    return Path(shutil.copytree(exported_run, tmp_path / "copied"))


# What is written --------------------------------------------------------------------------------


def test_the_folder_says_what_it_holds(exported_run: Path) -> None:
    folder = exported_run / "exports" / "onnx"
    assert names(folder) == ["expert.onnx", "manifest.json", "scout.onnx"]
    manifest, source = read_manifest(folder), read_manifest(exported_run / "model")
    assert manifest.rules() == source.rules()
    assert manifest.files == {name: sha256_of(folder / name) for name in names(folder)[::2]}
    export = manifest.export
    assert export is not None
    assert (export.runtime, export.precision) == ("onnxruntime", "fp32")
    assert export.source_files == source.files
    assert export.parity.photos == 2, "the validation photos"
    assert export.parity.decisions_changed == 0
    assert 0 <= export.parity.max_prob_change < 1e-4


def test_python_and_command_line_say_the_same_as_torch(
    exported_run: Path, used_photos: Path, tmp_path: Path
) -> None:
    reference = leafscout.load(exported_run)
    moved = shutil.copytree(exported_run / "exports" / "onnx", tmp_path / "moved")
    exported = leafscout.load(moved, threads=1)
    assert type(exported.core.networks) is not type(reference.core.networks)
    paths = [used_photos / f"{index}.png" for index in range(8)]
    for path in paths:
        assert_alike(exported.diagnose(path).diagnosis, reference.diagnose(path).diagnosis)
        assert_alike(
            exported.diagnose(path, read_all=True).diagnosis,
            reference.diagnose(path, read_all=True).diagnosis,
        )
    result = run("diagnose", moved, *paths, "--json", "--threads", "1")
    assert result.exit_code == 0, words(result)
    for line, path in zip(result.stdout.splitlines(), paths, strict=True):
        probs = {row["label"]: row["prob"] for row in json.loads(line)["labels"]}
        assert probs == pytest.approx(reference.diagnose(path).probs, abs=1e-5)


def test_a_tile_says_the_same_in_any_company(exported_run: Path) -> None:
    networks = leafscout.load(exported_run / "exports" / "onnx").core.networks
    tiles = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    together = networks.run_expert(tiles)
    for index in range(5):
        for many, one in zip(together, networks.run_expert(tiles[index : index + 1]), strict=True):
            np.testing.assert_array_equal(many[index], one[0])


def test_an_exported_model_needs_no_training_packages(
    exported_run: Path, used_photos: Path
) -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from leafscout.cli import app\n"
        "done = CliRunner().invoke(app, sys.argv[1:])\n"
        "assert done.exit_code == 0, done.output + done.stderr\n"
        "named = 'torch torchvision timm sklearn pandas matplotlib scipy onnx openvino'.split()\n"
        "print([name for name in named if name in sys.modules])\n"
    )
    folder = exported_run / "exports" / "onnx"
    for command in (
        ["diagnose", str(folder), str(used_photos / "1.png"), "--json"],
        ["bench", str(folder), str(used_photos / "1.png"), "--repeats", "1", "--json"],
        ["export", "--help"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "[]", command


@pytest.mark.skipif(not HAS_OPENVINO, reason="OpenVINO is not installed")
def test_openvino_in_full_precision(exported_run: Path, used_photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "ov"
    result = run("export", exported_run, "--to", "openvino", "--out", out, "--threads", "1")
    assert result.exit_code == 0, words(result)
    assert names(out) == ["expert.bin", "expert.xml", "manifest.json", "scout.bin", "scout.xml"]
    exported, reference = leafscout.load(out, threads=1), leafscout.load(exported_run)
    for index in range(4):
        path = used_photos / f"{index}.png"
        assert_alike(exported.diagnose(path).diagnosis, reference.diagnose(path).diagnosis)


# int8 -------------------------------------------------------------------------------------------


def test_int8_says_nearly_the_same_in_fewer_bytes(
    exported_run: Path, many_photos: Path, used_photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "int8"
    result = run(
        "export", exported_run, "--int8", "--calibration", many_photos, "--photos", used_photos,
        "--max-changed", "0.5", "--out", out, "--threads", "1",
    )  # fmt: skip
    assert result.exit_code == 0, words(result)
    export = read_manifest(out).export
    assert export is not None
    assert (export.precision, export.calibration_photos) == ("int8", 18)
    assert export.calibration_tiles == 36
    assert export.parity.photos == 8
    assert 1e-6 < export.parity.max_prob_change < 0.1, "rounded, but not by much"
    whole = exported_run / "exports" / "onnx"
    assert (out / "expert.onnx").stat().st_size < 0.7 * (whole / "expert.onnx").stat().st_size
    exported, reference = leafscout.load(out, threads=1), leafscout.load(whole, threads=1)
    for path in sorted(used_photos.glob("*.png")):
        probs = [model.diagnose(path, read_all=True).diagnosis for model in (exported, reference)]
        np.testing.assert_allclose(probs[0].label_probs, probs[1].label_probs, atol=0.1)


def test_int8_keeps_no_promise(copied_run: Path, many_photos: Path, used_photos: Path) -> None:
    path = copied_run / "model" / "manifest.json"
    values = json.loads(path.read_text())
    values["promise"] = {
        "loss_frac": 0.1, "confidence": 0.9, "per_label": False, "words": "At most 10%.",
        "choice": values["choice"], "choice_before": values["choice"],
    }  # fmt: skip
    path.write_bytes(seal_manifest(Manifest.model_validate(values)))
    common = ["--photos", used_photos, "--threads", "1"]
    result = run("export", copied_run, *common)
    assert result.exit_code == 0, words(result)
    assert read_manifest(copied_run / "exports" / "onnx").promise is not None
    result = run(
        "export",
        copied_run,
        "--int8",
        "--calibration",
        many_photos,
        "--max-changed",
        "0.5",
        *common,
    )
    assert result.exit_code == 0, words(result)
    assert "The promise about lost diagnoses was made with other numbers" in words(result)
    assert read_manifest(copied_run / "exports" / "onnx-int8").promise is None


# What is refused --------------------------------------------------------------------------------


def refused(*args: str | Path) -> str:
    result = run("export", *args)
    assert result.exit_code == MISTAKE, words(result)
    assert isinstance(result.exception, SystemExit), "no traceback"
    assert "Traceback" not in words(result)
    return words(result)


def test_an_unfinished_run(untrained_run: Path) -> None:
    shutil.rmtree(untrained_run / "model")
    said = refused(untrained_run)
    assert "no trained model in" in said
    assert "--resume` goes on with a stopped run" in said
    assert not (untrained_run / "exports").exists()


def test_an_exported_model(exported_run: Path) -> None:
    said = refused(exported_run / "exports" / "onnx")
    assert "onnx is an exported model already. Name the run folder that it was made from." in said


def test_a_model_folder_without_its_run(
    exported_run: Path, used_photos: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(exported_run / "model", tmp_path / "model")
    assert "Name the folder to write with --out." in refused(model, "--photos", used_photos)
    out = tmp_path / "out"
    assert "splits.csv is missing. Name photos with --photos." in refused(model, "--out", out)
    done = run("export", model, "--out", out, "--photos", used_photos / "1.png", "--threads", "1")
    assert done.exit_code == 0, words(done)
    assert names(out) == ["expert.onnx", "manifest.json", "scout.onnx"]


def test_photos_that_are_gone(copied_run: Path) -> None:
    path = copied_run / "plan.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "data": str(copied_run / "gone")}))
    said = refused(copied_run)
    assert "cannot be used:" in said
    assert "gone now. Name photos with --photos." in said


def test_weights_that_were_changed(copied_run: Path) -> None:
    weights = copied_run / "model" / "scout.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "scout.safetensors is missing or was changed" in refused(copied_run)


@pytest.mark.parametrize(
    ("package", "args", "command"),
    [
        ("onnx", [], 'pip install "leafscout[export]"'),
        ("onnxscript", [], 'pip install "leafscout[export]"'),
        ("openvino", ["--to", "openvino"], 'pip install "leafscout[openvino]"'),
    ],
)
def test_a_missing_package_is_named_with_what_installs_it(
    package: str,
    args: list[str],
    command: str,
    untrained_run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: None if name == package else find(name)
    )
    said = refused(untrained_run, *args)
    assert f"needs the package {package}, which is not installed. Install it: {command}" in said
    assert not (untrained_run / "exports").exists()


def test_too_few_tiles_to_calibrate_on(untrained_run: Path) -> None:
    said = refused(untrained_run, "--int8", "--threads", "1")
    assert "Expected at least 30 tiles to calibrate int8 on, but the model reads only 8 in" in said
    assert "the 4 photos given. Name more photos with --calibration." in said
    assert not (untrained_run / "exports").exists()


def test_healthy_photos_alone_to_calibrate_on(
    copied_run: Path, many_photos: Path, used_photos: Path
) -> None:
    path = copied_run / "model" / "manifest.json"
    values = {**json.loads(path.read_text()), "thresholds": [1.0, 1.0]}
    path.write_bytes(seal_manifest(Manifest.model_validate(values)))
    said = refused(copied_run, "--int8", "--calibration", many_photos, "--photos", used_photos)
    assert "finds no disease in any of the 18 photos given to calibrate int8 on. Name ph" in said


def test_calibration_without_int8(exported_run: Path, used_photos: Path) -> None:
    assert "--calibration is for int8 alone" in refused(exported_run, "--calibration", used_photos)


def test_a_folder_without_photos(exported_run: Path, tmp_path: Path) -> None:
    assert "holds no photos. Name another one." in refused(exported_run, "--photos", tmp_path)


def test_a_place_in_use_and_one_that_cannot_be(untrained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    said = refused(untrained_run, "--out", tmp_path)
    assert "exists and is not an earlier export. Choose another folder with --out." in said
    said = refused(untrained_run, "--out", tmp_path / "mine.txt" / "onnx")
    assert "cannot be written (" in said
    assert "Choose another one with --out." in said


def test_limits_out_of_range(exported_run: Path) -> None:
    assert "--tolerance to be above 0" in refused(exported_run, "--tolerance", "0")
    assert "--max-changed to be from 0 to below 1" in refused(exported_run, "--max-changed", "1")


def test_a_model_that_differs_is_not_written(
    untrained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph is drawn from an expert that says something else than the one that was trained."""
    said = Expert.forward

    def forward(self: Expert, tiles: Tensor) -> ExpertOutput:
        out = said(self, tiles)
        drawing = torch.compiler.is_exporting()
        return out._replace(tile_logits=out.tile_logits + (4.0 if drawing else 0.0))

    monkeypatch.setattr(Expert, "forward", forward)
    message = refused(untrained_run, "--threads", "1")
    assert "2 of 2 photos" in message
    assert "Nothing was written." in message
    assert not (untrained_run / "exports").exists()


def test_an_operator_that_openvino_does_not_know(
    exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not HAS_OPENVINO:
        pytest.skip("OpenVINO is not installed")
    broken = tmp_path / "scout.onnx"
    data = (exported_run / "exports" / "onnx" / "scout.onnx").read_bytes()
    broken.write_bytes(data.replace(b"TopK", b"TopJ"))
    with pytest.raises(InputError, match=r"OpenVINO cannot take over scout\.onnx"):
        openvino_graphs.convert_graph(broken, tmp_path / "scout.xml")


# Real photos ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.real_photos
def test_real_photos_get_the_same_answer(
    exported_run: Path, real_data: Path, tmp_path: Path
) -> None:
    photos = sorted((real_data / "coffee" / "images").glob("*.jpg"))[:6]
    assert len(photos) == 6
    reference = leafscout.load(exported_run)
    exported = leafscout.load(exported_run / "exports" / "onnx", threads=1)
    for path in photos:
        assert_alike(exported.diagnose(path).diagnosis, reference.diagnose(path).diagnosis)


def test_photos_beside_a_label_file_are_found_where_the_labels_found_them(
    untrained_run: Path, used_photos: Path, tmp_path: Path
) -> None:
    """Label files may name photos that lie in a folder ``images`` beside them."""
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    for photo in used_photos.glob("*.png"):
        shutil.copy(photo, data / "images" / photo.name)
    shutil.copy(used_photos / "labels.csv", data / "labels.csv")
    path = untrained_run / "plan.json"
    plan = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**plan, "data": str(data)}), encoding="utf-8")
    found = find_run_photos(untrained_run, "val", option="--photos")
    assert [one.parent.name for one in found] == ["images", "images"]
    assert all(one.is_file() for one in found)
