"""Show the scout one lesion in a known place: does it lead there?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafscout.diagnosis.calibrate import sigmoid
from leafscout.evaluation.blind_zone import LesionTrial
from leafscout.evaluation.localisation import find_lesion_tiles
from leafscout.evaluation.visibility import measure_visibility
from leafscout.inference.load import Model
from leafscout.model import Scouted
from leafscout.photos.tiles import cut_tiles
from leafscout.types import FloatArray, Photo, Pixels, Tiles

Region = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the photo."""


@dataclass(frozen=True, eq=False)
class ShownLesion:
    """A lesion in a photo, and how it came there; see ``LesionTrial``."""

    photo: Photo
    region: Region
    source: str
    label: str
    contrast: float = 1.0


def try_lesion(
    model: Model,
    shown: ShownLesion,
    *,
    worth_reading: NDArray[np.bool_] | None = None,
    ask_expert: bool = False,
) -> LesionTrial:
    """Let the scout look at a photo with a lesion in a known place.

    Args:
        model: the model.
        shown: the lesion.
        worth_reading: (tiles,) the tiles that the scout asked for before the lesion was there.
        ask_expert: also ask the expert about the tiles that show the lesion.
    """
    glance = model.core.take_glance(shown.photo)
    scouted = model.core.scout(glance)
    shows = tiles_with(scouted.tiles, shown.region)
    worth = find_worth_reading(model, scouted)
    down, across = (
        small / full
        for small, full in zip(glance.pixels.shape[:2], shown.photo.size_px_hw, strict=True)
    )
    left, top, right, bottom = shown.region
    in_glance = left * across, top * down, right * across, bottom * down
    return LesionTrial(
        source=shown.source,
        label=shown.label,
        size_px=side_px(shown.region),
        glance_px=side_px(in_glance),
        contrast=shown.contrast,
        visibility=measure_visibility(glance.pixels, in_glance).score,
        seen=bool((worth & shows).any()),
        chosen=bool((scouted.read & shows).any()),
        seen_without=worth_reading is not None and bool((worth_reading & shows).any()),
        expert_sees=_ask_expert(model, shown, scouted.tiles, shows) if ask_expert else None,
    )


def find_worth_reading(model: Model, scouted: Scouted) -> NDArray[np.bool_]:
    """(tiles,) which tiles reach the choice threshold or are chosen."""
    # What a cap on the number of tiles turns away was seen all the same.
    reach = sigmoid(scouted.scout_logits) >= model.core.rules.choice.threshold_prob
    return np.asarray(reach | scouted.read)


def tiles_with(tiles: Tiles, region: Region) -> NDArray[np.bool_]:
    """(tiles,) which tiles show a region."""
    box = np.concatenate([np.floor(region[:2]), np.ceil(region[2:])]).astype(np.int64)
    return find_lesion_tiles(tiles.boxes_px_xyxy, box[None])


def side_px(region: Region) -> float:
    """Side of a square of a region's area."""
    return float(np.sqrt((region[2] - region[0]) * (region[3] - region[1])))


def _ask_expert(model: Model, shown: ShownLesion, tiles: Tiles, shows: NDArray[np.bool_]) -> bool:
    """Whether the expert finds the disease in a tile that shows the lesion."""
    if not shows.any():
        return False
    cut: Pixels = cut_tiles(shown.photo.pixels, tiles, np.flatnonzero(shows))
    found = model.core.networks.run_expert(cut).tile_logits
    known = shown.label in model.labels
    evidence: FloatArray = found[:, model.labels.index(shown.label)] if known else found
    return bool(evidence.max() >= 0)
