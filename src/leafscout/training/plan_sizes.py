"""Sizes of tiles and glance for photos of a given size, with reasons."""

from __future__ import annotations

import math
from dataclasses import dataclass

from leafscout.training.plan_facts import DataFacts

SMALLEST_SEEN_PX = 2
"""A lesion with fewer pixels in the glance cannot be seen by any scout."""

# Long side of the photo up to which a tile serves, its side, and pixels averaged to one. What the
# expert sees of a tile stays about the same, and a photo keeps a few to a hundred tiles.
_PRETRAINED = ((700, 192, 1), (1500, 384, 1), (9000, 768, 2), (float("inf"), 1536, 4))
_FROM_SCRATCH = ((400, 64, 1), (1500, 128, 1), (3000, 256, 2), (float("inf"), 512, 4))


@dataclass(frozen=True)
class TileChoice:
    """Side of a tile, and how many of its pixels along a side are averaged to one."""

    side_px: int
    shrink: int

    def side_reason(self, facts: DataFacts) -> str:
        """Why this side, for photos like these."""
        height, width = facts.median_px_hw
        tiles = facts.tiles_per_photo(self.side_px)
        return f"a photo of {width}×{height} px has {tiles:.0f} tiles of this side"

    def shrink_reason(self) -> str:
        """Why so many pixels are averaged."""
        if self.shrink == 1:
            return "the expert sees every pixel of a tile"
        seen = self.side_px // self.shrink
        return (
            f"the expert sees tiles at {seen} px, {self.shrink**2}× cheaper; with lesions under "
            f"about {10 * self.shrink} px, take smaller tiles instead"
        )


def choose_tile(long_side_px: int, *, pretrained: bool) -> TileChoice:
    """The tile for photos of this long side.

    Tiles of 768 px averaged 2×2 are what the coffee benchmark uses on photos of 2048×1024.

    Args:
        long_side_px: of the median photo.
        pretrained: whether the expert knows photos already; one from scratch sees smaller tiles.
    """
    ladder = _PRETRAINED if pretrained else _FROM_SCRATCH
    side, shrink = next((side, shrink) for most, side, shrink in ladder if long_side_px <= most)
    return TileChoice(side, shrink)


def choose_glance(long_side_px: int) -> tuple[int, str]:
    """Long side of the glance for photos of this long side, and why."""
    if long_side_px <= 1300:
        glance = 384
    elif long_side_px <= 4300:
        glance = 512
    else:
        glance = min(1024, round(long_side_px / 8 / 32) * 32)
    smallest = math.ceil(SMALLEST_SEEN_PX * max(1.0, long_side_px / glance))
    return glance, (
        f"lesions under about {smallest} px of the photo have fewer than {SMALLEST_SEEN_PX} px "
        "there, and the scout cannot see them"
    )
