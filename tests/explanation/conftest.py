"""Diagnoses as a trained model would give them, without a model."""

from collections.abc import Callable

import numpy as np
import pytest

from leafscout.explanation.lesion_map import build_lesion_map, find_lesion_boxes, lesion_cell_px
from leafscout.photos.tiles import lay_tiles
from leafscout.types import Cost, Diagnosis, Photo

Lesion = tuple[str, float, float, float]
"""Label, centre and radius, as pixels of the photo: (label, x, y, radius)."""

PLACES = 12


def make_photo(height: int, width: int, seed: int = 0) -> Photo:
    """Green noise with a bright leaf-like band, cheap at any size."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    base = 90 + 40 * np.sin(x / 37.0) + 25 * np.cos(y / 23.0)
    pixels = np.stack([base * 0.6, base + 30, base * 0.5], axis=-1)
    pixels += rng.normal(0, 6, pixels.shape)
    return Photo(np.clip(pixels, 0, 255).astype(np.uint8), "photos/leaf.jpg")


def make_diagnosis(
    photo: Photo,
    labels: tuple[str, ...] = ("rust", "miner", "phoma"),
    lesions: tuple[Lesion, ...] = (),
    read: tuple[int, ...] | str = "lesions",
    tile_px: int = 384,
    unsure: str | None = None,
) -> Diagnosis:
    """A diagnosis whose evidence stands where the lesions are told to be."""
    tiles = lay_tiles(photo.size_px_hw, tile_px)
    boxes = tiles.boxes_px_xyxy
    place_logits = np.full((len(tiles), len(labels), PLACES, PLACES), -4.0, dtype=np.float32)
    centres = (np.arange(PLACES) + 0.5) * tile_px / PLACES
    for label, x, y, radius in lesions:
        for tile, (left, top, _, _) in enumerate(boxes):
            far = np.hypot(centres[:, None] + top - y, centres[None, :] + left - x)
            logits = 3.0 - 3.0 * np.maximum(far - tile_px / (2 * PLACES), 0) / radius
            channel = place_logits[tile, labels.index(label)]
            np.maximum(channel, logits.astype(np.float32), out=channel)
    tile_logits = place_logits.max(axis=(2, 3))
    scout = 1 / (1 + np.exp(-(tile_logits.max(axis=1) - 0.4)))
    if read == "lesions":
        looked = tile_logits.max(axis=1) > 0
    elif read == "all":
        looked = np.ones(len(tiles), dtype=np.bool_)
    else:
        looked = np.isin(np.arange(len(tiles)), np.array(read, dtype=np.int64))
    tile_probs = 1 / (1 + np.exp(-tile_logits))
    tile_probs[~looked] = np.nan
    seen = {name for name, *_ in lesions}
    probs = np.array(
        [0.93 - 0.11 * i if name in seen else 0.03 + 0.02 * i for i, name in enumerate(labels)],
        dtype=np.float32,
    )
    thresholds = np.linspace(0.4, 0.6, len(labels)).astype(np.float32)
    present = tuple(n for n, p, t in zip(labels, probs, thresholds, strict=True) if p >= t)
    cell_px = lesion_cell_px(tile_px, PLACES)
    lesion_map = build_lesion_map(tiles, looked, place_logits[looked], cell_px=cell_px)
    area = np.zeros(photo.size_px_hw, dtype=np.bool_)
    for left, top, right, bottom in boxes[looked]:
        area[top:bottom, left:right] = True
    count = int(looked.sum())
    return Diagnosis(
        source=photo.source,
        photo_size_px_hw=photo.size_px_hw,
        labels=labels,
        label_probs=probs,
        thresholds=thresholds,
        healthy_prob=float(np.prod(1 - probs)),
        unsure=unsure,
        tiles=tiles,
        read=looked,
        scout_probs=scout.astype(np.float32),
        tile_probs=tile_probs.astype(np.float32),
        lesion_map=lesion_map,
        lesion_map_px=cell_px,
        lesion_boxes=find_lesion_boxes(lesion_map, cell_px, photo.size_px_hw, labels, present),
        cost=Cost(
            macs=20_000_000 + 100_000_000 * count,
            macs_all_tiles=100_000_000 * len(tiles),
            tiles_read=count,
            tiles_total=len(tiles),
            area_read_frac=float(area.mean()),
            seconds=0.04 + 0.02 * count,
        ),
    )


@pytest.fixture(name="photo_of")
def _photo_of() -> Callable[..., Photo]:
    return make_photo


@pytest.fixture(name="diagnosis_of")
def _diagnosis_of() -> Callable[..., Diagnosis]:
    return make_diagnosis
