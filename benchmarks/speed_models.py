"""Untrained models in every runtime for the speed benchmarks: what they say is arbitrary.

    python benchmarks/speed_models.py WORK         write those of the measured passes, some minutes

Weights are random (with batch statistics of rendered tiles, so that values keep an ordinary size);
that changes no shape and no operation, so speed and memory are those of trained models.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leafscout.diagnosis.calibrate import Calibration
from leafscout.glance.choose import ChoiceRule
from leafscout.glance.view import glance_size_px_hw, take_glance
from leafscout.model import Networks, Rules
from leafscout.photos.decode import decode_photo
from leafscout.photos.tiles import cut_tiles, lay_tiles
from leafscout.types import Pixels
from rendered_photos import render_jpegs

LABELS = ("blast", "brown_spot", "powdery_mildew", "rust")
RUNTIMES = ("onnxruntime", "openvino")
PRECISIONS = ("fp32", "int8")


@dataclass(frozen=True)
class SpeedSetting:
    """Which networks are timed, at which sizes."""

    scout: str = "mobilenetv4_conv_small"
    expert: str = "tf_efficientnetv2_s"
    small_expert: str = "mobilenetv4_conv_medium"
    least_expert: str = "mobilenetv4_conv_small"
    glance_px: int = 500
    tile_px: int = 384
    resized_px: int = 512
    photo_px_hw: tuple[int, int] = (3000, 4000)
    tiles: int = 5

    def rules(self, *, exit_early: bool = False, middle: bool = False) -> Rules:
        """Rules that read exactly ``tiles`` tiles, or none, or (``middle``) as the scout says."""
        threshold = 0.5 if middle else 0.0
        choice = ChoiceRule(threshold_prob=threshold, max_tiles=self.tiles)
        if exit_early:
            choice = ChoiceRule(threshold_prob=1.0, max_tiles=1, suspicion_prob=1.0)
        count = len(LABELS)
        return Rules(
            labels=LABELS, tile_px=self.tile_px, glance_px=self.glance_px, pooling="max",
            choice=choice, glance_weights=(0.25,) * count, thresholds=(0.5,) * count,
            calibration=Calibration((1.0,) * count, (0.0,) * count),
            expert_macs=1, scout_macs_per_px=1.0,
        )  # fmt: skip

    @property
    def experts(self) -> tuple[str, ...]:
        """Every expert, each once."""
        return tuple(dict.fromkeys((self.expert, self.small_expert, self.least_expert)))

    @property
    def resized_px_hw(self) -> tuple[int, int]:
        """Height and width of the resized photo."""
        return glance_size_px_hw(self.photo_px_hw, self.resized_px)


QUICK = SpeedSetting(
    scout="tiny", expert="mobilenetv3_small_100", small_expert="tiny", least_expert="tiny",
    photo_px_hw=(1500, 2000), glance_px=256,
)  # fmt: skip
"""Small enough to prove in about a minute that a benchmark works; its figures mean nothing."""


def build_networks(setting: SpeedSetting, expert: str) -> Any:
    """Scout and expert in PyTorch, on one thread."""
    import torch

    from leafscout.networks import TorchNetworks, build_expert, build_scout, set_threads

    set_threads(1)
    torch.manual_seed(0)
    scout = build_scout(setting.scout, len(LABELS))
    network = build_expert(expert, len(LABELS))
    return TorchNetworks(scout.eval(), network.eval(), torch.device("cpu"))


def build_resized(setting: SpeedSetting) -> Any:
    """The expert's backbone on a whole resized photo, in PyTorch."""
    import torch

    from leafscout.networks import set_threads
    from leafscout.nn.backbones import build_backbone
    from leafscout.training.resized_baseline import ResizedPhotoNetwork

    set_threads(1)
    torch.manual_seed(0)
    network = ResizedPhotoNetwork(build_backbone(setting.expert, stride=32), len(LABELS))
    return network.eval().to(memory_format=torch.channels_last)


def settle_statistics(network: Any, pixels: Pixels) -> None:
    """Set batch statistics by one pass: random weights alone let values vanish or explode."""
    import torch

    layers = [m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for layer in layers:
        layer.momentum = None
        layer.reset_running_stats()
    network.train()
    with torch.no_grad():
        network(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    network.eval()


def graph_folder(work: Path, expert: str, runtime: str, precision: str) -> Path:
    """Where the graphs of a model lie."""
    return work / "models" / expert / f"{runtime}-{precision}"


def open_graph_networks(work: Path, expert: str, runtime: str, precision: str) -> Networks:
    """Exported scout and expert, on one thread; PyTorch is not imported."""
    from leafscout.inference.runtimes import open_graphs

    return open_graphs(graph_folder(work, expert, runtime, precision), runtime, 1)


def open_resized_graph(setting: SpeedSetting, work: Path, runtime: str, precision: str) -> Any:
    """A function from (1, height, width, 3) bytes to logits, on one thread."""
    folder = graph_folder(work, setting.expert, runtime, precision)
    if runtime == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            str(folder / "resized.onnx"), options, providers=["CPUExecutionProvider"]
        )
        name = session.get_inputs()[0].name
        return lambda pixels: session.run(None, {name: pixels})
    from leafscout.openvino_core import share_core

    compiled = share_core().compile_model(
        str(folder / "resized.xml"), "CPU",
        {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"},
    )  # fmt: skip
    request = compiled.create_infer_request()
    return lambda pixels: request.infer([pixels])


def write_models(setting: SpeedSetting, work: Path) -> None:
    """Write whatever is missing: every expert in every runtime and precision."""
    missing = [
        expert
        for expert in setting.experts
        if not all(
            (graph_folder(work, expert, runtime, precision) / "done").exists()
            for runtime in RUNTIMES
            for precision in PRECISIONS
        )
    ]
    if not missing:
        return
    _, diseased = render_jpegs(work / "photos", 1, 1, setting.photo_px_hw)
    photo = decode_photo(diseased[0])
    grid = lay_tiles(photo.size_px_hw, setting.tile_px)
    tiles = cut_tiles(photo.pixels, grid, range(0, len(grid), max(1, len(grid) // 8)))
    glance = take_glance(photo, setting.glance_px).pixels
    resized = take_glance(photo, setting.resized_px).pixels
    for expert in missing:
        print(f"writing models with {expert}", flush=True)
        _write_expert(setting, work, expert, tiles, glance, resized)


def _write_expert(
    setting: SpeedSetting, work: Path, expert: str, tiles: Pixels, glance: Pixels, resized: Pixels
) -> None:
    from leafscout.export.graphs import write_expert_graph, write_scout_graph
    from leafscout.export.openvino_graphs import convert_graph
    from leafscout.export.quantise import quantise_graph

    networks = build_networks(setting, expert)
    settle_statistics(networks.expert, tiles[:4])
    settle_statistics(networks.scout, glance[None])
    plain = graph_folder(work, expert, "onnxruntime", "fp32")
    plain.mkdir(parents=True, exist_ok=True)
    write_scout_graph(networks.scout, plain / "scout.onnx")
    write_expert_graph(networks.expert, setting.tile_px, plain / "expert.onnx")
    examples = {"scout": [glance], "expert": [tile[None] for tile in tiles]}
    if expert == setting.expert:
        network = build_resized(setting)
        settle_statistics(network, resized[None])
        _write_resized_graph(network, resized, plain / "resized.onnx")
        examples["resized"] = [resized[None]]
    rounded = graph_folder(work, expert, "onnxruntime", "int8")
    rounded.mkdir(parents=True, exist_ok=True)
    for name, inputs in examples.items():
        quantise_graph(plain / f"{name}.onnx", rounded / f"{name}.onnx", inputs)
    for precision, source in (("fp32", plain), ("int8", rounded)):
        target = graph_folder(work, expert, "openvino", precision)
        target.mkdir(parents=True, exist_ok=True)
        for name in examples:
            convert_graph(source / f"{name}.onnx", target / f"{name}.xml")
        (source / "done").touch()
        (target / "done").touch()


def _write_resized_graph(network: Any, resized: Pixels, path: Path) -> None:
    import torch

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, photo: Any) -> Any:
            return self.network(photo.permute(0, 3, 1, 2))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Graph().eval(), (torch.from_numpy(resized[None]),), opset_version=20, dynamo=True,
            verbose=False, input_names=["photo"], output_names=["logits"],
        )  # fmt: skip
    program.save(str(path), external_data=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    write_models(QUICK if given.quick else SpeedSetting(), given.work)


if __name__ == "__main__":
    main()
