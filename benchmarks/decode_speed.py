"""What a glance costs: one full decode made small, or the file decoded small to begin with.

    python benchmarks/decode_speed.py            12-megapixel photos, one thread, about 3 minutes
    python benchmarks/decode_speed.py --quick    fewer rounds, written beside, not over, the result
    python benchmarks/decode_speed.py --run runs/coffee/fold0_seed0 --photos FOLDER
                                                 also: how far a model's probabilities move

Writes results/decode_speed.json: milliseconds of every way in turns, the share of photos that must
exit early before two decodes beat one, and how far each way's glance is from exact area averages.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from leafscout.glance.view import glance_size_px_hw, take_glance
from leafscout.photos.decode import decode_photo, list_photos, open_photo
from leafscout.photos.headers import read_header
from leafscout.photos.jpeg_photo import JpegPhoto, decode_jpeg
from leafscout.types import Photo, Pixels
from rendered_photos import render_jpegs
from timing import time_in_turns, write_result

HERE = Path(__file__).parent
GLANCES_PX = (500, 512)


def average_areas(pixels: Pixels, height: int, width: int) -> np.ndarray:
    """Exact area averages: what every way to a glance comes near to."""

    def shares(length: int, parts: int) -> np.ndarray:
        edges, cells = np.linspace(0, length, parts + 1), np.arange(length)
        shared = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
        return (np.maximum(shared, 0) * parts / length).astype(np.float32)

    rows, columns = shares(pixels.shape[0], height), shares(pixels.shape[1], width)
    down = rows @ pixels.reshape(len(pixels), -1).astype(np.float32)
    across = down.reshape(height, -1, 3).transpose(1, 0, 2).reshape(pixels.shape[1], -1)
    return (columns @ across).reshape(width, height, 3).transpose(1, 0, 2)


def halve_first(pixels: Pixels, glance_px: int) -> Image.Image:
    """The fastest way from all pixels: whole factors first, then the rest."""
    height, width = glance_size_px_hw((pixels.shape[0], pixels.shape[1]), glance_px)
    reduced = Image.fromarray(pixels).reduce(max(1, int(pixels.shape[1] / width / 1.5)))
    return reduced.resize((width, height), Image.Resampling.HAMMING)


def ways_to_decode(data: bytes) -> dict[str, Callable[[], object]]:
    """Everything that is worth timing on one file."""
    photo = open_photo(data)
    if not isinstance(photo, JpegPhoto):
        raise SystemExit("Expected ordinary JPEG files.")
    size = photo.size_px_hw
    buffer = np.empty(size[0] * size[1] * 3, np.uint8)
    ways: dict[str, Callable[[], object]] = {
        "open (header, limits, completeness)": lambda: open_photo(data),
        "walk alone": lambda: read_header(data, "JPEG"),
        "full, Pillow": lambda: Image.open(io.BytesIO(data)).convert("RGB").load(),
        "full": lambda: decode_jpeg(data, "photo"),
        "full, memory reused": lambda: decode_jpeg(data, "photo", buffer=buffer),
    }
    for eighths in range(1, 8):
        ways[f"{eighths}/8"] = lambda eighths=eighths: simplejpeg.decode_jpeg(
            data, "RGB", min_height=-(-size[0] * eighths // 8),
            min_width=-(-size[1] * eighths // 8), min_factor=8 / eighths,
        )  # fmt: skip
    for glance_px in GLANCES_PX:
        ways[f"glance {glance_px}, one full decode"] = lambda px=glance_px: take_glance(
            Photo(decode_jpeg(data, "photo", buffer=buffer), "photo"), px
        )
        ways[f"glance {glance_px}, one full decode, halved first"] = lambda px=glance_px: (
            halve_first(decode_jpeg(data, "photo", buffer=buffer), px)
        )
        ways[f"glance {glance_px}, decoded small"] = lambda px=glance_px: take_glance(photo, px)
    return ways


def measure_speed(paths: list[Path], rounds: int) -> dict[str, Any]:
    """All ways on every photo; medians over photos and rounds."""
    per_photo = [time_in_turns(ways_to_decode(path.read_bytes()), rounds) for path in paths]
    out: dict[str, Any] = {
        name: {
            "cpu_ms": float(np.median([one[name]["cpu_ms"]["median"] for one in per_photo])),
            "cpu_ms_by_photo": [round(one[name]["cpu_ms"]["median"], 2) for one in per_photo],
            "cpu_ms_quartiles": [
                round(float(np.median([one[name]["cpu_ms"][key] for one in per_photo])), 2)
                for key in ("low_quartile", "high_quartile")
            ],
        }
        for name in per_photo[0]
    }
    return out


def find_break_even(speed: dict[str, Any]) -> dict[str, Any]:
    """From which share of early exits on two decodes cost less than one."""
    out = {}
    for px in GLANCES_PX:
        ways = (f"glance {px}, one full decode", f"glance {px}, one full decode, halved first")
        one = min(speed[way]["cpu_ms"] for way in ways)
        small = speed[f"glance {px}, decoded small"]["cpu_ms"]
        full = speed["full, memory reused"]["cpu_ms"]
        # small + (1 − p)·full = one
        out[f"glance {px}"] = {
            "one_full_decode_ms": one,
            "small_then_full_ms": small + full,
            "small_alone_ms": small,
            "wins_from_exit_rate": max(0.0, 1 - (one - small) / full),
        }
    return out


def measure_fidelity(paths: list[Path], glance_px: int) -> dict[str, Any]:
    """How far glances are from exact area averages, in steps of 256."""
    rows: dict[str, list[np.ndarray]] = {"from all pixels": [], "decoded small": []}
    for path in paths:
        photo = decode_photo(path)
        exact = average_areas(photo.pixels, *glance_size_px_hw(photo.size_px_hw, glance_px))
        pixels = Photo(photo.pixels, "<array>")
        for name, source in (("from all pixels", pixels), ("decoded small", photo)):
            rows[name].append(np.abs(take_glance(source, glance_px).pixels - exact).ravel())
    return {
        name: {
            "mean": round(float(np.concatenate(parts).mean()), 3),
            "p99": round(float(np.percentile(np.concatenate(parts), 99)), 2),
            "most": round(float(np.concatenate(parts).max()), 1),
        }
        for name, parts in rows.items()
    }


def measure_answers(run: Path, paths: list[Path]) -> dict[str, Any]:
    """How far a model's answers move between a file and its pixels as an array."""
    import leafscout

    core = leafscout.load(run).core
    thresholds = np.asarray(core.rules.thresholds)
    moved, same_tiles, same_labels, flips = [], 0, 0, []
    for path in paths:
        photo = decode_photo(path)
        seen, _ = core.forward(photo)
        other, _ = core.forward(Photo(photo.pixels, "<array>"))
        probs, others = core.label_probs(seen), core.label_probs(other)
        moved.append(np.abs(probs - others))
        same_tiles += bool((seen.read == other.read).all())
        same = bool(((probs >= thresholds) == (others >= thresholds)).all())
        same_labels += same
        if not same:
            flips.append(float(np.abs(probs - thresholds).min()))
    return {
        "run": str(run),
        "photos": len(paths),
        "prob_change_mean": float(np.mean(moved)),
        "prob_change_p99": float(np.percentile(np.concatenate(moved), 99)),
        "prob_change_most": float(np.max(moved)),
        "photos_with_the_same_tiles": same_tiles,
        "photos_with_the_same_labels": same_labels,
        "distance_to_threshold_where_labels_differ": flips,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", type=Path, default=Path("runs/speed"))
    parser.add_argument("--run", type=Path, help="a trained run, to see how far answers move")
    parser.add_argument("--photos", type=Path, help="a folder of its photos")
    parser.add_argument("--most-photos", type=int, default=40)
    given = parser.parse_args()
    healthy, diseased = render_jpegs(given.work / "photos", *((1, 1) if given.quick else (3, 3)))
    paths = healthy + diseased
    speed = measure_speed(paths, 3 if given.quick else 15)
    figures: dict[str, Any] = {
        "what": "CPU milliseconds of one thread; medians over photos of medians over rounds",
        "photos": {path.name: path.stat().st_size for path in paths},
        "ways": speed,
        "break_even": find_break_even(speed),
        "fidelity_rendered_500": measure_fidelity(paths, 500),
    }
    if given.photos:
        real = list_photos(given.photos)
        real = real[:: max(1, len(real) // (4 if given.quick else given.most_photos))]
        figures["fidelity_real_512"] = measure_fidelity(real, 512)
        if given.run:
            figures["answers"] = measure_answers(given.run, real)
    name = "decode_speed.json"
    folder = given.work / "quick" if given.quick else HERE / "results"
    write_result(folder / name, figures)


if __name__ == "__main__":
    main()
