"""What a synthetic field looks like, and the values that a rendered photo comes in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.types import Pixels

DISEASES = ("blast", "brown_spot", "powdery_mildew", "rust")
"""Every disease that can be drawn."""

MIN_SIDE_PX = 200
MIN_LESION_PX = 6


@dataclass(frozen=True)
class FieldSettings:
    """What is drawn in a synthetic field; a photo depends on nothing but these and its seed.

    Every photo carries, for *every* disease, a group of marks of one size and contrast: lesions
    where the disease is present, stand-ins where it is not. A stand-in is painted with exactly
    the pixels of a lesion, arranged as another shape in the same kind of place, so colours, sizes
    and numbers do not tell a diseased photo from a healthy one.

    Attributes:
        size_px_hw: height and width of a photo, each at least 200 px.
        diseases: which diseases occur; their order numbers them in the masks.
        healthy_frac: share of photos without disease, 0..1.
        two_disease_frac: share of the diseased photos that have two diseases, 0..1.
        no_leaf_frac: share of the healthy photos that show no crop leaf at all, 0..1.
        lesion_sizes_px: diameters (largest extents) to draw from, in pixels of the photo.
        contrast_range: opacity of a mark, 0..1, drawn evenly between the two.
        lesions_per_disease: fewest and most marks in a group; few are likelier than many.
        stand_in_frac: chance that an absent disease has its group of stand-ins, 0..1. Below 1
            colours begin to tell the classes apart.
        distractors_per_photo: fewest and most further distractors, whatever the labels: spots on
            weeds and soil that have a lesion's shape too, insect holes, small shadows.

    Raises:
        InputError: when a value is out of its range.
    """

    size_px_hw: tuple[int, int] = (3000, 4000)
    diseases: tuple[str, ...] = DISEASES
    healthy_frac: float = 0.4
    two_disease_frac: float = 0.15
    no_leaf_frac: float = 0.1
    lesion_sizes_px: tuple[int, ...] = (8, 10, 16, 24, 40, 80, 160)
    contrast_range: tuple[float, float] = (0.1, 1.0)
    lesions_per_disease: tuple[int, int] = (1, 12)
    stand_in_frac: float = 1.0
    distractors_per_photo: tuple[int, int] = (4, 10)

    def __post_init__(self) -> None:
        self._check_sizes()
        unknown = [name for name in self.diseases if name not in DISEASES]
        if unknown or not self.diseases or len(set(self.diseases)) != len(self.diseases):
            raise InputError(
                f"Expected diseases to be different names out of {', '.join(DISEASES)}, "
                f"but got {', '.join(self.diseases) or 'none'}."
            )
        for name in ("healthy_frac", "two_disease_frac", "no_leaf_frac", "stand_in_frac"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InputError(f"Expected {name} to be between 0 and 1, but got {value}.")
        low, high = self.contrast_range
        if not 0 < low <= high <= 1:
            raise InputError(
                "Expected contrast_range to be two rising numbers above 0 and up to 1, "
                f"but got {low}, {high}."
            )
        for name, least in (("lesions_per_disease", 1), ("distractors_per_photo", 0)):
            fewest, most = getattr(self, name)
            if not least <= fewest <= most:
                raise InputError(
                    f"Expected {name} to be two rising whole numbers from {least} up, "
                    f"but got {fewest}, {most}."
                )

    def _check_sizes(self) -> None:
        height, width = self.size_px_hw
        if min(height, width) < MIN_SIDE_PX:
            raise InputError(
                f"Expected synthetic photos of at least {MIN_SIDE_PX} px a side, "
                f"but got {width}×{height} px."
            )
        largest = min(height, width) // 4
        if not self.lesion_sizes_px or not all(
            MIN_LESION_PX <= size <= largest for size in self.lesion_sizes_px
        ):
            raise InputError(
                f"Expected lesion_sizes_px between {MIN_LESION_PX} px and a quarter of the photo's "
                f"short side ({largest} px), but got "
                f"{', '.join(map(str, self.lesion_sizes_px)) or 'none'}. "
                "Choose smaller lesions or larger photos."
            )


DEMO_FIELD = FieldSettings(
    size_px_hw=(750, 1000),
    diseases=("powdery_mildew", "rust"),
    lesion_sizes_px=(24, 32, 48, 64),
    contrast_range=(0.8, 1.0),
    lesions_per_disease=(3, 12),
    stand_in_frac=0.0,
    distractors_per_photo=(0, 1),
)
"""A small field that a tiny network learns in minutes. Colours help here: it is no test bench."""


@dataclass(frozen=True)
class SyntheticLesion:
    """One lesion: its disease, the tight box of its mask, its diameter and its opacity 0..1."""

    label: str
    box_px_xyxy: tuple[int, int, int, int]
    diameter_px: float
    contrast: float


@dataclass(frozen=True)
class SyntheticDistractor:
    """Something that is no lesion but could be taken for one.

    Attributes:
        kind: ``debris`` and ``splinter`` (stand-ins, and litter), ``weed_spot``, ``soil_speck``,
            ``insect_hole`` or ``shadow_spot``.
        label: the disease whose paint it carries; empty for holes and shadows.
        box_px_xyxy: tight box of its mask.
        diameter_px: diameter of the lesion that it stands in for.
        contrast: opacity, 0..1.
    """

    kind: str
    label: str
    box_px_xyxy: tuple[int, int, int, int]
    diameter_px: float
    contrast: float


@dataclass(frozen=True, eq=False)
class SyntheticPhoto:
    """A rendered photo with its truth.

    Attributes:
        pixels: (height, width, 3) RGB, 0..255.
        labels: diseases present, in the settings' order; empty means healthy.
        lesions: every lesion, in the order drawn.
        distractors: every distractor, in the order drawn.
        lesion_mask: (height, width) 0 where no lesion lies, else 1 + the disease's index.
        distractor_mask: (height, width) 1 where a distractor lies, else 0.
    """

    pixels: Pixels
    labels: tuple[str, ...]
    lesions: tuple[SyntheticLesion, ...]
    distractors: tuple[SyntheticDistractor, ...]
    lesion_mask: NDArray[np.uint8]
    distractor_mask: NDArray[np.uint8]


Progress = Callable[[int, int], None]
"""Called with the number of photos done and the number wanted."""
