"""Find a model's blind zone on the user's own photos: lesions made smaller and fainter.

Places of lesions are taken from diseased photos, shrunk and pasted into healthy ones; whole
diseased photos are shrunk by two and by four and laid into healthy ones; and each lesion is asked
for where it was found. Background is pasted in the same way, as a control.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leafscout.evaluation.blind_zone import (
    CONTROL,
    NATIVE,
    PASTED,
    SHRUNK,
    TESTED_GLANCE_PX,
    BlindZone,
    LesionTrial,
    measure_blind_zone,
)
from leafscout.explanation.mosaic import draw_glance_comparison
from leafscout.inference.lesion_trials import (
    ShownLesion,
    find_worth_reading,
    tiles_with,
    try_lesion,
)
from leafscout.inference.load import Model
from leafscout.inference.sightings import Box, Sighting
from leafscout.photos.decode import decode_photo
from leafscout.photos.paste import Patch, cut_patch, lay_over, paste_patch, shrink_patch
from leafscout.training.progress import TrainingProgress
from leafscout.types import Photo, Pixels, Tiles

CONTRASTS = (1.0, 0.5, 0.25)
SHRINKS = (2, 4)
PICTURES = 6
_PLACES_TRIED = 40
_CALM = 20.0
"""Around a lesion inside a leaf, colours differ less than this (grey levels); at its rim, more."""

_LARGEST = 0.4
"""Larger regions, as a share of the photo's shorter side, are no single lesions to paste."""


@dataclass(frozen=True, eq=False)
class BlindZonePicture:
    """A lesion at glance scale beside full resolution, with what became of it."""

    pixels: Pixels
    caption: str


@dataclass(frozen=True, eq=False)
class _Donor:
    label: str
    lesion: Patch
    background: Patch | None


@dataclass(frozen=True, eq=False)
class _Host:
    """A healthy photo with what the scout says of it as it is."""

    photo: Photo
    glance: Pixels
    tiles: Tiles
    worth_reading: NDArray[np.bool_]


def find_blind_zone(
    model: Model,
    sightings: Sequence[Sighting],
    *,
    donors: int = 10,
    hosts: int = 8,
    seed: int = 0,
    progress: TrainingProgress,
) -> tuple[BlindZone, tuple[LesionTrial, ...], tuple[BlindZonePicture, ...]]:
    """Show the scout lesions of known size and contrast, and count those it leads to.

    Args:
        model: the model.
        sightings: of labelled photos.
        donors: at most so many lesions are pasted, of all labels in turn.
        hosts: at most so many healthy photos are pasted into.
        seed: of places and of the choice of photos.
        progress: where to show it.

    Returns:
        The blind zone, every trial behind it, and pictures of lesions near its limit.
    """
    rng = np.random.default_rng(seed)
    trials = [trial for one in sightings for trial in _native_trials(model, one)]
    chosen = _prefer_calm(_choose_donors(sightings, 3 * donors, rng))[:donors]
    healthy = [one for one in sightings if one.healthy]
    places = [healthy[index] for index in rng.permutation(len(healthy))[:hosts]]
    pictures: list[BlindZonePicture] = []
    if chosen and places:
        ready = [_prepare_host(model, one) for one in places]
        with progress.task("blind zone", total=len(chosen)) as task:
            for number, (sighting, donor) in enumerate(chosen):
                photo = decode_photo(sighting.path)
                turn = ready[number % len(ready) :] + ready[: number % len(ready)]
                wanted = PICTURES - len(pictures)
                for trial, picture in _pasted_trials(model, donor, turn, rng, wanted):
                    trials.append(trial)
                    pictures += [picture] if picture is not None else []
                trials += _shrunk_trials(model, photo, sighting, turn[0], rng)
                task.advance()
    sides = [max(one.size_px_hw) for one in sightings]
    zone = measure_blind_zone(
        trials, glance_px=model.core.rules.glance_px, photo_px=float(np.median(sides))
    )
    return zone, tuple(trials), tuple(pictures)


def _choose_donors(
    sightings: Sequence[Sighting], count: int, rng: np.random.Generator
) -> list[tuple[Sighting, tuple[str, Box]]]:
    """The strongest region of each photo, labels in turn, then the second strongest, and so on."""
    queues: dict[str, list[tuple[Sighting, tuple[str, Box]]]] = {}
    order = rng.permutation(len(sightings))
    for rank in range(2):
        for index in order:
            regions = [
                region
                for region in sightings[index].regions
                if max(region[1][2] - region[1][0], region[1][3] - region[1][1])
                <= _LARGEST * min(sightings[index].size_px_hw)
            ]
            if rank < len(regions):
                label = regions[rank][0]
                queues.setdefault(label, []).append((sightings[index], regions[rank]))
    chosen: list[tuple[Sighting, tuple[str, Box]]] = []
    while len(chosen) < count and any(queues.values()):
        for queue in queues.values():
            if queue and len(chosen) < count:
                chosen.append(queue.pop(0))
    return chosen


def _prefer_calm(
    candidates: Sequence[tuple[Sighting, tuple[str, Box]]],
) -> list[tuple[Sighting, _Donor]]:
    """Lesions inside a leaf first: one at its rim would take a piece of the rim along."""
    cut = [
        (sighting, _cut_donor(decode_photo(sighting.path), sighting, region))
        for sighting, region in candidates
    ]
    return sorted(cut, key=lambda pair: pair[1].lesion.unrest > _CALM)


def _cut_donor(photo: Photo, sighting: Sighting, region: tuple[str, Box]) -> _Donor:
    """The lesion, and as large a piece of the photo where the expert finds least."""
    label, box = region
    width, height = box[2] - box[0], box[3] - box[1]
    background = None
    quietest = int(np.argmin(sighting.tile_evidence))
    left, top, right, bottom = (int(edge) for edge in sighting.tiles.boxes_px_xyxy[quietest])
    if right - left >= width and bottom - top >= height:
        x, y = (left + right - width) // 2, (top + bottom - height) // 2
        background = cut_patch(photo.pixels, (x, y, x + width, y + height))
    return _Donor(label, cut_patch(photo.pixels, box), background)


def _prepare_host(model: Model, sighting: Sighting) -> _Host:
    photo = decode_photo(sighting.path)
    # From pixels, as after pasting: a glance straight from a file differs a little.
    glance = model.core.take_glance(Photo(photo.pixels, photo.source))
    scouted = model.core.scout(glance)
    return _Host(photo, glance.pixels, scouted.tiles, find_worth_reading(model, scouted))


def _pasted_trials(
    model: Model,
    donor: _Donor,
    hosts: Sequence[_Host],
    rng: np.random.Generator,
    pictures: int,
) -> Iterator[tuple[LesionTrial, BlindZonePicture | None]]:
    """A lesion at every size that is not larger than itself, at every contrast; some drawn."""
    for turn, glance_px in enumerate(TESTED_GLANCE_PX):
        host = hosts[turn % len(hosts)]
        scale = max(host.glance.shape[:2]) / max(host.photo.size_px_hw)
        for kind, patch in ((PASTED, donor.lesion), (CONTROL, donor.background)):
            if patch is None or glance_px / scale > patch.region_side_px * 1.1:
                continue
            small = shrink_patch(patch, min(1.0, glance_px / scale / patch.region_side_px))
            corner = _pick_place(host, small, rng)
            if corner is None:
                continue
            for contrast in CONTRASTS if kind == PASTED else (1.0,):
                pixels, region = paste_patch(host.photo.pixels, small, *corner, contrast=contrast)
                pasted = Photo(pixels, host.photo.source)
                trial = try_lesion(
                    model,
                    ShownLesion(pasted, region, kind, donor.label, contrast),
                    worth_reading=host.worth_reading,
                    ask_expert=kind == PASTED and contrast == 1.0,
                )
                shown = kind == PASTED and contrast == 1.0 and 1.5 <= glance_px <= 8
                picture = _draw(pasted, region, scale, trial) if shown and pictures > 0 else None
                pictures -= picture is not None
                yield trial, picture


def _shrunk_trials(
    model: Model, photo: Photo, sighting: Sighting, host: _Host, rng: np.random.Generator
) -> Iterator[LesionTrial]:
    """A diseased photo as from farther away, inside a healthy one."""
    height, width = host.photo.size_px_hw
    for factor in SHRINKS:
        small_wh = (
            max(1, photo.pixels.shape[1] // factor),
            max(1, photo.pixels.shape[0] // factor),
        )
        if small_wh[0] > width or small_wh[1] > height:
            continue
        image = Image.fromarray(photo.pixels).resize(small_wh, Image.Resampling.BOX)
        left = int(rng.integers(0, width - small_wh[0] + 1))
        top = int(rng.integers(0, height - small_wh[1] + 1))
        inside = Photo(lay_over(host.photo.pixels, np.asarray(image), left, top), host.photo.source)
        across, down = small_wh[0] / photo.pixels.shape[1], small_wh[1] / photo.pixels.shape[0]
        for label, (x0, y0, x1, y1) in sighting.regions[:3]:
            region = left + x0 * across, top + y0 * down, left + x1 * across, top + y1 * down
            yield try_lesion(
                model,
                ShownLesion(inside, region, SHRUNK, label),
                worth_reading=host.worth_reading,
            )


def _native_trials(model: Model, sighting: Sighting) -> Iterator[LesionTrial]:
    """Lesions where they were found, at their own size."""
    if sighting.regions:
        photo = decode_photo(sighting.path)
        for label, box in sighting.regions:
            yield try_lesion(model, ShownLesion(photo, box, NATIVE, label))


def _pick_place(host: _Host, patch: Patch, rng: np.random.Generator) -> tuple[int, int] | None:
    """Left and top of a place whose colour is like that around the lesion: leaf on leaf.

    Places whose tile is worth reading anyway would prove nothing; they are passed over while
    there are others.
    """
    height, width = patch.size_px_hw
    room_y = host.photo.size_px_hw[0] - height
    room_x = host.photo.size_px_hw[1] - width
    if room_x < 0 or room_y < 0:
        return None
    down = host.glance.shape[0] / host.photo.size_px_hw[0]
    across = host.glance.shape[1] / host.photo.size_px_hw[1]
    best: tuple[bool, float, int, int] | None = None
    for _ in range(_PLACES_TRIED):
        left, top = int(rng.integers(0, room_x + 1)), int(rng.integers(0, room_y + 1))
        y, x = int((top + height / 2) * down), int((left + width / 2) * across)
        around = host.glance[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].reshape(-1, 3)
        unlike = float(np.linalg.norm(around.mean(axis=0) - patch.colour))
        shows = tiles_with(host.tiles, (left, top, left + width, top + height))
        taken = bool((shows & host.worth_reading).any())
        if best is None or (taken, unlike) < best[:2]:
            best = taken, unlike, left, top
    return None if best is None else best[2:]


def _draw(
    photo: Photo,
    region: tuple[float, float, float, float],
    scale: float,
    trial: LesionTrial,
) -> BlindZonePicture:
    left, top, right, bottom = region
    box = int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom))
    said = "seen by the scout" if trial.seen else "not seen by the scout"
    caption = (
        f"{trial.label} of {trial.size_px:.0f} px, {trial.glance_px:.1f} px of the glance: {said} "
        f"(visibility {trial.visibility:.1f})"
    )
    return BlindZonePicture(draw_glance_comparison(photo, box, scale), caption)
