"""Pasting: what is added is the region's own deviation, no more and nowhere else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.photos.paste import cover_region, cut_patch, lay_over, paste_patch, shrink_patch


def noise(seed: int, height: int = 80, width: int = 100) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 140, (height, width, 3), dtype=np.uint8)


def leaf_with_spot(side: int = 20) -> np.ndarray:
    pixels = np.full((80, 100, 3), (60, 120, 40), dtype=np.uint8)
    pixels[30 : 30 + side, 40 : 40 + side] = (150, 70, 40)
    return pixels


def test_a_spot_on_plain_ground_comes_back_on_other_plain_ground() -> None:
    patch = cut_patch(leaf_with_spot(), (40, 30, 60, 50))
    host = np.full((50, 60, 3), 70, dtype=np.uint8)
    pasted, region = paste_patch(host, patch, 5, 4)
    left, top, right, bottom = (int(edge) for edge in region)
    assert (right - left, bottom - top) == (20, 20)
    # What the spot differs from its leaf by, it now differs from the host by.
    assert (pasted[top:bottom, left:right] == (160, 20, 70)).all()
    outside = pasted.copy()
    outside[top:bottom, left:right] = 70
    assert (outside == 70).all()
    assert (host == 70).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), contrast=st.floats(0, 1))
def test_contrast_scales_what_is_added(seed: int, contrast: float) -> None:
    patch = cut_patch(noise(seed), (40, 30, 60, 50))
    host = np.full((80, 100, 3), 128, dtype=np.uint8)
    pasted, _ = paste_patch(host, patch, 10, 10, contrast=contrast)
    height, width = patch.size_px_hw
    added = pasted[10 : 10 + height, 10 : 10 + width].astype(float) - 128
    wanted = contrast * patch.opacity[..., None] * patch.deviation
    assert np.abs(added - wanted).max() <= 0.5 + 1e-3
    assert (pasted[:10] == 128).all()


def test_what_lies_around_a_lesion_at_the_rim_of_a_leaf_is_restless() -> None:
    pixels = leaf_with_spot()
    assert cut_patch(pixels, (40, 30, 60, 50)).unrest == 0
    pixels[:, 58:] = 230  # paper beside the leaf
    assert cut_patch(pixels, (40, 30, 60, 50)).unrest > 20


def test_no_contrast_changes_nothing() -> None:
    host = noise(1)
    pasted, _ = paste_patch(host, cut_patch(noise(2), (40, 30, 60, 50)), 3, 3, contrast=0)
    assert (pasted == host).all()


def test_opacity_is_whole_inside_and_fades_to_the_border() -> None:
    patch = cut_patch(noise(3), (40, 30, 60, 50))
    left, top, right, bottom = (int(edge) for edge in patch.region_px_xyxy)
    assert (patch.opacity[top:bottom, left:right] == 1).all()
    assert patch.opacity[0].max() < 0.02
    assert (np.diff(patch.opacity[:, (left + right) // 2][: top + 1]) > 0).all()


@pytest.mark.parametrize("factor", [1.0, 0.5, 0.25, 0.1, 0.01])
def test_shrinking_keeps_the_mean_and_scales_the_region(factor: float) -> None:
    patch = cut_patch(leaf_with_spot(), (40, 30, 60, 50))
    small = shrink_patch(patch, factor)
    assert small.region_side_px == pytest.approx(20 * factor, rel=0.3, abs=0.6)
    assert small.deviation.mean() == pytest.approx(patch.deviation.mean(), abs=0.3)
    assert small.size_px_hw[0] >= 1


def test_a_region_at_the_border_is_cut_there() -> None:
    patch = cut_patch(noise(4), (0, 0, 100, 80))
    assert patch.size_px_hw == (80, 100)
    assert patch.region_px_xyxy == (0, 0, 100, 80)


def test_a_patch_that_does_not_fit_is_refused() -> None:
    patch = cut_patch(noise(5), (40, 30, 60, 50))
    with pytest.raises(ValueError, match="to lie inside a photo of 100×80 px"):
        paste_patch(noise(5), patch, 90, 0)


def test_a_smaller_photo_lies_in_the_larger_one() -> None:
    host, small = np.full((80, 100, 3), 200, np.uint8), np.full((40, 50, 3), 20, np.uint8)
    both = lay_over(host, small, 30, 20)
    assert (both[30:50, 40:70] == 20).all()
    changed = (both != 200).any(axis=2)
    assert not changed[:20].any()
    assert not changed[60:].any()
    assert not changed[:, :30].any()
    assert not changed[:, 80:].any()


@pytest.mark.parametrize("box", [(40, 30, 60, 50), (0, 0, 20, 20), (80, 60, 100, 80)])
def test_a_covered_region_shows_the_other_part_alone(box: tuple[int, int, int, int]) -> None:
    pixels = leaf_with_spot()
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    pixels[:12, 50:62] = (1, 2, 3)
    covered = cover_region(pixels, box, (50, 0, 62, 12))
    assert (covered[box[1] : box[3], box[0] : box[2]] == (1, 2, 3)).all()
    far = np.ones(pixels.shape[:2], dtype=bool)
    far[max(0, box[1] - 7) : box[3] + 7, max(0, box[0] - 7) : box[2] + 7] = False
    assert (covered[far] == pixels[far]).all()
