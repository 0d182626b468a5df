"""Methods that read the resized canvas or tiles of the grid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from megapixel_learning import (
    BATCH,
    Method,
    Outcome,
    Sizes,
    Trainer,
    answer_from_tiles,
    count_steps,
    draw_batches,
    loss_of,
    read_answers,
)
from megapixel_looking import CanvasSet, cut_grid, join_bag
from megapixel_networks import (
    TILE_PX,
    CrossAttentionHeads,
    EvidencePooling,
    ResizedReader,
    TileReader,
)

KEPT_TILES = 16
CHUNK_TILES = 32


def learn_resized(
    train: CanvasSet, validation: CanvasSet, seed: int, sizes: Sizes
) -> Callable[[CanvasSet], Outcome]:
    """One network on the canvas made small."""
    del validation
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    network, count = ResizedReader(), len(train.canvases)
    trainer = Trainer(network, count_steps(count, sizes.epochs))
    for _ in range(sizes.epochs):
        for rows in draw_batches(count, rng):
            network.train()
            glances = np.roll(train.resized[rows], rng.integers(-2, 3, 2), axis=(1, 2))
            trainer.step(loss_of(network(torch.from_numpy(glances)), *train.targets(rows)))

    @torch.no_grad()
    def answer(data: CanvasSet) -> Outcome:
        network.eval()
        logits = torch.cat(
            [
                network(torch.from_numpy(data.resized[start : start + BATCH]))
                for start in range(0, len(data.canvases), BATCH)
            ]
        )
        none = np.zeros((0, 2), dtype=np.int64)
        return Outcome(read_answers(logits), [none] * len(data.canvases))

    return answer


Pick = Callable[[TileReader, np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
"""Reader, tiles with ink, their corners, random numbers → which of them are learnt from or read."""


def keep_all(
    reader: TileReader, tiles: np.ndarray, corners: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Every tile."""
    del reader, corners, rng
    return np.arange(len(tiles))


@torch.no_grad()
def keep_best(
    reader: TileReader, tiles: np.ndarray, corners: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The tiles that the pooling wants most, found a chunk at a time.

    After the way of Bergner et al. (2023): all tiles go through the same encoder without gradients,
    a chunk joins the best so far, and the best of both stay. No more than a chunk and the best are
    ever in memory.
    """
    del rng
    reader.eval()
    best, scores = np.zeros(0, dtype=np.int64), torch.zeros(0)
    for start in range(0, len(tiles), CHUNK_TILES):
        chunk = np.arange(start, min(start + CHUNK_TILES, len(tiles)))
        features = reader.encoder(torch.from_numpy(tiles[chunk]))[None]
        if isinstance(reader.heads, CrossAttentionHeads):
            middles = torch.from_numpy(corners[chunk] + TILE_PX / 2).float()[None]
            wanted = reader.heads.score_tiles(features, middles)[0]
        elif isinstance(reader.heads, EvidencePooling):
            wanted = reader.heads.score_tiles(features)[0]
        else:
            raise TypeError(f"{type(reader.heads).__name__} has no wish for single tiles.")
        both, scores = np.concatenate([best, chunk]), torch.cat([scores, wanted])
        top = scores.topk(min(KEPT_TILES, len(both))).indices
        best, scores = both[top.numpy()], scores[top]
    return best


def _inked(data: CanvasSet, row: int, rng: np.random.Generator | None) -> tuple[np.ndarray, ...]:
    tiles, corners = cut_grid(data, row, rng)
    ink = tiles.any(axis=(1, 2))
    return tiles[ink], corners[ink]


def learn_grid(pooling: str, pick: Pick | None) -> Method:
    """Methods that read tiles of the grid.

    Tiles without ink are all alike; they are left out of every bag, whatever the method.

    Args:
        pooling: a key of ``POOLINGS``.
        pick: which tiles with ink; None draws ``KEPT_TILES`` of all tiles, blank or not.
    """

    def open_tiles(
        reader: TileReader, data: CanvasSet, row: int, rng: np.random.Generator, *, moved: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        if pick is not None:
            tiles, corners = _inked(data, row, rng if moved else None)
            chosen = pick(reader, tiles, corners, rng)
            return tiles[chosen], corners[chosen]
        tiles, corners = cut_grid(data, row, rng if moved else None)
        chosen = rng.choice(len(tiles), min(KEPT_TILES, len(tiles)), replace=False)
        return tiles[chosen], corners[chosen]

    def learn(
        train: CanvasSet, validation: CanvasSet, seed: int, sizes: Sizes
    ) -> Callable[[CanvasSet], Outcome]:
        del validation
        torch.manual_seed(seed)
        rng = np.random.default_rng([seed, 2])
        reader, count = TileReader(pooling), len(train.canvases)
        trainer = Trainer(reader, count_steps(count, sizes.epochs), sizes.rate)
        for _ in range(sizes.epochs):
            for rows in draw_batches(count, rng):
                bag = join_bag([open_tiles(reader, train, row, rng, moved=True) for row in rows])
                reader.train()
                logits = reader(bag.tiles, bag.middles_px, train.side_px, bag.mask)
                trainer.step(loss_of(logits, *train.targets(rows)))

        def answer(data: CanvasSet) -> Outcome:
            draw = np.random.default_rng([seed, 3])
            everything = range(len(data.canvases))
            return answer_from_tiles(
                reader,
                data,
                (open_tiles(reader, data, row, draw, moved=False) for row in everything),
            )

        return answer

    return learn
