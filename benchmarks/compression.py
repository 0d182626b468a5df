"""Do pruning and low-rank layers pay for a trained expert, without training it again?

    python benchmarks/compression.py RUN --test TEST.csv --photos-root FOLDER

The scout stays as it is, so the same tiles are read; only the expert is made smaller. Each variant
is also tried with batch statistics measured anew on training tiles. Writes
results/compression.json: multiply-adds, size of the weights plain and zipped, milliseconds of a
tile, and how the answers change on validation and test photos.

weights     the smallest weights of all convolutions are set to zero (Han et al. 2015)
channels    inner channels of the inverted residuals with the smallest weights are cut out
low rank    1×1 convolutions become two, by singular values (Denton et al. 2014)
"""

from __future__ import annotations

import argparse
import copy
import csv
import io
import json
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

from leafscout.evaluation.comparison import macro_average_precision, macro_f1
from leafscout.export.graphs import write_expert_graph
from leafscout.glance.view import take_glance
from leafscout.inference.torch_runtime import load_networks
from leafscout.manifest import read_manifest
from leafscout.model import GlanceAndFocus, Scouted
from leafscout.networks import TorchNetworks, count_macs
from leafscout.photos.decode import open_photo
from leafscout.photos.tiles import cut_tiles
from leafscout.types import Pixels
from result_file import write_json
from timing import describe_run, time_in_turns

HERE = Path(__file__).parent
CALIBRATION_PHOTOS, CALIBRATION_TILES, ROUNDS = 24, 48, 9
OUTPUT_ERROR = 0.01

Change = Callable[[nn.Module], None]


# --- making networks smaller


def zero_weights(frac: float) -> Change:
    """Set the smallest weights of all convolutions together to zero."""

    def change(network: nn.Module) -> None:
        layers = [one for one in network.modules() if isinstance(one, nn.Conv2d)]
        sizes = torch.cat([one.weight.detach().abs().flatten() for one in layers])
        limit = sizes.kthvalue(max(1, round(frac * len(sizes)))).values
        with torch.no_grad():
            for layer in layers:
                layer.weight[layer.weight.abs() <= limit] = 0.0

    return change


def cut_channels(frac: float) -> Change:
    """Cut inner channels of every inverted residual."""

    def change(network: nn.Module) -> None:
        blocks = [one for one in network.modules() if hasattr(one, "conv_pwl")]
        if not blocks:
            raise SystemExit("Expected a backbone of inverted residuals, for example mobilenetv2.")
        for block in blocks:
            _cut_block(block, frac)

    return change


def _cut_block(block: Any, frac: float) -> None:
    with torch.no_grad():
        # What a channel can contribute: its scale after normalisation times its outgoing weights.
        scale = block.bn2.weight.abs() * block.conv_pwl.weight.abs().sum(dim=(0, 2, 3))
        kept = scale.argsort()[round(frac * len(scale)) :].sort().values
        block.conv_pw.weight = nn.Parameter(block.conv_pw.weight[kept])
        block.conv_dw.weight = nn.Parameter(block.conv_dw.weight[kept])
        block.conv_pwl.weight = nn.Parameter(block.conv_pwl.weight[:, kept])
        block.conv_pw.out_channels = block.conv_dw.in_channels = len(kept)
        block.conv_dw.out_channels = block.conv_dw.groups = block.conv_pwl.in_channels = len(kept)
        for norm in (block.bn1, block.bn2):
            norm.num_features = len(kept)
            for name in ("weight", "bias"):
                setattr(norm, name, nn.Parameter(getattr(norm, name)[kept]))
            for name in ("running_mean", "running_var"):
                setattr(norm, name, getattr(norm, name)[kept])


def lower_rank(error: float | None = None, frac: float | None = None) -> Change:
    """Split 1×1 convolutions in two where that saves multiply-adds.

    Args:
        error: largest relative error of a layer's weights, as Frobenius norms.
        frac: share of the multiply-adds that is kept, instead.
    """

    def change(network: nn.Module) -> None:
        for parent in list(network.modules()):
            for name, layer in list(parent.named_children()):
                if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
                    _split_layer(parent, name, layer, error, frac)

    return change


def _split_layer(
    parent: nn.Module, name: str, layer: nn.Conv2d, error: float | None, frac: float | None
) -> None:
    out, inner = layer.weight.shape[:2]
    if layer.groups > 1 or min(out, inner) < 16:
        return
    left, values, right = torch.linalg.svd(layer.weight.detach()[:, :, 0, 0], full_matrices=False)
    if frac is not None:
        rank = max(1, int(frac * out * inner / (out + inner)))
    else:
        lost = torch.sqrt((values**2).flip(0).cumsum(0).flip(0) / (values**2).sum())
        rank = int((lost > (error or 0.0)).sum())
    if rank * (out + inner) >= out * inner:
        return
    first = nn.Conv2d(inner, rank, 1, bias=False)
    second = nn.Conv2d(rank, out, 1, bias=layer.bias is not None)
    with torch.no_grad():
        first.weight.copy_(right[:rank, :, None, None])
        second.weight.copy_((left[:, :rank] * values[:rank])[:, :, None, None])
        if layer.bias is not None and second.bias is not None:
            second.bias.copy_(layer.bias)
    setattr(parent, name, nn.Sequential(first, second))


VARIANTS: dict[str, Change] = {
    "as trained": lambda _: None,
    "weights: 30% zero": zero_weights(0.3),
    "weights: 50% zero": zero_weights(0.5),
    "weights: 70% zero": zero_weights(0.7),
    "channels: 10% cut": cut_channels(0.1),
    "channels: 30% cut": cut_channels(0.3),
    "low rank: 1% error": lower_rank(error=OUTPUT_ERROR),
    "low rank: 10% error": lower_rank(error=0.1),
    "low rank: 70% of the multiply-adds": lower_rank(frac=0.7),
}


def remeasure_statistics(network: nn.Module, tiles: Pixels) -> None:
    """Batch statistics of the smaller network, from training tiles; no weight is trained."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for start in range(0, len(tiles), 8):
            network(torch.from_numpy(tiles[start : start + 8]).permute(0, 3, 1, 2))
    network.eval()


# --- judging them


class Looked:
    """Photos with what the scout said and the tiles that it chose, read once.

    Args:
        model: as trained.
        paths: of the photos.
    """

    def __init__(self, model: GlanceAndFocus, paths: list[Path]) -> None:
        self.model = model
        self.scouted: list[Scouted] = []
        self.tiles: list[Pixels] = []
        for path in paths:
            photo = open_photo(path)
            scouted = model.scout(take_glance(photo, model.rules.glance_px))
            self.scouted.append(scouted)
            chosen = np.flatnonzero(scouted.read)
            self.tiles.append(cut_tiles(photo.pixels, scouted.tiles, chosen))

    def ask(self, networks: TorchNetworks) -> np.ndarray:
        """(photos, labels) probabilities with another expert."""
        model = GlanceAndFocus(networks, self.model.rules)
        rows = []
        for scouted, tiles in zip(self.scouted, self.tiles, strict=True):
            found = networks.run_expert(tiles) if len(tiles) else None
            rows.append(model.label_probs(model.conclude(scouted, found)))
        return np.stack(rows)


def compare(probs: np.ndarray, expected: np.ndarray, thresholds: np.ndarray) -> dict[str, Any]:
    """How answers change."""
    change = np.abs(probs - expected).max(axis=1)
    decided, before = probs >= thresholds, expected >= thresholds
    return {
        "photos": len(probs),
        "decisions_changed": int((decided != before).any(axis=1).sum()),
        "prob_change_max": float(change.max()),
        "prob_change_mean": float(change.mean()),
    }


def weigh(network: nn.Module) -> dict[str, float]:
    """Megabytes of the weights, plain and zipped; zeros zip well."""
    buffer = io.BytesIO()
    for tensor in network.state_dict().values():
        buffer.write(tensor.numpy().tobytes())
    data = buffer.getvalue()
    return {"megabytes": len(data) / 1e6, "megabytes_zipped": len(zlib.compress(data, 6)) / 1e6}


def time_tile(network: nn.Module, tile_px: int, graph: Path) -> Callable[[], object]:
    """A tile in ONNX Runtime, on one thread."""
    if not graph.exists():
        graph.parent.mkdir(parents=True, exist_ok=True)
        write_expert_graph(network, tile_px, graph)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).integers(0, 256, (1, tile_px, tile_px, 3), dtype=np.uint8)
    return lambda: session.run(None, {"tiles": pixels})


def list_photos(run: Path, test: Path, root: Path) -> dict[str, list[tuple[Path, set[str]]]]:
    """Photos and true labels of the run's splits and of the test table."""
    found: dict[str, list[tuple[Path, set[str]]]] = {"train": [], "val": [], "test": []}
    for table, split in ((run / "splits.csv", None), (test, "test")):
        with table.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                truth = set(row["labels"].split()) - {"healthy"}
                found[split or row["split"]].append((root / row["image"], truth))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--photos-root", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=VARIANTS)
    parser.add_argument("--most-photos", type=int, help="to prove that it works")
    parser.add_argument("--work", type=Path, default=Path("runs/compression"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "compression.json")
    given = parser.parse_args()
    manifest = read_manifest(given.run / "model")
    networks = load_networks(given.run / "model", manifest, 1)
    model = GlanceAndFocus(networks, manifest.rules())
    photos = list_photos(given.run, given.test, given.photos_root)
    looked = {
        split: Looked(model, [path for path, _ in photos[split][: given.most_photos]])
        for split in ("val", "test")
    }
    calibration = Looked(model, [path for path, _ in photos["train"][::10][:CALIBRATION_PHOTOS]])
    tiles = np.concatenate(calibration.tiles)[:CALIBRATION_TILES]
    thresholds = np.asarray(manifest.thresholds, dtype=np.float32)
    expected = {split: one.ask(networks) for split, one in looked.items()}
    truth = np.array(
        [[label in true for label in manifest.labels]
         for _, true in photos["test"][: given.most_photos]]
    )  # fmt: skip
    rows: dict[str, Any] = {}
    timed: dict[str, Callable[[], object]] = {}
    for name in given.only or VARIANTS:
        rows[name] = {}
        for again in (False, True):
            expert = copy.deepcopy(networks.expert)
            VARIANTS[name](expert.backbone)
            if again:
                remeasure_statistics(expert, tiles)
            smaller = TorchNetworks(networks.scout, expert, networks.device)
            probs = {split: one.ask(smaller) for split, one in looked.items()}
            weights = np.ones((1, len(truth)))
            rows[name]["statistics anew" if again else "as it is"] = {
                **{split: compare(probs[split], expected[split], thresholds) for split in probs},
                "test_macro_ap": float(macro_average_precision(truth, probs["test"], weights)[0]),
                "test_macro_f1": float(macro_f1(truth, probs["test"] >= thresholds, weights)[0]),
            }
        side = manifest.tile_px
        rows[name] |= {"macs": count_macs(expert, side, side), **weigh(expert)}
        graph = given.work / f"{''.join(c if c.isalnum() else '_' for c in name)}.onnx"
        timed[name] = time_tile(expert, side, graph)
        print(name, json.dumps(rows[name]), flush=True)
    for name, times in time_in_turns(timed, ROUNDS).items():
        rows[name]["tile_cpu_ms"] = times["cpu_ms"]
    result = {
        **describe_run(),
        "command": f"python benchmarks/compression.py {given.run} --test {given.test} …",
        "date": time.strftime("%Y-%m-%d"),
        "expert": manifest.expert,
        "variants": rows,
    }
    write_json(given.out, result)


if __name__ == "__main__":
    main()
