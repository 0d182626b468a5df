"""The multiply-adds of an integrated network as a closed form, found by counting."""

from __future__ import annotations

import numpy as np

from leafscout.errors import InputError
from leafscout.gated_model import CELLS_PX, TokenMacs, count_grid
from leafscout.gated_networks import TorchTokenNetwork

_COUNTED_PX = ((32, 32), (48, 32), (48, 48), (64, 64), (80, 48), (96, 80))
_CHECKED_PX = ((320, 240), (48, 176))


def fit_token_macs(runtime: TorchTokenNetwork) -> TokenMacs:
    """Count small views and find what the multiply-adds of any view and number of tokens are.

    Args:
        runtime: of the trained network.

    Raises:
        InputError: when they follow no such form, as of a stem that shrinks maps in another way.
    """
    token_px, (fine_px, coarse_px) = runtime.network.stride, CELLS_PX
    tokens = [runtime.count_tokens(view) for view in _COUNTED_PX]
    terms = {"fixed": [1] * len(tokens), "per_token": tokens}
    terms["per_token_pair"] = [count**2 for count in tokens]
    # Cells that follow from the tokens cannot be told from them, and count as they do.
    if token_px > fine_px:
        terms["per_cell"] = [count_grid(view, fine_px) for view in _COUNTED_PX]
    if token_px != coarse_px:
        terms["per_coarse_cell"] = [count_grid(view, coarse_px) for view in _COUNTED_PX]
    early = [runtime.count_macs(view, 0) for view in _COUNTED_PX]
    per_kept, per_kept_pair = runtime.later_macs()
    values = dict.fromkeys(("per_cell", "per_coarse_cell"), 0) | _solve(terms, early)
    macs = TokenMacs(**values | {"per_kept": per_kept, "per_kept_pair": per_kept_pair})
    for view in (*_COUNTED_PX, *_CHECKED_PX):
        count = runtime.count_tokens(view)
        if macs.count(view, count, count) != runtime.count_macs(view, count):
            raise InputError(
                "The multiply-adds of this network follow no closed form in the size of the photo, "
                "so that they cannot be counted without PyTorch. Train with the stem tiny, or use "
                "the run as it is."
            )
    return macs


def _solve(terms: dict[str, list[int]], counts: list[int]) -> dict[str, int]:
    """Whole numbers whose sum, times the terms, is nearest to the counts."""
    columns = np.array(list(terms.values()), dtype=np.float64).T
    scale = columns.max(axis=0)
    found = np.linalg.lstsq(columns / scale, np.array(counts, dtype=np.float64))[0] / scale
    return {name: round(float(value)) for name, value in zip(terms, found, strict=True)}
