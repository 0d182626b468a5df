"""What a recipe's training would see of photos, on a sheet to be looked at before it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from leafscout.errors import InputError
from leafscout.glance.view import take_square
from leafscout.photos.augmentation_sheet import MARGIN_PX, draw_augmentation_sheet
from leafscout.photos.decode import decode_photo
from leafscout.photos.labels import LabelTable
from leafscout.recognisers.whole_photo import Recogniser
from leafscout.training import recogniser_stage
from leafscout.training.any_recipe import choose_any_recipe
from leafscout.training.gated_recipe import GATED_RECIPES
from leafscout.training.recipe_sheet import MOST_SHOWN_PX, draw_recipe_sheet
from leafscout.training.recipes import RECIPES
from leafscout.training.recogniser_recipe import RECOGNISER_RECIPES, RecogniserRecipe
from leafscout.types import Photo, Pixels

STILL = {"flips": "no", "turn_deg": 0, "shift": 0, "zoom": 0, "light": 0, "hue_jitter": 0}


def draw_photos() -> list[Photo]:
    rng = np.random.default_rng(0)
    sizes = ((90, 120), (200, 100))
    return [Photo(rng.integers(0, 256, (*size, 3), dtype=np.uint8), "leaf") for size in sizes]


def cell(sheet: Pixels, row: int, column: int, side: int) -> Pixels:
    """A square of a sheet, without its margin."""
    whole, half = side + MARGIN_PX, MARGIN_PX // 2
    top, left = row * whole + half, column * whole + half
    return sheet[top : top + side, left : left + side]


@pytest.mark.parametrize("name", sorted({**RECIPES, **GATED_RECIPES, **RECOGNISER_RECIPES}))
def test_every_recipe_can_be_looked_at(name: str) -> None:
    recipe = choose_any_recipe(name)
    sheet = draw_recipe_sheet(draw_photos(), recipe, variants=2)
    side = min(recipe.photo_px, MOST_SHOWN_PX) if isinstance(recipe, RecogniserRecipe) else 156
    assert sheet.shape == (2 * (side + MARGIN_PX), 3 * (side + MARGIN_PX), 3)
    assert np.array_equal(sheet, draw_recipe_sheet(draw_photos(), recipe, variants=2))
    other = draw_recipe_sheet(draw_photos(), recipe, variants=2, seed=1)
    column = side + MARGIN_PX
    assert np.array_equal(sheet[:, :column], other[:, :column])
    assert not np.array_equal(sheet[:, column:], other[:, column:])


def test_a_recogniser_is_shown_squares() -> None:
    recipe = choose_any_recipe("small_vit", STILL)
    photos = draw_photos()
    sheet = draw_recipe_sheet(photos, recipe, variants=1)
    for row, photo in enumerate(photos):
        square = take_square(photo, 128)
        assert np.array_equal(cell(sheet, row, 0, 128), square)
        changed = cell(sheet, row, 1, 128).astype(int)
        assert np.abs(changed - square.astype(int)).max() <= 1


def test_it_is_what_the_network_is_given(
    spots: LabelTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage's own batches, caught on their way into the network."""
    settings = {"photo_px": 64, "hue_jitter": 0.1}
    recipe = choose_any_recipe("small_efficientnet", settings)
    assert isinstance(recipe, RecogniserRecipe)
    network = Recogniser(recipe.shape(), len(spots.labels))
    stage = recogniser_stage.RecogniserStage(
        network, recipe, spots, spots, 5, torch.device("cpu"), mixed_precision=False
    )
    seen: list[torch.Tensor] = []
    frame = network.frame
    monkeypatch.setattr(network, "frame", lambda pixels: (seen.append(pixels), frame(pixels))[1])
    for epoch in range(2):
        stage.batch_loss([(n, decode_photo(stage.paths[n])) for n in range(3)], epoch)
    photos = [decode_photo(path) for path in spots.paths[:3]]
    sheet = draw_recipe_sheet(photos, recipe, variants=2, seed=5)
    for row in range(3):
        for epoch in range(2):
            given = seen[epoch][row].permute(1, 2, 0).round().byte().numpy()
            assert np.array_equal(cell(sheet, row, 1 + epoch, 64), given)


def test_large_squares_are_shrunk() -> None:
    recipe = choose_any_recipe("small_vit", {"photo_px": 512})
    sheet = draw_recipe_sheet(draw_photos()[:1], recipe, variants=1)
    assert sheet.shape == (MOST_SHOWN_PX + MARGIN_PX, 2 * (MOST_SHOWN_PX + MARGIN_PX), 3)


def test_tiles_get_the_light_of_their_recipe() -> None:
    pixels = [photo.pixels for photo in draw_photos()]
    usual = draw_recipe_sheet(draw_photos(), choose_any_recipe("tiny"))
    assert np.array_equal(usual, draw_augmentation_sheet(pixels))
    recipe = choose_any_recipe("tiny", {"exposure_stops": 2, "colour_change": 0.5})
    other = draw_recipe_sheet(draw_photos(), recipe)
    assert not np.array_equal(usual, other)
    still = replace(recipe, exposure_stops=0.0, colour_change=0.0)  # type: ignore[call-arg]
    assert np.array_equal(usual, draw_recipe_sheet(draw_photos(), still))


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("small_vitt", {}, "no recipe called 'small_vitt'. Did you mean small_vit"),
        ("small_vit", {"hue_jitter": 2}, "hue_jitter from 0 to 0.5, but got 2"),
        ("gated", {"keep_share": "much"}, "keep_share to be a number"),
        ("gated", {"epochs": "many"}, "epochs to be a"),
        ("tiny", {"hue": 1}, "no setting called 'hue'"),
    ],
)
def test_mistakes_are_named(name: str, settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        choose_any_recipe(name, settings)


@pytest.mark.parametrize("name", ["tiny", "small_vit"])
def test_nothing_to_show_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="at least one photo"):
        draw_recipe_sheet([], choose_any_recipe(name))
