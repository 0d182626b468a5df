"""What rounding to int8 does to a graph, layer by layer."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from leafscout.errors import InputError
from leafscout.export.first_layer import GREY, normalise_in_first_convolution
from leafscout.export.graphs import write_expert_graph, write_scout_graph
from leafscout.export.quantise import RoundableGraph, measure_ranges
from leafscout.export.sensitivity import rank_layers
from leafscout.model import TileEvidence
from leafscout.networks import build_expert, build_scout

onnx: Any = pytest.importorskip("onnx")
TILE_PX = 64


def draw_tiles(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 1, 8, 8, 3), dtype=np.uint8)
    return [one.repeat(8, axis=1).repeat(8, axis=2) for one in coarse]


def run(model: bytes | Path, tiles: list[np.ndarray], output: str = "tile_logits") -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    source = str(model) if isinstance(model, Path) else model
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run([output], {"tiles": one})[0] for one in tiles])


@pytest.fixture(scope="module")
def expert_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("graphs") / "expert.onnx"
    write_expert_graph(build_expert("tiny", 2).eval(), TILE_PX, path)
    return path


@pytest.fixture(scope="module")
def roundable(expert_file: Path) -> RoundableGraph:
    return measure_ranges(expert_file, draw_tiles(4))


def test_the_first_convolution_takes_bytes_as_they_are(expert_file: Path) -> None:
    model = onnx.load(str(expert_file))
    before = [node.op_type for node in model.graph.node]
    name = normalise_in_first_convolution(model)
    after = [node.op_type for node in model.graph.node]
    assert name is not None
    assert before[2:5] == ["Sub", "Div", "Conv"]
    assert after[2:4] == ["Sub", "Conv"], "one grey for all channels, instead of a mean for each"
    onnx.checker.check_model(model)
    # Away from the padding nothing changes: grey pads as zero did.
    tiles = [np.full((1, TILE_PX, TILE_PX, 3), GREY, dtype=np.uint8)]
    for one in tiles + draw_tiles(2):
        found = run(model.SerializeToString(), [one], "place_logits")
        expected = run(expert_file, [one], "place_logits")
        np.testing.assert_allclose(found, expected, atol=0.05 * np.ptp(expected) + 0.02)


def test_a_convolution_without_padding_says_exactly_the_same() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1, 9, 9, 3), dtype=np.uint8)
    model = _small_model(rng, padding=0)
    expected = _run_small(model, pixels)
    assert normalise_in_first_convolution(model) == "centred"
    np.testing.assert_allclose(_run_small(model, pixels), expected, rtol=1e-4, atol=1e-4)


def test_a_graph_that_begins_otherwise_is_left_as_it_is() -> None:
    model = _small_model(np.random.default_rng(0), padding=1)
    model.graph.node[2].op_type = "Mul"
    before = model.SerializeToString()
    assert normalise_in_first_convolution(model) is None
    assert model.SerializeToString() == before


def _small_model(rng: np.random.Generator, padding: int) -> Any:
    """(pixels − mean) ÷ std, then a convolution of 3×3."""
    helper, tensors = (
        onnx.helper,
        {
            "mean": np.array([120, 110, 90], np.float32).reshape(1, 3, 1, 1),
            "std": np.array([50, 60, 70], np.float32).reshape(1, 3, 1, 1),
            "weight": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
            "bias": rng.normal(size=4).astype(np.float32),
        },
    )
    nodes = [
        helper.make_node("Transpose", ["pixels"], ["upright"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["upright"], ["numbers"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Div", ["centred", "std"], ["normal"]),
        helper.make_node("Conv", ["normal", "weight", "bias"], ["out"], pads=[padding] * 4),
    ]
    nodes.insert(2, helper.make_node("Sub", ["numbers", "mean"], ["centred"]))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("pixels", onnx.TensorProto.UINT8, [1, 9, 9, 3])],
        [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def _run_small(model: Any, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found: np.ndarray = session.run(None, {"pixels": pixels})[0]
    return found


def test_what_is_kept_is_not_rounded(roundable: RoundableGraph, tmp_path: Path) -> None:
    tiles = draw_tiles(3, seed=1)
    expected = run(roundable.serialise(), tiles)
    changes = []
    for name, keep in (("none", ()), ("all", roundable.layers)):
        roundable.write(tmp_path / f"{name}.onnx", keep=keep)
        changes.append(np.abs(run(tmp_path / f"{name}.onnx", tiles) - expected).max())
    assert changes[0] > 1e-4, "rounded"
    sizes = [(tmp_path / f"{name}.onnx").stat().st_size for name in ("none", "all")]
    assert sizes[0] < 0.7 * sizes[1]
    assert changes[1] < changes[0]


def test_layers_are_ranked_by_the_harm_of_their_rounding(roundable: RoundableGraph) -> None:
    tiles = draw_tiles(2, seed=2)
    ranked = rank_layers(roundable, tiles, outputs=["tile_logits"], threads=1)
    assert {one.layer for one in ranked} == set(roundable.layers)
    errors = [one.error for one in ranked]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0
    expected = run(roundable.serialise(), tiles)
    for one in (ranked[0], ranked[-1]):
        change = run(roundable.round_alone(one.layer), tiles) - expected
        assert one.error == pytest.approx(np.mean(change**2) / np.var(expected), rel=1e-3)


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_other_ranges_say_nearly_the_same(method: Any, expert_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "rounded.onnx"
    measure_ranges(expert_file, draw_tiles(4), method=method).write(target)
    tiles = draw_tiles(3, seed=1)
    expected = run(expert_file, tiles)
    found = run(target, tiles)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9


def test_a_graph_that_cannot_run_is_refused(expert_file: Path) -> None:
    with pytest.raises(InputError, match=r"expert\.onnx cannot be rounded to int8 \(.*without"):
        measure_ranges(expert_file, [np.zeros((1, 3), dtype=np.uint8)])


def test_attention_that_no_pooling_reads_is_left_out(expert_file: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    target = tmp_path / "without.onnx"
    write_expert_graph(build_expert("tiny", 2).eval(), TILE_PX, target, attention=False)
    assert target.stat().st_size < expert_file.stat().st_size
    tiles = draw_tiles(2)
    for output in TileEvidence._fields:
        found, expected = run(target, tiles, output), run(expert_file, tiles, output)
        if output == "attention_logits":
            np.testing.assert_array_equal(found, np.zeros_like(expected))
        else:
            np.testing.assert_array_equal(found, expected)


def test_a_scout_is_rounded_for_glances_of_any_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    write_scout_graph(build_scout("tiny", 2).eval(), tmp_path / "scout.onnx")
    glances = [np.full((64, 96, 3), 90, np.uint8), np.full((96, 48, 3), 200, np.uint8)]
    measure_ranges(tmp_path / "scout.onnx", glances).write(tmp_path / "int8.onnx")
    session = onnxruntime.InferenceSession(
        str(tmp_path / "int8.onnx"), providers=["CPUExecutionProvider"]
    )
    (score,) = session.run(["score_map"], {"glance": np.zeros((160, 32, 3), np.uint8)})
    assert score.shape == (10, 2)
