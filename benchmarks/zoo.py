"""What networks cost on a CPU: parameters, multiply-adds, and milliseconds in every runtime.

    python benchmarks/zoo.py --prepare     write the graphs, some minutes; nothing is timed
    python benchmarks/zoo.py               the measured pass, about 10 minutes, one thread
    python benchmarks/zoo.py --threads 2   some of them on two threads
    python benchmarks/zoo.py --quick       two networks, few rounds, written elsewhere

Each network is a backbone with a linear layer on every place, as scouts and experts have. Weights
are random (with batch statistics of noise): this measures speed, nothing else. All ways of a
network take turns, and a reference graph takes its turn with each network, to show how far the
machine drifted between networks. Networks that are in results/zoo.json are not run again, unless
--again says so.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from result_file import write_json
from timing import describe_run, time_in_turns

HERE = Path(__file__).parent
PICTURE = HERE.parent / "docs" / "pictures" / "zoo.png"
SIZES_HW = {"tile": (384, 384), "glance": (384, 512)}
LABELS, EXAMPLES = 4, 4
ANCHOR = "mobilenetv2_100"
BATCHNORM_BATCH = 4


@dataclass(frozen=True)
class Network:
    """One network.

    Attributes:
        family: whose idea it is.
        package: where it comes from; LeafScout takes timm's by name.
        fused: whether its branches are merged into single convolutions after training.
        compiled: whether ``torch.compile`` is timed too.
    """

    family: str
    package: str = "timm"
    fused: bool = False
    compiled: bool = False


NETWORKS: dict[str, Network] = {
    "mobilenetv1_100": Network("MobileNetV1"),
    "mobilenetv2_100": Network("MobileNetV2", compiled=True),
    "mobilenetv3_small_100": Network("MobileNetV3"),
    "mobilenetv3_large_100": Network("MobileNetV3"),
    "mobilenetv4_conv_small": Network("MobileNetV4"),
    "mobilenetv4_conv_medium": Network("MobileNetV4"),
    "shufflenet_v2_x1_0": Network("ShuffleNetV2", "torchvision"),
    "squeezenet1_1": Network("SqueezeNet", "torchvision"),
    "mnasnet_100": Network("MNASNet"),
    "ghostnet_100": Network("GhostNet"),
    "ghostnetv2_100": Network("GhostNetV2"),
    "efficientnet_lite0": Network("EfficientNet-Lite"),
    "efficientnet_b0": Network("EfficientNet"),
    "mobileone_s0": Network("MobileOne", fused=True),
    "mobileone_s1": Network("MobileOne", fused=True),
    "repvit_m0_9": Network("RepViT", fused=True),
    "repvit_m1": Network("RepViT", fused=True),
    "resnet18": Network("ResNet", compiled=True),
    "legacy_xception": Network("Xception"),
    "tf_efficientnetv2_s": Network("EfficientNetV2"),
}
QUICK = ("mobilenetv4_conv_small", "squeezenet1_1")
TWO_THREADS = ("mobilenetv2_100", "mobilenetv4_conv_medium", "resnet18")


# --- building


def build_network(name: str) -> Any:
    """(batch, height, width, 3) bytes → (batch, labels, rows, columns); random weights."""
    import torch
    from torch import nn

    from leafscout.networks import set_threads

    set_threads(1)
    torch.manual_seed(0)
    features = _build_features(name)
    features.eval()
    with torch.no_grad():
        channels = int(features(torch.zeros(1, 3, 64, 64)).shape[1])

    class ZooNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = features
            self.head = nn.Conv2d(channels, LABELS, 1)

        def forward(self, pixels: Any) -> Any:
            images = (pixels.permute(0, 3, 1, 2).float() - 116.0) / 58.0
            return self.head(self.features(images))

    network = ZooNetwork()
    _settle_statistics(network)
    network.eval()
    if NETWORKS[name].fused:
        import timm.utils

        network.features = timm.utils.reparameterize_model(network.features)
    return network.eval()


def _build_features(name: str) -> Any:
    """The network without pooling and classifier."""
    if NETWORKS[name].package == "timm":
        import timm

        return timm.create_model(name, pretrained=False, num_classes=0, global_pool="")
    from torch import nn
    from torchvision import models

    whole = getattr(models, name)(weights=None)
    if name.startswith("squeezenet"):
        return whole.features
    stages = (whole.conv1, whole.maxpool, whole.stage2, whole.stage3, whole.stage4, whole.conv5)
    return nn.Sequential(*stages)


def _settle_statistics(network: Any) -> None:
    """Batch statistics of noise: random weights alone let values vanish or explode."""
    import torch

    for layer in network.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.momentum = None
            layer.reset_running_stats()
    network.train()
    with torch.no_grad():
        network(torch.from_numpy(draw_pixels(SIZES_HW["tile"], BATCHNORM_BATCH)))


def draw_pixels(size_hw: tuple[int, int], count: int = 1, seed: int = 0) -> np.ndarray:
    """(count, height, width, 3) bytes of coarse noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, size_hw[0] // 8, size_hw[1] // 8, 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, axis=1).repeat(8, axis=2))


def write_graphs(name: str, work: Path) -> dict[str, Any]:
    """Write a network's graphs for both sizes, or find those of an earlier call.

    Returns:
        Parameters, multiply-adds and bytes of each graph.
    """
    folder = work / name
    facts_file = folder / "facts.json"
    if facts_file.exists():
        facts: dict[str, Any] = json.loads(facts_file.read_text())
        return facts
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from leafscout.export.openvino_graphs import convert_graph
    from leafscout.export.quantise import quantise_graph

    folder.mkdir(parents=True, exist_ok=True)
    network = build_network(name)
    facts = {
        "parameters": sum(one.numel() for one in network.features.parameters()),
        "macs": {},
        "bytes": {},
    }
    for size, size_hw in SIZES_HW.items():
        example = torch.from_numpy(draw_pixels(size_hw))
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(example)
        facts["macs"][size] = counter.get_total_flops() // 2
        plain, rounded = folder / f"{size}-fp32.onnx", folder / f"{size}-int8.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network, (example,), opset_version=20, dynamo=True, verbose=False,
                input_names=["pixels"], output_names=["logits"],
            )  # fmt: skip
        program.save(str(plain), external_data=False)
        inputs = (draw_pixels(size_hw, seed=seed) for seed in range(EXAMPLES))
        quantise_graph(plain, rounded, inputs)
        for graph in (plain, rounded):
            convert_graph(graph, graph.with_suffix(".xml"))
            facts["bytes"][graph.stem] = graph.stat().st_size
    facts_file.write_text(json.dumps(facts))
    return facts


# --- timing


def ways_of(name: str, size: str, work: Path, threads: int) -> dict[str, Callable[[], object]]:
    """Every way to run a network at a size."""
    pixels = draw_pixels(SIZES_HW[size], seed=9)
    ways = _eager_ways(name, pixels, threads)
    for precision in ("fp32", "int8"):
        graph = work / name / f"{size}-{precision}.onnx"
        ways[f"onnxruntime {precision}"] = open_onnx(graph, pixels, threads)
    for precision, file, hint in (
        ("fp32", "fp32", "f32"), ("bf16", "fp32", "bf16"), ("int8", "int8", "f32")
    ):  # fmt: skip
        run = _open_openvino(work / name / f"{size}-{file}.xml", pixels, threads, hint)
        if run is not None:
            ways[f"openvino {precision}"] = run
    return ways


def _eager_ways(name: str, pixels: np.ndarray, threads: int) -> dict[str, Callable[[], object]]:
    import torch

    networks = {"eager": build_network(name)}
    networks["eager channels-last"] = build_network(name).to(memory_format=torch.channels_last)
    if NETWORKS[name].compiled and threads == 1:
        networks["compiled"] = torch.compile(networks["eager channels-last"])
    torch.set_num_threads(threads)
    given = torch.from_numpy(pixels)

    def ask(network: Any) -> Callable[[], object]:
        def run() -> object:
            with torch.inference_mode():
                return network(given)

        return run

    return {way: ask(network) for way, network in networks.items()}


def open_onnx(graph: Path, pixels: np.ndarray, threads: int) -> Callable[[], object]:
    """A graph in ONNX Runtime, asked about the same pixels each time."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: pixels})


def _open_openvino(
    graph: Path, pixels: np.ndarray, threads: int, hint: str
) -> Callable[[], object] | None:
    from leafscout.openvino_core import share_core

    core = share_core()
    if hint == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return None
    settings = {
        "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": hint,
    }  # fmt: skip
    request = core.compile_model(str(graph), "CPU", settings).create_infer_request()
    return lambda: request.infer([pixels])


def measure_network(name: str, work: Path, rounds: int, threads: int) -> dict[str, Any]:
    """Everything about one network."""
    facts = write_graphs(name, work)
    write_graphs(ANCHOR, work)
    started_s = time.perf_counter()
    works = {
        f"{size}: {way}": run
        for size in SIZES_HW
        for way, run in ways_of(name, size, work, threads).items()
    }
    anchor = work / ANCHOR / "tile-fp32.onnx"
    works["anchor"] = open_onnx(anchor, draw_pixels(SIZES_HW["tile"], seed=9), threads)
    times = time_in_turns(works, rounds)
    origin = describe_run()
    measured = "cpu_ms" if threads == 1 else "wall_ms"
    return {
        "family": NETWORKS[name].family,
        "package": NETWORKS[name].package,
        "fused": NETWORKS[name].fused,
        **facts,
        "rounds": rounds,
        "threads": threads,
        "measured": measured,
        "anchor_ms": times.pop("anchor")[measured],
        "ms": {
            size: {
                key.removeprefix(f"{size}: "): one[measured]
                for key, one in times.items()
                if key.startswith(f"{size}: ")
            }
            for size in SIZES_HW
        },
        "took_s": time.perf_counter() - started_s,
        "commit": origin["commit"],
        "load_average": origin["load_average"],
        "date": time.strftime("%Y-%m-%d"),
    }


# --- the result


def read_result(path: Path) -> dict[str, Any]:
    """What has been measured so far."""
    if not path.exists():
        return {"networks": {}, "two_threads": {}}
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Write the result as a whole, with the machine and versions of the last call."""
    result = {
        **describe_run(),
        "what": "milliseconds of one forward pass, batch 1; backbone and a linear layer on places",
        "sizes_hw": SIZES_HW,
        "networks": {name: result["networks"][name] for name in NETWORKS
                     if name in result["networks"]},
        "two_threads": result["two_threads"],
    }  # fmt: skip
    write_json(path, result)


def draw(result: dict[str, Any], path: Path) -> None:
    """Multiply-adds against milliseconds of a tile: what counting does not tell."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = ("onnxruntime fp32", "onnxruntime int8")
    figure, axes = plt.subplots(1, 2, figsize=(14, 6.5), layout="constrained", sharey=True)
    networks = sorted(result["networks"].items(), key=lambda item: item[1]["macs"]["tile"])
    for axis, way in zip(axes, panels, strict=True):
        for number, (name, one) in enumerate(networks, start=1):
            cell, giga = one["ms"]["tile"][way], one["macs"]["tile"] / 1e9
            axis.vlines(giga, cell["low_quartile"], cell["high_quartile"], color="0.5", lw=2)
            axis.plot(giga, cell["median"], "o", color=f"C{number % 10}", ms=6,
                      label=f"{number}  {name}")  # fmt: skip
            axis.annotate(str(number), (giga, cell["median"]), fontsize=9,
                          xytext=(6, 3) if number % 2 else (-14, -9),
                          textcoords="offset points")  # fmt: skip
        axis.set(title=way, xscale="log", yscale="log", xlabel="multiply-adds, billions")
        axis.grid(which="both", alpha=0.25)
    axes[0].set_ylabel("processor ms, tile of 384 px")
    axes[1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prepare", action="store_true", help="write graphs alone")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--only", nargs="*", choices=NETWORKS)
    parser.add_argument("--again", action="store_true", help="measure what is there as well")
    parser.add_argument("--work", type=Path, default=Path("runs/speed/zoo"))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    out = given.out or (given.work if given.quick else HERE / "results") / "zoo.json"
    names = given.only or (QUICK if given.quick else TWO_THREADS if given.threads > 1 else NETWORKS)
    key = "networks" if given.threads == 1 else "two_threads"
    for name in names:
        if given.prepare:
            write_graphs(name, given.work)
        elif given.again or name not in read_result(out)[key]:
            row = measure_network(name, given.work, 3 if given.quick else given.rounds,
                                  given.threads)  # fmt: skip
            result = read_result(out)
            result[key][name] = row
            write_result(out, result)
        print(f"{name}: done", flush=True)
    if not given.prepare:
        draw(read_result(out), given.work / PICTURE.name if given.quick else PICTURE)


if __name__ == "__main__":
    main()
