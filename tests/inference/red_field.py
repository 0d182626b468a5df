"""Photos with red spots, and networks that see red: what a model should do is known exactly."""

from pathlib import Path

import numpy as np
from PIL import Image

from leafscout.model import GlanceEvidence, TileEvidence
from leafscout.types import Pixels

SIZE_HW = (128, 192)
BRIGHT, FAINT = 250, 170


class RedNetworks:
    """The expert finds every red spot; the scout the more surely, the redder it is."""

    def run_scout(self, glance: Pixels) -> GlanceEvidence:
        cells = glance[..., 0].reshape(glance.shape[0] // 16, 16, glance.shape[1] // 16, 16)
        score = ((cells.max(axis=(1, 3)) - 150.0) / 20).astype(np.float32)
        nothing = np.full((2, *score.shape), -8.0, dtype=np.float32)
        return GlanceEvidence(score, nothing, np.full(2, -4.0, dtype=np.float32))

    def run_expert(self, tiles: Pixels) -> TileEvidence:
        red = (tiles[..., 0].reshape(len(tiles), -1) > 150).any(axis=1)
        logits = np.full((len(tiles), 2), -6.0, dtype=np.float32)
        logits[red, 1] = 6.0
        return TileEvidence(logits, np.zeros_like(logits), logits[:, :, None, None])


def paint(folder: Path, reds: list[int | None], groups: list[str] | None = None) -> Path:
    """Photos with a red spot of rust each; None is healthy. One healthy photo is added."""
    folder.mkdir(parents=True)
    reds = [*reds, None]
    groups = [*groups, "healthy"] if groups else None
    lines = ["image,labels,group" if groups else "image,labels"]
    for index, red in enumerate(reds):
        rng = np.random.default_rng([7, index])
        coarse = rng.integers(20, 110, (8, 12, 3), dtype=np.uint8)
        pixels = np.array(Image.fromarray(coarse).resize(SIZE_HW[::-1], Image.Resampling.BILINEAR))
        if red is not None:
            top, left = rng.integers(0, 128 - 40), rng.integers(0, 192 - 40)
            pixels[top : top + 40, left : left + 40, 0] = red
        Image.fromarray(pixels).save(folder / f"{index}.png")
        label = "healthy" if red is None else "rust"
        lines.append(f"{index}.png,{label}" + (f",{groups[index]}" if groups else ""))
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder
