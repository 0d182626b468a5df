"""JPEG files of rendered field photos, healthy and diseased, made once for the speed benchmarks."""

from __future__ import annotations

from pathlib import Path

import simplejpeg

from leafscout.photos.synthetic import FieldSettings, photo_seed, render_photo

SEED, QUALITY = 7, 90


def render_jpegs(
    folder: Path, healthy: int, diseased: int, size_px_hw: tuple[int, int] = (3000, 4000)
) -> tuple[list[Path], list[Path]]:
    """Render photos into a folder, or find those of an earlier call.

    Returns:
        Paths of the healthy and of the diseased ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    height, width = size_px_hw
    found: dict[bool, list[Path]] = {True: [], False: []}
    wanted = {True: healthy, False: diseased}
    index = 0
    settings = FieldSettings(size_px_hw=size_px_hw)
    while any(len(found[kind]) < wanted[kind] for kind in found):
        stem = f"{width}x{height}_{index:03d}"
        path = next(iter(folder.glob(f"{stem}_*.jpg")), None)
        if path is None:
            photo = render_photo(settings, photo_seed(SEED, index))
            path = folder / f"{stem}_{'diseased' if photo.labels else 'healthy'}.jpg"
            # What most cameras write: colours at half resolution.
            path.write_bytes(
                simplejpeg.encode_jpeg(photo.pixels, QUALITY, "RGB", colorsubsampling="420")
            )
        kind = path.stem.endswith("healthy")
        if len(found[kind]) < wanted[kind]:
            found[kind].append(path)
        index += 1
    return found[True], found[False]
