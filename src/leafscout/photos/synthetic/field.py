"""A whole synthetic field on disk: photos, a label file, and the truth beside them for scoring."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from leafscout.errors import InputError
from leafscout.photos.synthetic.photo import render_photo
from leafscout.photos.synthetic.settings import FieldSettings, Progress, SyntheticPhoto

GENERATOR_VERSION = 1
"""Raised whenever the same settings and seed no longer give the same photos."""

JPEG_QUALITY = 92
_PALETTE = (0, 0, 0, 214, 39, 40, 255, 190, 30, 60, 140, 255, 255, 110, 220)

_Row = tuple[str | int | float, ...]


def photo_seed(seed: int, index: int) -> int:
    """Derive the seed of photo ``index`` of the field ``seed``; neighbours have nothing in common.

    Raises:
        InputError: when one of them is negative.
    """
    if seed < 0 or index < 0:
        raise InputError(f"Expected a seed of 0 or more, but got {min(seed, index)}.")
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0])


def render_field(
    out: Path,
    *,
    photos: int,
    settings: FieldSettings,
    seed: int,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Render a field into a new folder; photo ``i`` depends on the settings, seed and ``i`` only.

    ``photos/0000.jpg`` and so on, and ``labels.csv`` (``image,labels``) are what a recogniser may
    see. ``truth/`` is for scoring only: ``boxes.csv``, ``distractors.csv``, ``masks/`` (0 nothing,
    1 the first disease, and so on), ``distractor_masks/`` (0 or 1) and ``settings.json``. The
    folder appears when everything in it is complete.

    Args:
        out: a folder that does not exist yet, or is empty.
        photos: how many, from 1 up.
        settings: what the field looks like.
        seed: any whole number from 0 up.
        workers: processes to use; None takes one per core.
        progress: called after each photo with the number done and the number wanted.

    Returns:
        ``out``.

    Raises:
        InputError: when ``out`` is in use or cannot be written, or a number is out of range.
    """
    if photos < 1:
        raise InputError(f"Expected at least 1 photo to render, but got {photos}.")
    if workers is not None and workers < 1:
        raise InputError(f"Expected at least 1 worker, but got {workers}.")
    photo_seed(seed, 0)
    with _new_folder(Path(out)) as folder:
        for name in ("photos", "truth/masks", "truth/distractor_masks"):
            (folder / name).mkdir(parents=True)
        processes = min(workers or os.cpu_count() or 1, photos)
        rows = _render_all(folder, photos, settings, seed, processes, progress)
        _write_tables(folder, [rows[index] for index in range(photos)])
        about = {"generator": GENERATOR_VERSION, "seed": seed, "photos": photos}
        text = json.dumps({**about, "settings": asdict(settings)}, indent=2)
        (folder / "truth" / "settings.json").write_text(text + "\n", encoding="utf-8")
    return Path(out)


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Give a folder beside ``out`` to write into; if all goes well it takes its place."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"Expected {out} to be a new or empty folder for the synthetic field, but something "
            "is there already. Name another folder or move it away."
        )
    draft: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        yield draft
        draft.chmod(0o755)
        draft.replace(out)
    except OSError as error:
        raise InputError(
            f"Expected to write the synthetic field to {out}, but it failed: {error}. "
            "Check the folder's permissions and the free space."
        ) from error
    finally:
        if draft is not None and draft.exists():
            shutil.rmtree(draft, ignore_errors=True)


def _render_all(
    folder: Path,
    photos: int,
    settings: FieldSettings,
    seed: int,
    processes: int,
    progress: Progress | None,
) -> dict[int, tuple[_Row, list[_Row], list[_Row]]]:
    rows = {}
    if processes == 1:
        for index in range(photos):
            rows[index] = _render_one(folder, index, settings, seed)
            if progress is not None:
                progress(len(rows), photos)
        return rows
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        tasks = {
            pool.submit(_render_one, folder, index, settings, seed): index
            for index in range(photos)
        }
        try:
            for task in as_completed(tasks):
                rows[tasks[task]] = task.result()
                if progress is not None:
                    progress(len(rows), photos)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return rows


def _render_one(
    folder: Path, index: int, settings: FieldSettings, seed: int
) -> tuple[_Row, list[_Row], list[_Row]]:
    """Render and write photo ``index``; return its rows of the three tables."""
    photo = render_photo(settings, photo_seed(seed, index))
    name = f"photos/{index:04d}.jpg"
    data = simplejpeg.encode_jpeg(photo.pixels, JPEG_QUALITY, "RGB")
    (folder / name).write_bytes(data)
    for kind, mask in (("masks", photo.lesion_mask), ("distractor_masks", photo.distractor_mask)):
        _write_mask(folder / "truth" / kind / f"{index:04d}.png", mask)
    return (name, " ".join(photo.labels) or "healthy"), *_truth_rows(name, photo)


def _write_mask(path: Path, mask: NDArray[np.uint8]) -> None:
    image = Image.fromarray(mask)
    image.putpalette(_PALETTE)
    image.save(path, compress_level=1)


def _truth_rows(name: str, photo: SyntheticPhoto) -> tuple[list[_Row], list[_Row]]:
    lesions: list[_Row] = [
        (name, item.label, *_corner_and_size(item.box_px_xyxy), item.diameter_px, item.contrast)
        for item in photo.lesions
    ]
    distractors: list[_Row] = [
        (
            name,
            item.kind,
            item.label,
            *_corner_and_size(item.box_px_xyxy),
            item.diameter_px,
            item.contrast,
        )
        for item in photo.distractors
    ]
    return lesions, distractors


def _corner_and_size(box_px_xyxy: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    left, top, right, bottom = box_px_xyxy
    return left, top, right - left, bottom - top


def _write_tables(folder: Path, rows: Sequence[tuple[_Row, list[_Row], list[_Row]]]) -> None:
    place = ("x_px", "y_px", "width_px", "height_px", "diameter_px", "contrast")
    tables: tuple[tuple[str, tuple[str, ...], list[_Row]], ...] = (
        ("labels.csv", ("image", "labels"), [label for label, _, _ in rows]),
        (
            "truth/boxes.csv",
            ("image", "label", *place),
            [row for _, some, _ in rows for row in some],
        ),
        (
            "truth/distractors.csv",
            ("image", "kind", "label", *place),
            [row for _, _, some in rows for row in some],
        ),
    )
    for name, header, body in tables:
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(
                [round(v, 4) if isinstance(v, float) else v for v in row] for row in body
            )
