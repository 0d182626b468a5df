"""Between the stages: the frozen expert's evidence for every tile of every photo."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from leafscout.focus.expert import Expert
from leafscout.networks import TILES_AT_ONCE, to_batch
from leafscout.photos.loader import load_photos
from leafscout.photos.tiles import cut_tiles, lay_tiles
from leafscout.training.checkpoint import load_tensors, save_tensors
from leafscout.training.loop import CHECKPOINT_EVERY_S, stop_between_steps
from leafscout.training.progress import TrainingProgress
from leafscout.types import FloatArray


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
    saved_s = time.monotonic()
    with (
        stop_between_steps() as stop_wanted,
        progress.task("evidence", total=len(paths), done=len(done)) as task,
    ):
        for index, photo in load_photos(paths, missing):
            tiles = lay_tiles(photo.size_px_hw, tile_px)
            read = draw_tile_share(len(tiles), share, seed, index)
            parts = []
            for start in range(0, len(read), TILES_AT_ONCE):
                chosen = read[start : start + TILES_AT_ONCE]
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed_precision):
                    out = expert(to_batch(cut_tiles(photo.pixels, tiles, chosen), device))
                parts.append(out.tile_logits.float())
            found = torch.cat(parts).cpu()
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
