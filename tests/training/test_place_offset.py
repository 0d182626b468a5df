"""Mirrored tiles tell how far from its cell's middle a network looks."""

import numpy as np
import pytest

from leafscout.model import GlanceEvidence, TileEvidence
from leafscout.training.place_offset import LEAST_TILES, measure_place_offset
from leafscout.types import Pixels

TILE_PX, PLACE_PX = 128, 16


class LooksAside:
    """Finds a bright spot, but each cell looks some pixels right of and below its middle."""

    def __init__(self, offset_px: int) -> None:
        self.offset_px = offset_px

    def run_scout(self, glance: Pixels) -> GlanceEvidence:
        raise NotImplementedError

    def run_expert(self, tiles: Pixels) -> TileEvidence:
        moved = np.roll(tiles[..., 0].astype(np.float32), -self.offset_px, axis=(1, 2))
        cells = TILE_PX // PLACE_PX
        places = moved.reshape(len(tiles), cells, PLACE_PX, cells, PLACE_PX).mean(axis=(2, 4))
        nothing = np.zeros((len(tiles), 1), np.float32)
        return TileEvidence(nothing, nothing, places[:, None] / 10)


def draw_spots(count: int) -> list[tuple[Pixels, int]]:
    rng = np.random.default_rng(0)
    spots = []
    for _ in range(count):
        tile = np.zeros((TILE_PX, TILE_PX, 3), np.uint8)
        top, left = rng.integers(32, 80, 2)
        tile[top : top + 16, left : left + 16] = 40
        spots.append((tile, 0))
    return spots


@pytest.mark.parametrize("offset_px", [-8, 0, 6])
def test_the_offset_is_found(offset_px: int) -> None:
    measured = measure_place_offset(LooksAside(offset_px), draw_spots(24))
    assert measured == pytest.approx(offset_px, abs=1.0)


def test_too_few_tiles_say_nothing() -> None:
    assert measure_place_offset(LooksAside(-8), draw_spots(LEAST_TILES - 1)) == 0.0
