"""Photos changed at random, a batch at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from leafscout.training.photo_augmentation import change_photos, draw_change
from leafscout.training.recogniser_recipe import choose_recogniser_recipe

STILL = replace(
    choose_recogniser_recipe("small_vit"),
    flips=False,
    turn_deg=0.0,
    shift=0.0,
    zoom=0.0,
    light=0.0,
    hue_jitter=0.0,
)


def photos(count: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 24, 24), generator=torch.Generator().manual_seed(0))


def test_nothing_allowed_changes_nothing() -> None:
    seen = photos()
    changed = change_photos(seen, [draw_change((0, one), STILL) for one in range(2)])
    torch.testing.assert_close(changed, seen.float(), atol=1e-3, rtol=0)


def test_changes_follow_from_the_seed_and_stay_within_bytes() -> None:
    recipe = choose_recogniser_recipe("small_vit")
    seen = photos()
    one, same, other = (
        change_photos(seen, [draw_change((seed, index), recipe) for index in range(2)])
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    assert one.shape == seen.shape
    assert 0.0 <= float(one.min()) <= float(one.max()) <= 255.0


def test_a_photo_is_changed_alike_alone_and_in_a_batch() -> None:
    recipe = choose_recogniser_recipe("small_vit")
    seen, changes = photos(), [draw_change((5, index), recipe) for index in range(2)]
    together = change_photos(seen, changes)
    torch.testing.assert_close(change_photos(seen[1:], changes[1:]), together[1:])


def test_grey_keeps_its_hue_and_half_a_turn_of_it_swaps_colours() -> None:
    hue = replace(STILL, hue_jitter=0.5)
    grey = torch.full((1, 3, 8, 8), 90.0)
    torch.testing.assert_close(
        change_photos(grey, [draw_change((3,), hue)]), grey, atol=1e-2, rtol=0
    )
    colours = draw_change((3,), hue).colours
    assert np.abs(colours - np.eye(3)).max() > 0.1
    np.testing.assert_allclose(colours.sum(axis=1), 1.0, atol=1e-9)


@pytest.mark.parametrize("setting", ["turn_deg", "shift", "zoom", "light", "hue_jitter"])
def test_every_amount_does_something(setting: str) -> None:
    recipe = replace(STILL, **{setting: getattr(choose_recogniser_recipe("small_vit"), setting)})
    seen = photos(1)
    changed = change_photos(seen, [draw_change((7,), recipe)])
    assert not torch.allclose(changed, seen.float(), atol=0.5)


def test_mirrored_photos_are_mirrored() -> None:
    seen = photos(1).float()
    found = [change_photos(seen, [draw_change((s,), replace(STILL, flips=True))]) for s in range(8)]
    wanted = [seen, seen.flip(3), seen.flip(2), seen.flip(2, 3)]
    for one in found:
        assert any(torch.allclose(one, other, atol=1e-2) for other in wanted)
