"""What training holds in memory, from photos of 12 to 100 megapixels.

    python benchmarks/training_memory.py

Each size runs in a process of its own: a few photos go through the loss of a stage, as the
training loop takes them. Measured are the bytes that the backward pass keeps (activations, each
storage once), and how far the process grows beyond what it held before the first photo. The
networks are of the recipe ``mobile`` with random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from origin import read_commit
from result_file import write_json

HERE = Path(__file__).parent
RESULT = HERE / "results" / "training_memory.json"
SIZES_MP = (12, 24, 48, 100)
STAGES = ("expert", "scout", "joint")
PHOTOS = 3


def write_photos(folder: Path, megapixels: int) -> Path:
    """Photos of 4:3 with leaf-like blotches, saved as JPEG."""
    from PIL import Image

    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    size = (round(height * 4 / 3), height)
    rng = np.random.default_rng(megapixels)
    rows = ["image,labels,split"]
    for index in range(PHOTOS):
        coarse = rng.integers(40, 160, (24, 32, 3), dtype=np.uint8)
        name = f"{index}.jpg"
        Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR).save(folder / name)
        rows.append(f"{name},{['rust', 'healthy'][index % 2]},train")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder / "labels.csv"


def build_stage(stage: str, table: Any) -> Any:
    """A stage of the recipe ``mobile`` without pretrained weights."""
    import torch

    from leafscout.networks import build_expert, build_scout
    from leafscout.photos.decode import decode_photo
    from leafscout.photos.tiles import lay_tiles
    from leafscout.training.expert_stage import ExpertStage
    from leafscout.training.joint_stage import JointStage, ScoutAndExpert
    from leafscout.training.recipes import choose_recipe
    from leafscout.training.scout_stage import ScoutStage

    recipe = replace(choose_recipe("mobile"), pretrained=False)
    labels, device = len(table.labels), torch.device("cpu")
    expert = build_expert(recipe.expert, labels, place_stride=recipe.place_stride)
    scout = build_scout(recipe.scout, labels, stride=recipe.scout_stride)
    if stage == "expert":
        return ExpertStage(expert, recipe, table, table, 0, device, mixed_precision=False)
    if stage == "joint":
        both = ScoutAndExpert(expert, scout)
        return JointStage(both, recipe, table, table, 0, device, mixed_precision=False)
    tiles = len(lay_tiles(decode_photo(table.paths[0]).size_px_hw, recipe.tile_px))
    evidence = [np.zeros((tiles, labels), dtype=np.float32) for _ in table.paths]
    return ScoutStage(
        scout, recipe, table, table, evidence, evidence, 0, device, mixed_precision=False
    )


def measure(stage_name: str, labels: Path) -> dict[str, Any]:
    """One stage at one size of photos, in this process."""
    import torch

    from leafscout.networks import keep_freed_memory
    from leafscout.photos.decode import read_photo_size
    from leafscout.photos.labels import read_labels
    from leafscout.photos.loader import load_photos

    torch.set_num_threads(1)
    keep_freed_memory()
    table = read_labels(labels)
    stage = build_stage(stage_name, table)
    stage.prepare()
    optimizer = torch.optim.AdamW(stage.parameter_groups())
    height, width = read_photo_size(table.paths[0])
    before = read_resident()
    kept: list[int] = []
    peak = Peak()
    for index, photo in load_photos(stage.paths, range(PHOTOS)):
        seen: dict[int, int] = {}

        def keep(tensor: Any, seen: dict[int, int] = seen) -> Any:
            storage = tensor.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = stage.loss(index, photo, 0)
        weights = {p.untyped_storage().data_ptr() for p in stage.network.parameters()}
        kept.append(sum(size for place, size in seen.items() if place not in weights))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        del loss
    parameters = sum(p.numel() * p.element_size() for p in stage.network.parameters())
    grown = peak.read() - before
    return {
        "stage": stage_name,
        "photo_px_hw": [height, width],
        "photo_bytes": height * width * 3,
        "activation_bytes": max(kept),
        "grown_bytes": grown,
        "weight_bytes": parameters,
    }


class Peak:
    """The most memory that the process held since its start, on Linux since this was made."""

    def __init__(self) -> None:
        try:
            Path("/proc/self/clear_refs").write_text("5")
            self.resettable = True
        except OSError:
            self.resettable = False

    def read(self) -> int:
        """Bytes."""
        if self.resettable:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    return int(line.split()[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read_resident() -> int:
    """Bytes that the process holds now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise SystemExit("This benchmark reads /proc, which only Linux has.")


def main() -> None:
    """Measure all sizes and stages, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megapixels", type=int, nargs="*", default=list(SIZES_MP))
    parser.add_argument("--stages", nargs="*", default=list(STAGES), choices=STAGES)
    parser.add_argument("--one", nargs=2, metavar=("STAGE", "LABELS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], Path(given.one[1]))))
        return
    rows = []
    for megapixels in given.megapixels:
        with tempfile.TemporaryDirectory() as folder:
            labels = write_photos(Path(folder), megapixels)
            for stage in given.stages:
                command = [sys.executable, __file__, "--one", stage, str(labels)]
                answer = subprocess.run(command, check=True, capture_output=True, text=True)
                rows.append(
                    {"megapixels": megapixels, **json.loads(answer.stdout.splitlines()[-1])}
                )
                print(json.dumps(rows[-1]), flush=True)
    result = {
        "command": "python benchmarks/training_memory.py",
        "commit": read_commit(),
        "date": time.strftime("%Y-%m-%d"),
        "seed": 0,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "photos": PHOTOS,
        "rows": rows,
    }
    write_json(RESULT, result)


if __name__ == "__main__":
    main()
