"""A few small photos with red and blue spots, and what the stages need beside them."""

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from leafscout.photos.labels import LabelTable, read_labels
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import Recipe, StageSettings, choose_recipe

SIZE_HW = (150, 200)


def paint_spot(rng: np.random.Generator, colours: list[tuple[int, int, int]]) -> np.ndarray:
    """A noisy green photo with one spot of 24 px of each colour."""
    pixels = rng.integers(60, 110, (*SIZE_HW, 3), dtype=np.uint8)
    pixels[..., 1] += 60
    for colour in colours:
        top, left = int(rng.integers(SIZE_HW[0] - 24)), int(rng.integers(SIZE_HW[1] - 24))
        pixels[top : top + 24, left : left + 24] = colour
    return pixels


def write_spots(folder: Path, photos: int, seed: int = 0) -> Path:
    """Photos that are healthy, red, blue or both, in turn, and their label file."""
    rng = np.random.default_rng(seed)
    colours = {"red": (200, 30, 30), "blue": (30, 30, 200)}
    rows = ["image,labels"]
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(photos):
        labels = [["healthy"], ["red"], ["blue"], ["red", "blue"]][index % 4]
        pixels = paint_spot(rng, [colours[name] for name in labels if name in colours])
        Image.fromarray(pixels).save(folder / f"{index:02d}.jpg", quality=92)
        rows.append(f"{index:02d}.jpg,{' '.join(labels)}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "labels.csv"


@pytest.fixture(scope="session")
def spot_writer() -> Callable[..., Path]:
    """Writes labelled photos with spots into a folder and gives their label file."""
    return write_spots


@pytest.fixture(scope="session")
def spots(tmp_path_factory: pytest.TempPathFactory) -> LabelTable:
    return read_labels(write_spots(tmp_path_factory.mktemp("spots"), 12))


@pytest.fixture
def recipe() -> Recipe:
    """The tiny recipe, made tinier: tiles of 64 px, a glance of 128 px, two epochs."""
    stage = StageSettings(epochs=2, photos_per_step=3, learning_rate=3e-3, backbone_rate=1.0)
    small = choose_recipe("tiny", {"tile_px": 64, "glance_px": 128, "tiles_best": 3})
    return replace(small, tiles_random=2, expert_stage=stage, scout_stage=stage)


@pytest.fixture
def progress() -> TrainingProgress:
    return TrainingProgress(Console(file=StringIO(), force_terminal=False))
