"""Diagnoses as one HTML page that opens offline and carries its pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from PIL import Image

from leafscout.reports.diagnosis_records import Record, diagnosis_record, open_atomically
from leafscout.reports.pages import open_templates
from leafscout.types import Diagnosis, Pixels

MAX_WIDTH_PX = 1400
JPEG_QUALITY = 80


@dataclass(frozen=True)
class PageItem:
    """One photo of the page.

    Attributes:
        name: what it is called on the page.
        record: its ``diagnosis_record``.
        uri: its overlay as a data URI.
        width_px: width of the overlay.
        height_px: height of the overlay.
    """

    name: str
    record: Record
    uri: str
    width_px: int
    height_px: int


def write_diagnosis_page(path: Path, items: Iterable[tuple[Diagnosis, Pixels]]) -> Path:
    """Write a page with a summary on top and each photo's overlay beside its facts.

    Items are taken one at a time and kept as JPEG, never as pixels: 200 photos fit. Pictures are
    encoded from pixels, so nothing of the photos' metadata (place, time, camera) gets in, and
    folders are left out of names unless two photos share one.

    Args:
        path: the page.
        items: diagnoses with their overlays.

    Returns:
        The path.

    Raises:
        InputError: when the page cannot be written; an older page stays as it was.
    """
    kept: list[tuple[Record, str, tuple[int, int]]] = []
    for diagnosis, overlay in items:
        uri, size_px_wh = _encode_jpeg(overlay)
        kept.append((diagnosis_record(diagnosis), uri, size_px_wh))
    names = _name_photos([record["source"] for record, _, _ in kept])
    page = [
        PageItem(name, record, uri, width, height)
        for name, (record, uri, (width, height)) in zip(names, kept, strict=True)
    ]
    stream = (
        open_templates(percent=_percent)
        .get_template("diagnosis_page.html.j2")
        .stream(items=page, totals=_count_totals(page))
    )
    with open_atomically(path) as file:
        for part in stream:
            file.write(part)
    return path


def _percent(share: float | None) -> str:
    if share is None:
        return "–"
    if 0 < share < 0.0995:
        return "under 0.1%" if share < 0.001 else f"{100 * share:.1f}%"
    return f"{100 * share:.0f}%"


def _name_photos(sources: Sequence[str]) -> list[str]:
    names = [PurePath(source).name or source for source in sources]
    return [
        source if names.count(name) > 1 else name
        for source, name in zip(sources, names, strict=True)
    ]


def _count_totals(items: Sequence[PageItem]) -> dict[str, Any]:
    records = [item.record for item in items]
    costs = [record["cost"] for record in records]
    all_tiles = sum(cost["macs_all_tiles"] for cost in costs)
    return {
        "photos": len(items),
        "healthy": sum(record["healthy"] for record in records),
        "unsure": sum(record["unsure"] is not None for record in records),
        "tiles_read": sum(cost["tiles_read"] for cost in costs),
        "tiles_total": sum(cost["tiles_total"] for cost in costs),
        "macs_frac": sum(cost["macs"] for cost in costs) / all_tiles if all_tiles else None,
    }


def _encode_jpeg(pixels: Pixels) -> tuple[str, tuple[int, int]]:
    image = Image.fromarray(pixels)
    if image.width > MAX_WIDTH_PX:
        height = max(1, round(image.height * MAX_WIDTH_PX / image.width))
        image = image.resize((MAX_WIDTH_PX, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}", image.size
