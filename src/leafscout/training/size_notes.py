"""Do glance and tiles fit the photos? What a recipe asks for and no photo is large enough for."""

from __future__ import annotations

from collections.abc import Sequence

from leafscout.photos.tiles import lay_tiles
from leafscout.training.recipes import Recipe


def describe_sizes(recipe: Recipe, sizes_px_hw: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """Sentences about settings that no photo is large enough for.

    Nothing is refused: photos are not enlarged, and all of a small photo is read. But then glance
    and focus save nothing, which its user should know before the training.

    Args:
        recipe: what is trained.
        sizes_px_hw: height and width of each photo, at least one.
    """
    longest = max(max(size) for size in sizes_px_hw)
    most_tiles = max(len(lay_tiles(size, recipe.tile_px)) for size in sizes_px_hw)
    wanted = recipe.tiles_best + recipe.tiles_random
    sentences = []
    if recipe.glance_px > longest:
        sentences.append(
            f"The glance is to be {recipe.glance_px} px long, but no photo is longer than "
            f"{longest} px: the scout sees every photo at full size, which is no cheaper than "
            f"looking closely. Set --glance-px to about {max(64, longest // 4)}, or give the "
            "photos as the camera took them."
        )
    if most_tiles == 1:
        sentences.append(
            f"No photo is larger than a tile of {recipe.tile_px} px, so there is nothing to choose "
            "from. Set a smaller --tile-px, or train a recogniser of the whole photo, for example "
            "--recipe small_efficientnet."
        )
    elif wanted > most_tiles:
        sentences.append(
            f"The expert is to learn from {wanted} tiles of a photo (tiles_best and tiles_random), "
            f"but no photo has more than {most_tiles}: it learns from all of them."
        )
    return tuple(sentences)
