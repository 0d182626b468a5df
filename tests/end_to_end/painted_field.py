"""Paint a small field, run the command line, and tell whether any file has changed."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner, Result

from leafscout.cli import app

PHOTOS = 24
SIZE_HW = (256, 320)
COLOURS = {"rust": (190, 70, 20), "mildew": (235, 235, 235)}
QUICK = ("--recipe", "tiny", "--epochs", "1", "--tile-px", "96", "--glance-px", "128",
         "--threads", "1", "--workers", "1")  # fmt: skip


def run(*args: str | Path) -> Result:
    """The command line, in this process."""
    return CliRunner().invoke(app, [str(arg) for arg in args], prog_name="leafscout")


def said(result: Result) -> str:
    """Everything said, without line breaks and frames: the terminal's width does not matter."""
    return " ".join((result.stdout + result.stderr).replace("│", " ").split())


def paint_photo(seed: int, diseases: tuple[str, ...]) -> Image.Image:
    """A leaf-green photo with three spots of each disease; every seed gives another background."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 120, (8, 10, 3), dtype=np.uint8)
    coarse[..., 1] += 60
    picture = Image.fromarray(coarse).resize(SIZE_HW[::-1], Image.Resampling.BICUBIC)
    pixels = np.array(picture)
    for disease in diseases:
        for _ in range(3):
            top, left = rng.integers(SIZE_HW[0] - 24), rng.integers(SIZE_HW[1] - 24)
            pixels[top : top + 24, left : left + 24] = COLOURS[disease]
    return Image.fromarray(pixels)


def paint_field(folder: Path, photos: int = PHOTOS, seed: int = 0) -> Path:
    """Photos that are healthy, of one disease or of both, in turn, with their label file."""
    folder.mkdir(parents=True)
    rows = ["image,labels"]
    for index in range(photos):
        diseases = ((), ("rust",), ("mildew",), ("rust", "mildew"))[index % 4]
        name = f"{index:02d}.jpg"
        paint_photo(1000 * seed + index, diseases).save(folder / name, quality=92)
        rows.append(f"{name},{' '.join(diseases) or 'healthy'}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def snapshot(*folders: Path) -> dict[str, str]:
    """Every file and folder below with the hash of its content."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for folder in folders
        for path in sorted(folder.rglob("*"))
    }
