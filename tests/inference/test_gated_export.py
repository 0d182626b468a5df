"""The integrated model exported: the same answers, tokens still leave, and no PyTorch is needed."""

import csv
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import leafscout
from leafscout.cli import app
from leafscout.errors import InputError
from leafscout.gated_model import GatedModel
from leafscout.inference.answer import PhotoDiagnosis
from leafscout.inference.evaluate import evaluate_run
from leafscout.inference.explain_photo import Question, explain_photo
from leafscout.inference.export_run import RUNTIME_OF, ExportOptions, export_run
from leafscout.inference.graph_networks import GraphTokenNetwork
from leafscout.inference.load import Model
from leafscout.inference.stage_times import ONE_NETWORK_STAGES, bench_model, find_models
from leafscout.manifest import MANIFEST_NAME, read_manifest

Choose = Callable[[Model, float], Model]
TARGETS = {"onnx": ["early.onnx", "later.onnx"],
           "openvino": ["early.bin", "early.xml", "later.bin", "later.xml"]}  # fmt: skip


@pytest.fixture(scope="module", params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    if request.param == "openvino" and importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    return str(request.param)


@pytest.fixture(scope="module")
def exported(
    target: str, gated_run: Path, used_photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("exported") / target
    export_run(gated_run, ExportOptions(target, out=out, photos=(used_photos,), threads=1))
    return out


@pytest.fixture
def run_with_export(gated_run: Path, exported: Path, target: str, tmp_path: Path) -> Path:
    """A copy of the run that holds its export; may be changed."""
    run = Path(shutil.copytree(gated_run, tmp_path / "run"))
    shutil.copytree(exported, run / "exports" / target)
    return run


def assert_alike(one: Model, other: Model, path: Path, *, read_all: bool = False) -> int:
    """How many tokens both kept."""
    asked = [model.diagnose(path, read_all=read_all).diagnosis for model in (one, other)]
    np.testing.assert_array_equal(asked[0].read, asked[1].read)
    for name in ("label_probs", "scout_probs", "tile_probs", "lesion_map"):
        np.testing.assert_allclose(
            getattr(asked[0], name), getattr(asked[1], name), atol=1e-4, err_msg=name
        )
    assert asked[0].present == asked[1].present
    costs = [(cost.macs, cost.macs_all_tiles) for cost in (asked[0].cost, asked[1].cost)]
    assert costs[0] == costs[1]
    return int(asked[0].read.sum())


def test_the_folder_says_what_it_holds(exported: Path, target: str, gated_run: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == [*TARGETS[target], MANIFEST_NAME]
    manifest, source = read_manifest(exported), read_manifest(gated_run / "model")
    assert manifest.family == "gated"
    assert manifest.rules() == source.rules()
    export = manifest.export
    assert export is not None
    assert (export.runtime, export.precision) == (RUNTIME_OF[target], "fp32")
    assert export.source_files == source.files
    assert export.parity.photos == 8
    assert export.parity.decisions_changed == 0
    assert 0 <= export.parity.max_prob_change < 1e-4


def test_it_answers_as_the_run_does_whatever_is_kept(
    exported: Path, gated_run: Path, used_photos: Path, tmp_path: Path, with_threshold: Choose
) -> None:
    """Some tokens, none, one, all; photos of other sizes, and one smaller than a glance."""
    own, other = leafscout.load(gated_run), leafscout.load(exported, threads=1)
    paths = [used_photos / "1.png"]
    for size in ((300, 200), (64, 200), (64, 64)):
        with Image.open(paths[0]) as image:
            image.resize(size).save(tmp_path / f"{size[0]}.png")
        paths.append(tmp_path / f"{size[0]}.png")
    for path in paths:
        probs = np.sort(own.diagnose(path, read_all=True).diagnosis.scout_probs)
        gaps = np.diff(probs)
        middle = int(np.argmax(gaps[1:-1])) + 1  # where rounding decides nothing
        for threshold, kept in (
            (float(probs[middle] + probs[middle + 1]) / 2, len(probs) - middle - 1),
            (float(probs[-2] + probs[-1]) / 2, 1),
            (1.0, 0),
            (0.0, len(probs)),
        ):
            asked = [with_threshold(model, threshold) for model in (own, other)]
            assert assert_alike(*asked, path) == kept
        assert assert_alike(own, other, path, read_all=True) == len(probs)


def test_dropped_tokens_never_reach_the_later_layers(
    exported: Path, used_photos: Path, with_threshold: Choose
) -> None:
    model = leafscout.load(exported, threads=1)
    core = model.recogniser
    assert isinstance(core, GatedModel)
    assert isinstance(core.network, GraphTokenNetwork)
    given: list[int] = []
    later = core.network.later
    object.__setattr__(
        core.network, "later", lambda values: (given.append(len(values)), later(values))[1]
    )
    path = used_photos / "1.png"
    probs = model.diagnose(path).diagnosis.scout_probs
    asked = [0.0, float(np.quantile(probs, 0.7)), 1.0]
    kept = [with_threshold(model, one).diagnose(path).diagnosis.read.sum() for one in asked]
    assert given == [len(probs), len(probs), kept[1]], "at 1.0 they do not run at all"
    assert 0 < kept[1] < len(probs)
    assert kept[2] == 0


def test_every_way_of_asking_gives_the_same_answer(
    exported: Path,
    used_photos: Path,
    same_every_way: Callable[..., list[PhotoDiagnosis]],
) -> None:
    assert len(same_every_way(exported, used_photos)) == 3


@pytest.mark.real_photos
def test_real_photos_get_the_same_answer(
    exported: Path, gated_run: Path, real_data: Path, with_threshold: Choose
) -> None:
    photos = sorted((real_data / "coffee" / "images").glob("*.jpg"))[:3]
    photos += sorted((real_data / "rice" / "images").glob("*.jpg"))[:2]
    assert len(photos) == 5
    own, other = leafscout.load(gated_run), leafscout.load(exported, threads=1)
    kept = set()
    for path in photos:
        everything = own.diagnose(path, read_all=True).diagnosis
        for threshold in (None, float(np.quantile(everything.scout_probs, 0.8)) + 1e-5, 1.0):
            both = [own, other]
            if threshold is not None:
                both = [with_threshold(model, threshold) for model in both]
            kept.add(assert_alike(*both, path))
    assert 0 in kept
    assert len(kept) > 2


def test_it_needs_no_training_packages(exported: Path, used_photos: Path) -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from leafscout.cli import app\n"
        "done = CliRunner().invoke(app, sys.argv[1:])\n"
        "assert done.exit_code == 0, done.output + done.stderr\n"
        "named = 'torch torchvision timm sklearn pandas matplotlib scipy onnx'.split()\n"
        "print([name for name in named if name in sys.modules])\n"
    )
    photo = str(used_photos / "1.png")
    for command in (
        ["diagnose", str(exported), photo, "--json"],
        ["bench", str(exported), photo, "--repeats", "1", "--json"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "[]", command


def test_its_steps_are_timed_beside_the_runs_own(
    run_with_export: Path, target: str, used_photos: Path
) -> None:
    names = []
    for model in find_models(run_with_export):
        found = bench_model(model, [used_photos / "1.png"], threads=1)
        assert tuple(found.stages) == ONE_NETWORK_STAGES
        assert found.stages["network"].median_ms > 0
        names.append(found.name)
    assert names == ["torch fp32", f"{RUNTIME_OF[target]} fp32"]


def test_it_is_evaluated_where_its_run_is(
    run_with_export: Path,
    target: str,
    photo_writer: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    rows = [("a.png", "rust"), ("b.png", "healthy"), ("c.png", "mildew"), ("d.png", "rust mildew")]
    new = photo_writer(tmp_path / "new", rows, seed=5)

    def measure() -> list[dict[str, str]]:
        evaluate_run(run_with_export, new)
        with (run_with_export / "evaluation" / "per_photo.csv").open(encoding="utf-8") as table:
            return list(csv.DictReader(table))

    own = measure()
    find = importlib.util.find_spec
    hidden = {"torch", {"onnx": "openvino", "openvino": "onnxruntime"}[target]}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: None if name in hidden else find(name)
    )
    loaded = leafscout.load(run_with_export).recogniser
    assert isinstance(loaded, GatedModel)
    assert isinstance(loaded.network, GraphTokenNetwork)
    for one, other in zip(measure(), own, strict=True):
        for name in ("image", "tiles_read", "macs_share"):
            assert one[name] == other[name]
        for name in ("prob_rust", "prob_mildew"):
            assert float(one[name]) == pytest.approx(float(other[name]), abs=1e-4)


# What is refused --------------------------------------------------------------------------------


def refused(*args: str | Path) -> str:
    done = CliRunner().invoke(app, [str(arg) for arg in args], prog_name="leafscout")
    said = " ".join((done.stdout + done.stderr).replace("│", " ").split())
    assert done.exit_code == 2, said
    assert "Traceback" not in said
    return said


def test_int8(gated_run: Path) -> None:
    said = refused("export", gated_run, "--int8")
    assert "holds an integrated model, one network that drops tokens on the way, which is" in said
    assert "exported in single precision alone. Leave --int8 out." in said
    assert not (gated_run / "exports").exists()


def test_an_exported_one_cannot_be_exported_or_looked_into(
    exported: Path, used_photos: Path
) -> None:
    assert "is an exported model already. Name the run folder" in refused("export", exported)
    said = refused("explain", exported, used_photos / "1.png")
    assert "is an exported one, whose networks cannot be looked into" in said
    with pytest.raises(InputError, match="cannot be looked into"):
        explain_photo(leafscout.load(exported), used_photos / "1.png", Question())


def test_a_manifest_without_what_counts_multiply_adds(exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "copied"))
    values = json.loads((folder / MANIFEST_NAME).read_text())
    values["export"]["token_macs"] = None
    (folder / MANIFEST_NAME).write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"is damaged: .*expected export\.token_macs"):
        leafscout.load(folder)


def test_a_graph_that_was_changed(exported: Path, target: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "copied"))
    graph = folder / TARGETS[target][-1]
    graph.write_bytes(graph.read_bytes() + b" ")
    with pytest.raises(InputError, match=r"was changed since .* or export the model again"):
        leafscout.load(folder)
