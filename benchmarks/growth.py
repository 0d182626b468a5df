"""How time and memory grow with the photo: 3, 12, 48 and 108 megapixels, one thread.

    python benchmarks/growth.py            about 4 minutes
    python benchmarks/growth.py --quick    proves that it works

Large photos are a rendered one of 12 megapixels laid side by side, small ones a piece of it. The
glance keeps its size and five tiles are read (or none: healthy), so only decoding should grow.
Every size and variant has a process of its own. Writes results/growth.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from file_to_diagnosis import VARIANTS, Server
from leafscout.photos.decode import decode_photo
from leafscout.photos.tiles import lay_tiles
from rendered_photos import QUALITY, render_jpegs
from speed_models import QUICK, SpeedSetting, write_models
from timing import summarise, write_result

HERE = Path(__file__).parent
REPEATS = {3: None, 12: 1, 48: 2, 108: 3}
"""Megapixels → copies of the photo along each side; None for a quarter of it."""

NAMES = ("d five tiles, onnxruntime int8", "e healthy, onnxruntime int8")


def write_sizes(work: Path, setting: SpeedSetting) -> dict[int, Path]:
    """A photo of each size."""
    _, (source,) = render_jpegs(work / "photos", 1, 1, setting.photo_px_hw)
    found = {}
    for megapixels, repeats in REPEATS.items():
        path = work / "growth" / f"{megapixels}.jpg"
        found[megapixels] = path
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = decode_photo(source).pixels
        height, width = pixels.shape[:2]
        if repeats is None:
            pixels = np.ascontiguousarray(pixels[: height // 2, : width // 2])
        else:
            pixels = np.tile(pixels, (repeats, repeats, 1))
        path.write_bytes(simplejpeg.encode_jpeg(pixels, QUALITY, "RGB", colorsubsampling="420"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", type=Path, default=Path("runs/speed"))
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    setting = QUICK if given.quick else SpeedSetting()
    work = given.work / "quick" if given.quick else given.work
    write_models(setting, work)
    paths = write_sizes(work, setting)
    rounds = 2 if given.quick else given.rounds
    servers = {(name, size): Server(name, work, given.quick) for name in NAMES for size in paths}
    for turn in range(rounds + 1):
        for (_, size), server in servers.items():
            server.ask(paths[size], keep=turn > 0)
    rows: list[dict[str, Any]] = []
    for (name, size), server in servers.items():
        height, width = decode_photo(paths[size]).size_px_hw
        end = server.end()
        stages = {stage: [] for row in server.rows for stage in row["stages"]}
        for row in server.rows:
            for stage, seconds in row["stages"].items():
                stages[stage].append(1000 * seconds)
        rows.append(
            {
                "variant": name,
                "size_px_hw": [height, width],
                "megapixels": height * width / 1e6,
                "file_mb": paths[size].stat().st_size / 1e6,
                "tiles_total": len(lay_tiles((height, width), setting.tile_px)),
                "tiles_read": 0 if VARIANTS[name].exit_early else setting.tiles,
                "cpu_ms": summarise([1000 * row["cpu_s"] for row in server.rows]),
                "stages_cpu_ms": {key: summarise(one)["median"] for key, one in stages.items()},
                "ready_mb": server.ready["ready_mb"],
                "peak_mb": end["peak_mb"],
            }
        )
    target = (work if given.quick else HERE / "results") / "growth.json"
    write_result(target, {"what": "growth with the photo's size, one thread", "rows": rows})


if __name__ == "__main__":
    main()
