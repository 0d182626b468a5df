"""The glance: the whole photo, made small by averaging areas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leafscout.glance.view import GLANCE_STEP_PX, glance_size_px_hw, take_glance
from leafscout.types import Photo


@pytest.mark.parametrize(
    ("photo", "long_side", "expected"),
    [
        ((3000, 4000), 512, (384, 512)),
        ((4000, 3000), 512, (512, 384)),
        ((2000, 2000), 512, (512, 512)),
        ((1024, 2048), 768, (384, 768)),
        ((100, 4000), 512, (32, 512)),
    ],
)
def test_sizes(photo: tuple[int, int], long_side: int, expected: tuple[int, int]) -> None:
    assert glance_size_px_hw(photo, long_side) == expected


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(64, 1024))
def test_sides_are_whole_scout_cells_and_never_much_larger_than_the_photo(
    height: int, width: int, long_side: int
) -> None:
    size = glance_size_px_hw((height, width), long_side)
    for side, original in zip(size, (height, width), strict=True):
        assert side % GLANCE_STEP_PX == 0
        assert side >= 2 * GLANCE_STEP_PX
        assert side <= max(2 * GLANCE_STEP_PX, original + GLANCE_STEP_PX // 2)


def test_every_pixel_has_the_same_weight() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (640, 960, 3), dtype=np.uint8)
    glance = take_glance(Photo(pixels, "<array>"), 96)
    assert glance.photo_size_px_hw == (640, 960)
    blocks = pixels.reshape(64, 10, 96, 10, 3).astype(float).mean(axis=(1, 3))
    # Rows and columns are averaged one after the other, and rounded each time.
    np.testing.assert_allclose(glance.pixels, blocks, atol=1.0)


@pytest.mark.parametrize("photo", [(3000, 4000), (4000, 3000), (2048, 1024), (3000, 3000)])
def test_a_photo_is_not_squeezed_so_a_lesion_keeps_its_shape(photo: tuple[int, int]) -> None:
    height, width = glance_size_px_hw(photo, 512)
    assert max(height, width) == 512
    across, down = 10 * width / photo[1], 10 * height / photo[0]
    # Sides are rounded to whole cells, so the two scales differ by half a cell at most.
    assert across == pytest.approx(down, rel=8 / min(height, width))
    if photo == (3000, 4000):
        assert (across, down) == pytest.approx((1.28, 1.28)), "10 px: seen, but barely"
