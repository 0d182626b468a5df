"""The contact sheet: a row a photo, the photo itself first, always the same for a seed."""

import numpy as np
import pytest

from leafscout.errors import InputError
from leafscout.photos.augmentation_sheet import draw_augmentation_sheet


def _photos() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (size, 60, 3), dtype=np.uint8) for size in (40, 90)]


def test_rows_and_columns() -> None:
    sheet = draw_augmentation_sheet(_photos(), variants=3, cell_px=50)
    assert sheet.shape == (100, 200, 3)
    assert np.array_equal(sheet, draw_augmentation_sheet(_photos(), variants=3, cell_px=50))
    other = draw_augmentation_sheet(_photos(), variants=3, cell_px=50, seed=1)
    assert np.array_equal(sheet[:, :50], other[:, :50])
    assert not np.array_equal(sheet[:, 50:], other[:, 50:])


def test_without_light_only_the_order_of_pixels_changes() -> None:
    square = [np.random.default_rng(0).integers(0, 255, (46, 46, 3), dtype=np.uint8)]
    sheet = draw_augmentation_sheet(square, variants=2, cell_px=50, light=0.0)
    first, second = sheet[:, :50], sheet[:, 50:100]
    assert np.array_equal(np.sort(first.ravel()), np.sort(second.ravel()))


def test_nothing_to_show_is_refused() -> None:
    with pytest.raises(InputError, match="at least one photo"):
        draw_augmentation_sheet([])
