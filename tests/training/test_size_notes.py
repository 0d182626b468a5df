"""What is said of glances and tiles that no photo is large enough for."""

from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from leafscout.cli import app
from leafscout.training.recipes import choose_recipe
from leafscout.training.size_notes import describe_sizes


def test_what_fits_some_photo_is_not_spoken_of() -> None:
    recipe = choose_recipe("tiny", {"glance_px": 384, "tile_px": 128, "tiles_best": 8})
    assert describe_sizes(recipe, [(100, 100), (900, 1200)]) == ()


def test_what_fits_no_photo_is_named_with_its_numbers() -> None:
    recipe = choose_recipe(
        "tiny", {"glance_px": 384, "tile_px": 128, "tiles_best": 40, "tiles_random": 2}
    )
    glance, tiles = describe_sizes(recipe, [(256, 300), (200, 200)])
    assert "384" in glance
    assert "300" in glance
    assert "42 tiles" in tiles
    assert "more than 6" in tiles


def test_a_photo_that_is_one_tile_is_better_looked_at_whole() -> None:
    recipe = choose_recipe("tiny", {"glance_px": 64, "tile_px": 256})
    (sentence,) = describe_sizes(recipe, [(256, 256)])
    assert "small_efficientnet" in sentence


def test_training_says_it_and_goes_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in ("rust", "healthy"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for index in range(4):
            pixels = rng.integers(0, 255, (128, 160, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / label / f"{index}.png")
    said = CliRunner().invoke(
        app,
        [
            "train", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--recipe", "tiny",
            "--glance-px", "384", "--tile-px", "64", "--set", "expert_epochs=1", "--set",
            "scout_epochs=1",
        ],
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    assert "no photo is longer than 160 px" in " ".join(said.output.split())
