"""Which runtime is taken, and what is said when it cannot be."""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import leafscout
from leafscout.errors import InputError
from leafscout.gated_model import TokenMacs
from leafscout.inference.graph_networks import GraphNetworks, GraphTokenNetwork, usable_cores
from leafscout.inference.runtimes import find_model, list_exports
from leafscout.manifest import Manifest, seal_manifest, sha256_of
from leafscout.networks import TorchNetworks

HAS_OPENVINO = importlib.util.find_spec("openvino") is not None


@pytest.fixture
def copied_run(exported_run: Path, tmp_path: Path) -> Path:
    """A run with an export, to be spoiled."""
    return Path(shutil.copytree(exported_run, tmp_path / "copied"))


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in packages else find(name)
    )


def test_what_the_folder_holds_is_taken(exported_run: Path) -> None:
    assert isinstance(leafscout.load(exported_run).core.networks, TorchNetworks)
    assert isinstance(leafscout.load(exported_run, runtime="torch").core.networks, TorchNetworks)
    for model in (
        leafscout.load(exported_run, runtime="onnxruntime"),
        leafscout.load(exported_run / "exports" / "onnx"),
        leafscout.load(exported_run / "exports" / "onnx", runtime="onnxruntime"),
    ):
        assert isinstance(model.core.networks, GraphNetworks)


def test_without_pytorch_an_exported_model_stands_in(
    exported_run: Path, untrained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "torch")
    assert find_model(exported_run).runtime == "onnxruntime"
    with pytest.raises(
        InputError,
        match=r"runtime torch needs the package torch, which is not installed\. Install it: pip",
    ):
        leafscout.load(untrained_run)


REFUSED: dict[str, tuple[str | None, str]] = {
    "a runtime that nobody knows": (
        "tensorrt",
        r"no runtime called 'tensorrt'\. Expected one of: torch, onnxruntime, openvino\.",
    ),
    "a runtime that the run has no model for": (
        "openvino",
        r"run holds no model for openvino\. Make one first: leafscout export .*run --to openvino",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_runtime_that_is_not_there(name: str, exported_run: Path) -> None:
    if name == "a runtime that the run has no model for" and not HAS_OPENVINO:
        pytest.skip("OpenVINO is not installed")
    runtime, sentence = REFUSED[name]
    with pytest.raises(InputError, match=sentence):
        leafscout.load(exported_run, runtime=runtime)


def test_a_runtime_that_is_not_installed(
    exported_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "openvino")
    with pytest.raises(
        InputError, match=r"needs the package openvino, .* Install it: pip install \"leafscout\[op"
    ):
        leafscout.load(exported_run, runtime="openvino")


def test_another_runtime_than_an_exported_folder_is_for(exported_run: Path) -> None:
    with pytest.raises(
        InputError, match=r"onnx holds a model for onnxruntime, but torch was asked for\. Leave"
    ):
        leafscout.load(exported_run / "exports" / "onnx", runtime="torch")


def test_a_changed_graph(copied_run: Path) -> None:
    folder = copied_run / "exports" / "onnx"
    (folder / "expert.onnx").write_bytes((folder / "expert.onnx").read_bytes() + b"\0")
    for place, runtime in ((folder, None), (copied_run, "onnxruntime")):
        with pytest.raises(
            InputError, match=r"expert\.onnx is missing or was changed .*export the model again"
        ):
            leafscout.load(place, runtime=runtime)


def test_a_graph_that_cannot_be_run(copied_run: Path) -> None:
    folder = copied_run / "exports" / "onnx"
    (folder / "expert.onnx").write_bytes(b"no graph")
    manifest = folder / "manifest.json"
    values = json.loads(manifest.read_text())
    values["files"]["expert.onnx"] = sha256_of(folder / "expert.onnx")
    manifest.write_bytes(seal_manifest(Manifest.model_validate(values)))
    with pytest.raises(
        InputError, match=r"expert\.onnx cannot be run by ONNX Runtime [\d.]+ .*export the model"
    ):
        leafscout.load(folder)


@pytest.mark.parametrize("what", ["rules", "weights"])
def test_an_export_of_what_the_run_was_before(what: str, copied_run: Path) -> None:
    assert len(list_exports(copied_run)) == 1
    manifest = copied_run / "model" / "manifest.json"
    values = json.loads(manifest.read_text())
    if what == "rules":
        values["choice"]["max_tiles"] += 1
    else:
        weights = copied_run / "model" / "scout.safetensors"
        weights.write_bytes(weights.read_bytes() + b" ")
        values["files"]["scout.safetensors"] = sha256_of(weights)
    manifest.write_bytes(seal_manifest(Manifest.model_validate(values)))
    with pytest.raises(InputError, match=r"onnx was exported before the model of its run was ch"):
        leafscout.load(copied_run, runtime="onnxruntime")


def test_what_an_interrupted_export_left_is_not_taken(copied_run: Path) -> None:
    exports = copied_run / "exports"
    (exports / "onnx").rename(exports / ".onnx.123.part")
    assert list_exports(copied_run) == []


def test_threads_are_handed_on(exported_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    session = onnxruntime.InferenceSession

    def spy(path: str, options: Any, **more: Any) -> Any:
        seen.append((options.intra_op_num_threads, options.inter_op_num_threads))
        return session(path, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    leafscout.load(exported_run / "exports" / "onnx", threads=3)
    leafscout.load(exported_run / "exports" / "onnx")
    assert seen == [(3, 1)] * 2 + [(usable_cores(), 1)] * 2
    with pytest.raises(InputError, match=r"threads to be at least 1, but got 0\."):
        leafscout.load(exported_run, threads=0)


def test_what_a_runtime_gives_out_may_be_overwritten() -> None:
    """Some runtimes answer in memory of their own, and use it again for the next tile."""
    memory = np.zeros((1, 2), dtype=np.float32)

    def expert(tiles: np.ndarray) -> list[np.ndarray]:
        memory[:] = tiles.max()
        return [memory, memory, memory.reshape(1, 2, 1, 1)]

    tiles = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1) * np.ones((1, 4, 4, 3), np.uint8)
    found = GraphNetworks(scout=expert, expert=expert).run_expert(tiles)
    np.testing.assert_array_equal(found.tile_logits, [[0, 0], [1, 1], [2, 2]])
    assert found.place_logits.shape == (3, 2, 1, 1)


def draw_tokens(*gate_logits: float) -> GraphTokenNetwork:
    """A network of one row of tokens whose values are their numbers, in memory used again."""
    memory = np.zeros((len(gate_logits), 1), dtype=np.float32)

    def early(_: np.ndarray) -> list[np.ndarray]:
        values = np.arange(len(gate_logits), dtype=np.float32)[None, :, None]
        return [values, np.array([gate_logits], dtype=np.float32)]

    def later(values: np.ndarray) -> list[np.ndarray]:
        memory[: len(values)] = values
        return [memory[: len(values)], memory[: len(values)]]

    return GraphTokenNetwork(early, later, 1, 16, TokenMacs(1, 0, 0, 10, 0, 100, 1000))


def test_answers_about_tokens_are_not_overwritten_either() -> None:
    network, view = draw_tokens(-3.0, 2.0, 3.0), np.zeros((16, 48, 3), np.uint8)
    some, everything = network.run(view, 0.5), network.run(view, 0.5, read_all=True)
    np.testing.assert_array_equal(some.read, [False, True, True])
    np.testing.assert_array_equal(some.token_logits, [[1.0], [2.0]])
    np.testing.assert_array_equal(everything.token_logits, [[0.0], [1.0], [2.0]])
    assert (some.rows, some.columns) == (1, 3)
    assert network.count_macs((16, 48), 2) == 1 + 3 * 10 + 2 * 100 + 4 * 1000


def test_a_gate_that_hesitates_is_read_as_pytorch_reads_it() -> None:
    """Next to a half, single precision knows no difference."""
    logits = (-1e-9, 0.0, 1e-9, -1e-3, 1e-3)
    found = draw_tokens(*logits).run(np.zeros((16, 80, 3), np.uint8), 0.5).read
    torch_says = torch.sigmoid(torch.tensor(logits)) >= 0.5
    np.testing.assert_array_equal(found, torch_says.numpy())
    np.testing.assert_array_equal(found, [True, True, True, False, True])
