"""Look at photos again after a change that should or should not matter: shifted, or covered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leafscout.evaluation.audits import CoverTrial, FrameAgreement, compare_frames
from leafscout.glance.view import GLANCE_STEP_PX, take_glance
from leafscout.inference.load import Model
from leafscout.inference.sightings import Box, Sighting, find_regions
from leafscout.photos.decode import decode_photo
from leafscout.photos.paste import cover_region
from leafscout.types import FloatArray, Photo, Pixels

COVER_ROUNDS = 3
"""What is left of a lesion at the rim of a cover may be found again: so often it is covered too."""

_GROW = 0.25
_PLACES_TRIED = 50


def look_shifted(model: Model, sighting: Sighting) -> FrameAgreement | None:
    """Cut a photo out twice, half a tile apart, and compare what the scout says.

    Both cut-outs have the same size, so that only the frame has moved.

    Args:
        model: the model.
        sighting: of the photo.

    Returns:
        The agreement; None for a photo too small, or without anything to compare.
    """
    height, width = sighting.size_px_hw
    tile_px, glance_px = sighting.tiles.tile_px, model.core.rules.glance_px
    # Whole cells of the scout: a shift by parts of them would change its scores by itself.
    cell_px = max(1.0, max(height, width) / glance_px) * GLANCE_STEP_PX
    shift_px = round(max(1, round(tile_px / 2 / cell_px)) * cell_px)
    size = height - shift_px, width - shift_px
    if min(size) < tile_px / 2:
        return None
    pixels = decode_photo(sighting.path).pixels
    maps = [
        _score_map(model, pixels[start : start + size[0], start : start + size[1]])
        for start in (0, shift_px)
    ]
    return compare_frames(maps[0], maps[1], size, shift_px)


def look_covered(model: Model, sighting: Sighting, rng: np.random.Generator) -> CoverTrial | None:
    """Cover the suspicious places of a diseased photo and ask again, every tile read.

    Covers are taken from the tile for which the least evidence speaks. As a control, as many
    places of the same size are covered that do not touch the suspicious ones.

    Args:
        model: the model.
        sighting: of a diseased photo.
        rng: draws the places of the control.

    Returns:
        What became of the diagnosis; None for a photo in which the model finds none of its
        diseases or no place.
    """
    if not _finds(model, sighting, sighting.probs_all) or not sighting.regions:
        return None
    photo = decode_photo(sighting.path)
    quietest = int(np.argmin(sighting.tile_evidence))
    left, top, right, bottom = (int(edge) for edge in sighting.tiles.boxes_px_xyxy[quietest])
    source = left, top, right, bottom
    covered: list[Box] = []
    pixels, regions = photo.pixels, [box for _, box in sighting.regions]
    probs = sighting.probs_all
    for _ in range(COVER_ROUNDS):
        boxes = [_grow(box, sighting.size_px_hw) for box in regions]
        covered += boxes
        pixels = _cover(pixels, boxes, source)
        changed = Photo(pixels, photo.source)
        evidence, tiles = model.core.forward(changed, read_all=True)
        probs = model.core.label_probs(evidence)
        regions = [box for _, box in find_regions(model, changed, evidence, tiles, sighting.truth)]
        if not _finds(model, sighting, probs) or not regions:
            break
    elsewhere = _places_elsewhere(covered, sighting.size_px_hw, rng)
    control = Photo(_cover(photo.pixels, elsewhere, source), photo.source)
    control_probs = model.core.label_probs(model.core.forward(control, read_all=True)[0])
    return CoverTrial(
        photo=sighting.name,
        prob_before=float(sighting.probs_all[sighting.truth].max()),
        prob_covered=float(probs[sighting.truth].max()),
        prob_control=float(control_probs[sighting.truth].max()),
        healthy_covered=not _finds(model, sighting, probs),
        healthy_control=not _finds(model, sighting, control_probs),
    )


def _score_map(model: Model, pixels: Pixels) -> FloatArray:
    photo = Photo(np.ascontiguousarray(pixels), "<cut-out>")
    glance = take_glance(photo, model.core.rules.glance_px)
    return model.core.networks.run_scout(glance.pixels).score_map


def _finds(model: Model, sighting: Sighting, probs: FloatArray) -> bool:
    """Whether one of the photo's own diseases is found."""
    found = probs >= np.asarray(model.core.rules.thresholds, dtype=np.float32)
    return bool((found & sighting.truth).any())


def _cover(pixels: Pixels, boxes: Sequence[Box], source: Box) -> Pixels:
    for box in boxes:
        pixels = cover_region(pixels, box, source)
    return pixels


def _grow(box: Box, size_px_hw: tuple[int, int]) -> Box:
    left, top, right, bottom = box
    wide, high = round(_GROW * (right - left)), round(_GROW * (bottom - top))
    return (
        max(0, left - wide),
        max(0, top - high),
        min(size_px_hw[1], right + wide),
        min(size_px_hw[0], bottom + high),
    )


def _places_elsewhere(
    boxes: Sequence[Box], size_px_hw: tuple[int, int], rng: np.random.Generator
) -> list[Box]:
    """As many boxes of the same sizes that do not overlap the given ones, where there is room."""
    height, width = size_px_hw
    places = []
    for left, top, right, bottom in boxes:
        wide, high = right - left, bottom - top
        for _ in range(_PLACES_TRIED):
            x, y = int(rng.integers(0, width - wide + 1)), int(rng.integers(0, height - high + 1))
            free = all(
                x >= other[2] or x + wide <= other[0] or y >= other[3] or y + high <= other[1]
                for other in boxes
            )
            if free:
                places.append((x, y, x + wide, y + high))
                break
    return places
