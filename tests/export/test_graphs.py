"""The graphs say what the networks say, for every size, with everything inside."""

import math
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from leafscout.errors import InputError
from leafscout.export.graphs import prepare_network, write_expert_graph, write_scout_graph
from leafscout.model import GlanceEvidence, TileEvidence
from leafscout.networks import TorchNetworks, build_expert, build_scout

TILE_PX = 64
CPU = torch.device("cpu")


def draw_pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def run_graph(path: Path, pixels: np.ndarray) -> tuple[np.ndarray, ...]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert given.type == "tensor(uint8)"
    return tuple(session.run(None, {given.name: pixels}))


@pytest.fixture(scope="module")
def networks() -> TorchNetworks:
    """Untrained; the expert averages pixels and has a finer map of places."""
    torch.manual_seed(0)
    expert = build_expert("tiny", 2, shrink=2, place_stride=16).eval()
    return TorchNetworks(build_scout("tiny", 2).eval(), expert, CPU)


@pytest.fixture(scope="module")
def files(networks: TorchNetworks, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("graphs")
    found = {name: folder / f"{name}.onnx" for name in ("scout", "expert")}
    write_scout_graph(networks.scout, found["scout"])
    write_expert_graph(networks.expert, TILE_PX, found["expert"])
    return found


@pytest.mark.parametrize("size_hw", [(256, 192), (32, 32), (48, 512), (512, 384)])
def test_a_glance_of_any_size(
    size_hw: tuple[int, int], networks: TorchNetworks, files: dict[str, Path]
) -> None:
    glance = draw_pixels(*size_hw, 3)
    expected = networks.run_scout(glance)
    found = GlanceEvidence(*run_graph(files["scout"], glance))
    assert found.score_map.shape == (size_hw[0] // 16, size_hw[1] // 16)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_scout_that_reads_the_whole_backbone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    scout = build_scout("tiny", 2, stride=32).eval()
    write_scout_graph(scout, tmp_path / "scout.onnx")
    for size_hw in ((256, 192), (48, 144), (32, 512)):
        glance = draw_pixels(*size_hw, 3)
        expected = TorchNetworks(scout, build_expert("tiny", 2), CPU).run_scout(glance)
        found = run_graph(tmp_path / "scout.onnx", glance)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_tiles(count: int, networks: TorchNetworks, files: dict[str, Path]) -> None:
    tiles = draw_pixels(count, TILE_PX, TILE_PX, 3)
    expected = networks.run_expert(tiles)
    found = TileEvidence(*run_graph(files["expert"], tiles))
    assert found.place_logits.shape == (count, 2, 2, 2), "averaged by 2, then places of 16 px"
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_nothing_of_this_computer_is_in_a_graph(files: dict[str, Path]) -> None:
    for path in files.values():
        data = path.read_bytes()
        assert b".py" not in data
        assert str(Path.home()).encode() not in data


def test_writing_leaves_the_networks_as_they_are(networks: TorchNetworks, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in networks.expert.state_dict().items()}
    copied = prepare_network(networks.expert.train())
    assert networks.expert.training
    networks.expert.eval()
    assert copied.shrink == 2
    assert not copied.training
    after = networks.expert.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_network_that_no_graph_can_hold_is_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    scout = build_scout("tiny", 2).eval()

    def forward(image: Tensor) -> Tensor:
        inside = image if float(image.sum()) > 0 else -image
        return torch.nn.functional.avg_pool2d(inside.repeat(1, 24, 1, 1), 16)

    scout.backbone.features.forward = forward  # type: ignore[method-assign]
    with pytest.raises(
        InputError, match=r"The scout, on the backbone 'tiny', cannot be written as ONNX: .*Train"
    ):
        write_scout_graph(scout, tmp_path / "scout.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_is_right_for_one_size_alone_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    scout = build_scout("tiny", 2).eval()
    said = scout.head.forward

    def forward(features: Tensor) -> Tensor:
        return said(features) + math.log(features.shape[2] * features.shape[3])

    scout.head.forward = forward  # type: ignore[method-assign]
    with pytest.raises(InputError, match=r"its graph is right for glances of one size alone\."):
        write_scout_graph(scout, tmp_path / "scout.onnx")
