"""All methods on megapixel digits, and how long each of them learns."""

from __future__ import annotations

from dataclasses import replace

from megapixel_grid import keep_all, keep_best, learn_grid, learn_resized
from megapixel_learning import Method, Sizes
from megapixel_scouting import learn_leafscout

SIZES = {
    "resized": Sizes(epochs=9),
    "all_tiles": Sizes(epochs=4),
    "random_tiles": Sizes(epochs=10),
    "patch_selection": Sizes(epochs=6),
    "gated_attention": Sizes(epochs=4),
    "leafscout": Sizes(epochs=12),
    "leafscout_evidence": Sizes(epochs=12, scout_epochs=(3, 2), first_epochs=9),
    "leafscout_long_scout": Sizes(epochs=12, scout_epochs=(8, 0)),
    "leafscout_grid": Sizes(epochs=12, on_grid=True),
    "all_tiles_long": Sizes(epochs=12),
    "patch_selection_long": Sizes(epochs=18),
    "leafscout_more_epochs": Sizes(epochs=30, scout_epochs=(8, 0)),
    "leafscout_longest": Sizes(epochs=180, scout_epochs=(8, 0)),
    "all_tiles_longest": Sizes(epochs=60),
    "all_tiles_low_rate": Sizes(epochs=4, rate=5e-4),
    "gated_attention_low_rate": Sizes(epochs=4, rate=5e-4),
    "patch_selection_low_rate": Sizes(epochs=6, rate=5e-4),
    "all_tiles_slow": Sizes(epochs=60, rate=5e-4),
    "patch_selection_longest": Sizes(epochs=90),
    "all_tiles_evidence": Sizes(epochs=4),
    "patch_selection_evidence": Sizes(epochs=6),
}
"""Row → how long it learns: about the same time on canvases of 500 px, three times as long for
those called long, fifteen times for the longest and for the slow one. With more epochs 400
canvases are looked at as often as 1000 otherwise."""

LARGE_PX = 1500
"""Canvases from here on have places enough to learn from in fewer rounds."""


def sizes_for(row: str, side_px: int) -> Sizes:
    """How long a method learns on canvases of some size."""
    sizes = SIZES[row]
    if side_px < LARGE_PX:
        return sizes
    alone, taught = sizes.scout_epochs
    return replace(sizes, scout_epochs=(2 * alone // 3, taught // 2))


METHODS: dict[str, Method] = {
    "resized": learn_resized,
    "all_tiles": learn_grid("transformer", keep_all),
    "random_tiles": learn_grid("evidence", None),
    "patch_selection": learn_grid("cross_attention", keep_best),
    "gated_attention": learn_grid("gated_attention", keep_all),
    "leafscout": learn_leafscout,
    "leafscout_evidence": learn_leafscout,
    "leafscout_long_scout": learn_leafscout,
    "leafscout_grid": learn_leafscout,
    "all_tiles_long": learn_grid("transformer", keep_all),
    "patch_selection_long": learn_grid("cross_attention", keep_best),
    "leafscout_more_epochs": learn_leafscout,
    "leafscout_longest": learn_leafscout,
    "all_tiles_longest": learn_grid("transformer", keep_all),
    "all_tiles_low_rate": learn_grid("transformer", keep_all),
    "gated_attention_low_rate": learn_grid("gated_attention", keep_all),
    "patch_selection_low_rate": learn_grid("cross_attention", keep_best),
    "all_tiles_slow": learn_grid("transformer", keep_all),
    "patch_selection_longest": learn_grid("cross_attention", keep_best),
    "all_tiles_evidence": learn_grid("evidence", keep_all),
    "patch_selection_evidence": learn_grid("evidence", keep_best),
}
"""Row of the tables → how it learns."""
