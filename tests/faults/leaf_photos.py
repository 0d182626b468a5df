"""Small photos of a crop that cost nothing to draw, with labels that can be learnt in seconds."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from strange_photos import (  # noqa: F401 — tests take them from here
    STRANGERS,
    TROUBLES,
    draw_broad_leaves,
    draw_checkerboard,
    recolour_leaves,
    save_jpeg,
)

SIZE_HW = (128, 192)
SPOTS = {"rust": (200, 90, 20), "mildew": (235, 235, 230)}
WORDS = ("healthy", "rust", "mildew", "rust mildew")


def draw_leaves(rng, labels=(), size_px_hw=SIZE_HW):
    """(height, width, 3) broad green leaves, with a few spots of each label."""
    pixels = recolour_leaves(draw_broad_leaves(rng, *size_px_hw), -25)
    image = Image.fromarray(pixels)
    canvas = ImageDraw.Draw(image)
    height, width = size_px_hw
    for label in labels:
        for _ in range(int(rng.integers(3, 7))):
            x, y = int(rng.integers(10, width - 10)), int(rng.integers(10, height - 10))
            radius = int(rng.integers(4, 8))
            canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=SPOTS[label])
    return np.array(image)


def write_leaves(folder, count, seed, *, splits=False):
    """A folder of such photos with ``labels.csv``; a quarter of each kind of answer."""
    folder.mkdir(parents=True)
    lines = ["image,labels" + ",split" * splits]
    for number in range(count):
        words = WORDS[number % 4]
        labels = [label for label in words.split() if label in SPOTS]
        pixels = draw_leaves(np.random.default_rng([seed, number]), labels)
        (folder / f"{number:04}.jpg").write_bytes(save_jpeg(pixels))
        split = ",val" if number // 4 % 3 == 2 else ",train"
        lines.append(f"{number:04}.jpg,{words}" + split * splits)
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder
