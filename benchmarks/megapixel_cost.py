"""What it costs each method to answer for one canvas of digits: multiply-adds, time, memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from leafscout.glance.choose import ChoiceRule, choose_tiles
from megapixel_canvases import DigitPool, Gray, Sheet, draw_canvas, draw_strokes, render_canvas
from megapixel_grid import CHUNK_TILES, KEPT_TILES, keep_best
from megapixel_looking import (
    RESIZED_PX,
    cut_gray,
    find_peaks,
    grid_corners_px,
    shrink,
    take_gray_glance,
)
from megapixel_networks import POOLINGS, TILE_PX, GlanceScout, ResizedReader, TileReader
from megapixel_scouting import WIDE_PEAKS, to_probs

ROUNDS, WARM_UP = 15, 3
Answer = Callable[[Gray], Tensor]

POOLING_OF = {
    "all_tiles": "transformer",
    "random_tiles": "evidence",
    "patch_selection": "cross_attention",
    "gated_attention": "gated_attention",
    "all_tiles_evidence": "evidence",
    "patch_selection_evidence": "evidence",
}
"""Row that reads tiles of the grid → its pooling."""


def measure_cost(row: str, side_px: int, strokes: int, full: int, empty: int) -> dict[str, Any]:
    """Costs of one method for a canvas in memory; weights are random, which changes none of them.

    Every tile counts, blank ones too: photos have none.

    Args:
        row: a key of ``METHODS``.
        side_px: of the canvas.
        strokes: on the canvas.
        full: tiles that LeafScout opens on a canvas with digits.
        empty: tiles that it opens on one of noise.
    """
    torch.manual_seed(0)
    _warm_up()
    pixels = _draw_pixels(side_px, strokes)
    tiles = len(grid_corners_px(side_px))
    found: dict[str, Any] = {"row": row, "side_px": side_px, "tiles_total": tiles}
    if row == "leafscout":
        scout, expert = GlanceScout().eval(), TileReader("evidence").eval()
        for name, count in (("empty", empty), ("full", full)):
            found[name] = {"tiles": count, **_measure(_leafscout(scout, expert, count), pixels)}
        learn = _learning_peak_mb(expert, cut_gray(pixels, grid_corners_px(side_px))[:full])
        return {**found, "learning_peak_mb": learn}
    if row == "resized":
        network = ResizedReader().eval()
        found["full"] = {
            "tiles": 0,
            **_measure(
                lambda one: network(torch.from_numpy(shrink(one, RESIZED_PX)[None])), pixels
            ),
        }
        return {**found, "empty": found["full"], "learning_peak_mb": None}
    reader = TileReader(POOLING_OF[row]).eval()
    everything = row in ("all_tiles", "gated_attention", "all_tiles_evidence")
    found["full"] = {
        "tiles": tiles if everything else KEPT_TILES,
        **_measure(_grid(reader, row, side_px), pixels),
    }
    learnt = cut_gray(pixels, grid_corners_px(side_px))
    learn = _learning_peak_mb(reader, learnt if everything else learnt[:KEPT_TILES])
    return {**found, "empty": found["full"], "learning_peak_mb": learn}


def _warm_up() -> None:
    """Load what the first answer of a process loads, so that no row's memory counts it."""
    few = torch.zeros(1, 2, TILE_PX, TILE_PX, dtype=torch.uint8)
    with FlopCounterMode(display=False):
        for pooling in POOLINGS:
            reader = TileReader(pooling)
            mask = torch.ones(1, 2, dtype=torch.bool)
            reader(few, torch.zeros(1, 2, 2), TILE_PX, mask).sum().backward()
        GlanceScout()(few[0])
        ResizedReader()(few[0])


def _draw_pixels(side_px: int, strokes: int) -> Gray:
    nothing = DigitPool(np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.int64))
    sheet = Sheet(nothing, draw_strokes(64, 0))
    canvas = draw_canvas(sheet, side_px, strokes, empty=True, rng=np.random.default_rng(0))
    return render_canvas(canvas, sheet)


def _leafscout(scout: GlanceScout, expert: TileReader, count: int) -> Answer:
    rule = ChoiceRule(threshold_prob=0.0, max_tiles=max(1, count))

    def answer(pixels: Gray) -> Tensor:
        side = pixels.shape[0]
        scores = scout(torch.from_numpy(take_gray_glance(pixels)[None]))[0]
        peaks = find_peaks(scores, side, WIDE_PEAKS)
        read = choose_tiles(to_probs(peaks.scores), np.zeros(0, np.float32), rule)
        if not count:
            read[:] = False
        corners = np.clip(peaks.corners_px[read], 0, side - TILE_PX)
        return _read(expert, cut_gray(pixels, corners), corners, side)

    return answer


def _grid(reader: TileReader, row: str, side_px: int) -> Answer:
    corners = grid_corners_px(side_px)
    rng = np.random.default_rng(0)

    def answer(pixels: Gray) -> Tensor:
        if row == "random_tiles":
            chosen = rng.choice(len(corners), KEPT_TILES, replace=False)
        elif row.startswith("patch_selection"):
            chosen = keep_best(reader, cut_gray(pixels, corners), corners, rng)
        else:
            return _read_in_chunks(reader, pixels, corners, side_px)
        return _read(reader, cut_gray(pixels, corners[chosen]), corners[chosen], side_px)

    return answer


def _read(reader: TileReader, tiles: Gray, corners: NDArray[np.int64], side_px: int) -> Tensor:
    middles = torch.from_numpy(corners + TILE_PX / 2).float()[None]
    mask = torch.ones(1, len(tiles), dtype=torch.bool)
    answer: Tensor = reader(torch.from_numpy(tiles)[None], middles, side_px, mask)
    return answer


def _read_in_chunks(
    reader: TileReader, pixels: Gray, corners: NDArray[np.int64], side_px: int
) -> Tensor:
    """Every tile, a chunk at a time: reading them all at once would only cost more memory."""
    features = torch.cat(
        [
            reader.encoder(torch.from_numpy(cut_gray(pixels, corners[start : start + CHUNK_TILES])))
            for start in range(0, len(corners), CHUNK_TILES)
        ]
    )[None]
    middles = torch.from_numpy(corners + TILE_PX / 2).float()[None]
    mask = torch.ones(1, len(corners), dtype=torch.bool)
    answer: Tensor = reader.heads(features, middles, side_px, mask)
    return answer


@torch.no_grad()
def _measure(answer: Answer, pixels: Gray) -> dict[str, float]:
    _forget_peak()
    before = _memory_mb("VmRSS")
    with FlopCounterMode(display=False) as counter:
        answer(pixels)
    walls = []
    for turn in range(ROUNDS + WARM_UP):
        started = time.perf_counter()
        answer(pixels)
        if turn >= WARM_UP:
            walls.append(1000 * (time.perf_counter() - started))
    return {
        "macs": int(counter.get_total_flops()) // 2,
        "wall_ms": round(statistics.median(walls), 2),
        "peak_mb": round(_memory_mb("VmHWM") - before, 1),
    }


def _learning_peak_mb(reader: TileReader, tiles: Gray) -> float:
    """Memory of one step of learning on one canvas."""
    reader.train()
    _forget_peak()
    before = _memory_mb("VmRSS")
    count = max(2, len(tiles))
    mask = torch.ones(1, count, dtype=torch.bool)
    pixels = torch.from_numpy(np.resize(tiles, (1, count, TILE_PX, TILE_PX)))
    reader(pixels, torch.rand(1, count, 2) * 100, 100, mask).sum().backward()
    return round(_memory_mb("VmHWM") - before, 1)


def _forget_peak() -> None:
    """Let Linux measure the peak of this process's memory anew."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _memory_mb(name: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no line {name}.")
