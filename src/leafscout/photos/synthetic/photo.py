"""One synthetic photo: lay out a scene, paint it, put the marks on it, light it, photograph it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leafscout.errors import InputError
from leafscout.photos.synthetic.distractors import (
    STAND_INS,
    draw_dew,
    draw_insect_hole,
    draw_shadow_spot,
    draw_stand_in,
)
from leafscout.photos.synthetic.lesions import draw_lesion
from leafscout.photos.synthetic.plants import (
    FAR,
    FIRST_LEAF,
    GROUND,
    Leaf,
    paint_flat_leaf,
    place_leaf,
)
from leafscout.photos.synthetic.scene import Scene, Spot
from leafscout.photos.synthetic.settings import (
    FieldSettings,
    SyntheticDistractor,
    SyntheticLesion,
    SyntheticPhoto,
)
from leafscout.photos.synthetic.textures import (
    add_sensor_noise,
    light_photo,
    paint_foliage,
    paint_sky,
    paint_soil,
)

ATTEMPTS = 12
FEW_RATIO = 0.75
"""Each further mark of a group is this much less likely than the one before."""


def render_photo(settings: FieldSettings, seed: int) -> SyntheticPhoto:
    """Render one photo that knows its truth.

    Args:
        settings: what the field looks like.
        seed: any whole number from 0 up; the same one gives the same photo.

    Raises:
        InputError: when the seed is negative, or the lesions find no room on the leaves.
    """
    if seed < 0:
        raise InputError(f"Expected a seed of 0 or more, but got {seed}.")
    plan = _plan_photo(settings, np.random.default_rng([seed, 0]))
    for attempt in range(1, ATTEMPTS + 1):
        photo = _try_photo(settings, plan, np.random.default_rng([seed, attempt]))
        if photo is not None:
            return photo
    raise InputError(
        f"Expected lesions of {max(settings.lesion_sizes_px)} px to find room on the leaves of a "
        f"photo of {settings.size_px_hw[1]}×{settings.size_px_hw[0]} px, but they did not. "
        "Choose smaller lesions, fewer diseases or larger photos."
    )


@dataclass(frozen=True)
class _Group:
    """The marks in the paint of one disease: lesions if it is present, else stand-ins."""

    label: str
    present: bool
    count: int
    size_px: int
    contrast: float


@dataclass(frozen=True)
class _Plan:
    labels: tuple[str, ...]
    leafless: bool
    groups: tuple[_Group, ...]


@dataclass(eq=False)
class _Truth:
    lesion_mask: NDArray[np.uint8]
    distractor_mask: NDArray[np.uint8]
    lesions: list[SyntheticLesion] = field(default_factory=list)
    distractors: list[SyntheticDistractor] = field(default_factory=list)


def _plan_photo(settings: FieldSettings, rng: np.random.Generator) -> _Plan:
    healthy = rng.random() < settings.healthy_frac
    leafless = bool(healthy and rng.random() < settings.no_leaf_frac)
    two = rng.random() < settings.two_disease_frac and len(settings.diseases) > 1
    chosen = rng.permutation(len(settings.diseases))[: 0 if healthy else 1 + two]
    fewest, most = settings.lesions_per_disease
    weights = FEW_RATIO ** np.arange(most - fewest + 1)
    groups = []
    for index, label in enumerate(settings.diseases):
        count = int(rng.choice(np.arange(fewest, most + 1), p=weights / weights.sum()))
        size = int(rng.choice(settings.lesion_sizes_px))
        contrast = float(rng.uniform(*settings.contrast_range))
        keep = rng.random() < settings.stand_in_frac
        if index in chosen or keep:
            groups.append(_Group(label, index in chosen, count, size, contrast))
    labels = tuple(name for index, name in enumerate(settings.diseases) if index in chosen)
    return _Plan(labels=labels, leafless=leafless, groups=tuple(groups))


def _try_photo(
    settings: FieldSettings, plan: _Plan, rng: np.random.Generator
) -> SyntheticPhoto | None:
    """Render a photo, or None when a group of marks found no room at all."""
    scene = _paint_scene(settings, rng, leafless=plan.leafless)
    truth = _Truth(
        lesion_mask=np.zeros(settings.size_px_hw, dtype=np.uint8),
        distractor_mask=np.zeros(settings.size_px_hw, dtype=np.uint8),
    )
    # one mark of each group in turn, so that no group is left without room by another
    for turn in range(settings.lesions_per_disease[1]):
        for index in rng.permutation(len(plan.groups)):
            group = plan.groups[index]
            if turn >= group.count:
                continue
            value = 1 + settings.diseases.index(group.label)
            placed = _put_mark(scene, group, value, truth, rng, leafless=plan.leafless)
            if turn == 0 and not placed:
                return None
    _put_distractors(scene, settings, truth, rng)
    _put_dew(scene, rng)
    lit = light_photo(rng, Image.fromarray(scene.pixels))
    pixels = np.array(add_sensor_noise(rng, lit), dtype=np.uint8)
    return SyntheticPhoto(
        pixels=pixels,
        labels=plan.labels,
        lesions=tuple(truth.lesions),
        distractors=tuple(truth.distractors),
        lesion_mask=truth.lesion_mask,
        distractor_mask=truth.distractor_mask,
    )


def _paint_scene(settings: FieldSettings, rng: np.random.Generator, *, leafless: bool) -> Scene:
    height, width = settings.size_px_hw
    view = float(rng.random())
    if view < 0.35 and not leafless:
        canvas, ground = paint_foliage(rng, settings.size_px_hw), FAR
    else:
        canvas, ground = paint_soil(rng, settings.size_px_hw, max(height, width) / 4000), GROUND
    owner = Image.new("L", canvas.size, ground)
    if 0.35 <= view < 0.55:
        horizon = round(height * float(rng.uniform(0.16, 0.4)))
        paint_sky(rng, canvas, horizon)
        owner.paste(FAR, (0, 0, width, horizon))
    leaves = _lay_weeds(settings, rng, rosettes=int(rng.integers(2, 5)) + 3 * leafless)
    if not leafless:
        leaves += _lay_blades(settings, rng)
    for index, leaf in enumerate(leaves):
        place_leaf(canvas, owner, leaf, paint_flat_leaf(rng, leaf), FIRST_LEAF + index)
    return Scene(pixels=np.array(canvas), owner=np.array(owner), leaves=tuple(leaves))


def _lay_weeds(settings: FieldSettings, rng: np.random.Generator, rosettes: int) -> list[Leaf]:
    height, width = settings.size_px_hw
    leaves = []
    for _ in range(rosettes):
        x, y = float(rng.uniform(0, width)), float(rng.uniform(height * 0.3, height))
        length = float(rng.uniform(0.09, 0.2)) * max(height, width)
        count = int(rng.integers(5, 9))
        first = float(rng.uniform(0, math.tau))
        for index in range(count):
            size = length * float(rng.uniform(0.65, 1.1))
            leaves.append(
                Leaf(
                    base_px_xy=(x, y),
                    angle_rad=first + index * 2.39996 + float(rng.normal(0, 0.15)),
                    length_px=size,
                    width_px=size * float(rng.uniform(0.36, 0.58)),
                    bend_px=size * float(rng.normal(0, 0.1)),
                    weed=True,
                )
            )
    return leaves


def _lay_blades(settings: FieldSettings, rng: np.random.Generator) -> list[Leaf]:
    """Blades of the crop; the last, on top, crosses the middle and has room for any lesion."""
    height, width = settings.size_px_hw
    long_side = max(height, width)
    narrowest = max(0.055 * long_side, 1.45 * max(settings.lesion_sizes_px))
    heading = float(rng.uniform(0, math.tau))
    leaves = []
    count = int(rng.integers(5, 10))
    for index in range(count):
        angle = heading + float(rng.normal(0, 0.5))
        length = long_side * float(rng.uniform(0.75, 1.3))
        on_top = index == count - 1
        spread = 0.15 if on_top else 0.5
        x = width * (0.5 + float(rng.uniform(-spread, spread)))
        y = height * (0.5 + float(rng.uniform(-spread, spread)))
        back = length * float(rng.uniform(0.3, 0.6))
        leaves.append(
            Leaf(
                base_px_xy=(x - back * math.cos(angle), y - back * math.sin(angle)),
                angle_rad=angle,
                length_px=length,
                width_px=narrowest * float(rng.uniform(1.15 if on_top else 1.0, 2.1)),
                bend_px=length * float(np.clip(rng.normal(0, 0.13), -0.3, 0.3)),
                weed=False,
            )
        )
    return leaves


def _put_mark(
    scene: Scene,
    group: _Group,
    value: int,
    truth: _Truth,
    rng: np.random.Generator,
    *,
    leafless: bool,
) -> bool:
    """Put one lesion or stand-in of a group; False when there is no room."""
    radius = group.size_px / 2
    spot = scene.find_on_leaf(radius, rng, weed=leafless)
    if spot is None and leafless:
        spot = scene.find_on_ground(radius, rng)
    if spot is None:
        return False
    mark = draw_lesion(group.label, group.size_px, spot.angle_rad, rng)
    if group.present:
        box = scene.blend(mark, spot, radius, group.contrast, truth.lesion_mask, value)
        truth.lesions.append(SyntheticLesion(group.label, box, group.size_px, group.contrast))
        return True
    kind = str(rng.choice(STAND_INS))
    mark = draw_stand_in(kind, mark, spot.angle_rad, rng)
    box = scene.blend(mark, spot, radius, group.contrast, truth.distractor_mask, 1)
    truth.distractors.append(
        SyntheticDistractor(kind, group.label, box, group.size_px, group.contrast)
    )
    return True


def _put_distractors(
    scene: Scene, settings: FieldSettings, truth: _Truth, rng: np.random.Generator
) -> None:
    """Put what every field has, whatever its labels; what finds no room is left out."""
    fewest, most = settings.distractors_per_photo
    kinds = ("weed_spot", "soil_speck", "insect_hole", "shadow_spot")
    for _ in range(int(rng.integers(fewest, most + 1))):
        kind = str(rng.choice(kinds, p=[0.4, 0.25, 0.2, 0.15]))
        size = int(rng.choice(settings.lesion_sizes_px))
        contrast = float(rng.uniform(*settings.contrast_range))
        label = str(rng.choice(settings.diseases)) if kind in kinds[:2] else ""
        spot = _find_for(kind, scene, size / 2, rng)
        if spot is None:
            continue
        if label:
            mark = draw_lesion(label, size, spot.angle_rad, rng)
        elif kind == "insect_hole":
            mark, contrast = draw_insect_hole(size, rng), 1.0
        else:
            mark = draw_shadow_spot(size, rng)
        box = scene.blend(mark, spot, size / 2, contrast, truth.distractor_mask, 1)
        truth.distractors.append(SyntheticDistractor(kind, label, box, size, contrast))


def _find_for(kind: str, scene: Scene, radius_px: float, rng: np.random.Generator) -> Spot | None:
    if kind == "soil_speck":
        return scene.find_on_ground(radius_px, rng)
    weed = kind == "weed_spot" or bool(rng.random() < 0.3)
    return scene.find_on_leaf(radius_px, rng, weed=weed)


def _put_dew(scene: Scene, rng: np.random.Generator) -> None:
    """Put drops of dew on the leaves of some photos, clear of every mark."""
    if rng.random() > 0.4:
        return
    scale = max(scene.owner.shape) / 4000
    for _ in range(int(rng.integers(15, 90))):
        radius = max(1.2, float(rng.gamma(2.0, 5.5)) * scale)
        x, y = (float(rng.uniform(0, side)) for side in scene.owner.shape[::-1])
        factor, spark = draw_dew(radius)
        left, top = round(x) - factor.shape[1] // 2, round(y) - factor.shape[0] // 2
        box = scene.owner[
            max(top, 0) : top + factor.shape[0], max(left, 0) : left + factor.shape[1]
        ]
        near_mark = any(math.hypot(x - a, y - b) < 1.5 * r + radius for a, b, r in scene.taken)
        if box.shape != factor.shape or int(box.min()) < FIRST_LEAF or near_mark:
            continue
        view = scene.pixels[top : top + factor.shape[0], left : left + factor.shape[1]]
        shone = view * factor[..., None] * (1 - spark[..., None]) + 255 * spark[..., None]
        view[:] = np.clip(shone, 0, 255).astype(np.uint8)
