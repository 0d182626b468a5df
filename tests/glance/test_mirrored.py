"""Mirrored views come back to where they belong."""

import numpy as np
import pytest

from leafscout.glance.mirrored import mirror_glance, turn_back


@pytest.mark.parametrize("count", range(4))
def test_a_map_of_each_view_is_laid_as_the_photo_lies(count: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8)
    views = mirror_glance(pixels, count)
    assert len(views) == 1 + count
    assert len({view.tobytes() for view in views}) == 1 + count, "every view is another one"
    maps = [view.astype(np.float32).transpose(2, 0, 1) for view in views]
    for one in turn_back(maps):
        np.testing.assert_array_equal(one, maps[0])
