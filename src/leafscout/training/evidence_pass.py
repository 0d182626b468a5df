"""Between the stages: the frozen expert's evidence for every tile of every photo."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leafscout.focus.expert import Expert
from leafscout.networks import TILES_AT_ONCE, to_batch
from leafscout.photos.loader import load_photos
from leafscout.photos.tiles import cut_tiles, lay_tiles
from leafscout.training.checkpoint import load_tensors, save_tensors
from leafscout.training.loop import CHECKPOINT_EVERY_S, stop_between_steps
from leafscout.training.progress import TrainingProgress
from leafscout.training.recovery import give_memory_back, is_out_of_memory
from leafscout.types import FloatArray, Photo, Tiles


def draw_tile_share(tiles: int, share: float, seed: int, photo: int) -> NDArray[np.int64]:
    """Which tiles of a photo the expert reads to teach the scout, where it does not read all.

    Args:
        tiles: of the photo.
        share: of them that is read, above 0 and up to 1; at least one tile is.
        seed: of the run.
        photo: number of the photo.

    Returns:
        Sorted indices, drawn at random.
    """
    if share >= 1.0:
        return np.arange(tiles)
    count = max(1, round(share * tiles))
    rng = np.random.default_rng([seed, 8, photo])
    return np.sort(rng.choice(tiles, size=count, replace=False))


@torch.no_grad()
def gather_evidence(
    expert: Expert,
    paths: Sequence[Path],
    tile_px: int,
    store: Path,
    device: torch.device,
    *,
    mixed_precision: bool,
    progress: TrainingProgress,
    share: float = 1.0,
    seed: int = 0,
) -> list[FloatArray]:
    """Run the expert over all tiles of all photos, or read what an earlier pass has stored.

    Args:
        expert: trained; not changed.
        paths: the photos.
        tile_px: side of a tile.
        store: safetensors file that the evidence is kept in, for resuming.
        device: where the expert lives.
        mixed_precision: use bfloat16.
        progress: where to show it.
        share: of each photo's tiles that is read, drawn at random: a bound for huge photos.
        seed: of that drawing.

    Returns:
        Per photo, (tiles, labels) logits; NaN for tiles that were not read.
    """
    expert.eval()
    done = load_tensors(store)[0] if store.exists() else {}
    missing = [index for index in range(len(paths)) if str(index) not in done]
    saved_s, at_once = time.monotonic(), TILES_AT_ONCE
    with (
        stop_between_steps() as stop_wanted,
        progress.task("evidence", total=len(paths), done=len(done)) as task,
    ):
        for index, photo in load_photos(paths, missing):
            tiles = lay_tiles(photo.size_px_hw, tile_px)
            read = draw_tile_share(len(tiles), share, seed, index)
            found = None
            while found is None:
                try:
                    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed_precision):
                        found = _read_tiles(expert, photo, tiles, read, at_once, device)
                except (MemoryError, RuntimeError) as error:
                    if not is_out_of_memory(error) or at_once == 1:
                        raise
                    give_memory_back(error, device)
                    at_once //= 2
                    progress.say(
                        f"There was not enough memory: {at_once} tiles are read at a time from "
                        "here on."
                    )
            whole = torch.full((len(tiles), found.shape[1]), torch.nan)
            whole[torch.from_numpy(read)] = found
            done[str(index)] = whole
            task.advance()
            if stop_wanted() or time.monotonic() - saved_s > CHECKPOINT_EVERY_S:
                save_tensors(store, done, {})
                saved_s = time.monotonic()
            if stop_wanted():
                raise KeyboardInterrupt
    if missing:
        save_tensors(store, done, {})
    return [done[str(index)].numpy().astype(np.float32) for index in range(len(paths))]


def _read_tiles(
    expert: Expert,
    photo: Photo,
    tiles: Tiles,
    read: NDArray[np.int64],
    at_once: int,
    device: torch.device,
) -> Tensor:
    """(read, labels) logits of some tiles, so many at a time."""
    parts = []
    for start in range(0, len(read), at_once):
        chosen = read[start : start + at_once]
        out = expert(to_batch(cut_tiles(photo.pixels, tiles, chosen), device))
        parts.append(out.tile_logits.float())
    return torch.cat(parts).cpu()
