"""A diagnosis as a trained model would give it, without a model."""

from collections.abc import Callable

import numpy as np
import pytest

from leafscout.photos.tiles import lay_tiles
from leafscout.types import Cost, Diagnosis, LesionBox


@pytest.fixture(name="diagnosis_of")
def _diagnosis_of() -> Callable[..., Diagnosis]:
    def make(
        source: str = "photos/leaf.jpg",
        labels: tuple[str, ...] = ("rust", "miner"),
        probs: tuple[float, ...] | None = None,
        unsure: str | None = None,
        read: tuple[int, ...] = (1, 4),
    ) -> Diagnosis:
        tiles = lay_tiles((450, 680), 256)  # two rows of three tiles
        chosen = np.isin(np.arange(len(tiles)), np.array(read, dtype=np.int64))
        values = np.array(probs or (0.93, *[0.04] * (len(labels) - 1)), dtype=np.float32)
        tile_probs = np.full((len(tiles), len(labels)), 0.2, dtype=np.float32)
        tile_probs[~chosen] = np.nan
        lesion_map = np.zeros((len(labels), 5, 7), dtype=np.float32)
        found = values[0] >= 0.5 and bool(read)
        if found:
            lesion_map[0, 0, 3:5] = 0.9
        return Diagnosis(
            source=source,
            photo_size_px_hw=(450, 680),
            labels=labels,
            label_probs=values,
            thresholds=np.full(len(labels), 0.5, dtype=np.float32),
            healthy_prob=float(np.prod(1 - values)),
            unsure=unsure,
            tiles=tiles,
            read=chosen,
            scout_probs=np.linspace(0.1, 0.6, len(tiles), dtype=np.float32),
            tile_probs=tile_probs,
            lesion_map=lesion_map,
            lesion_map_px=100,
            lesion_boxes=(LesionBox(labels[0], (300, 0, 500, 100), 0.9),) if found else (),
            cost=Cost(150, 1000, len(read), len(tiles), 0.3, 0.25),
        )

    return make
