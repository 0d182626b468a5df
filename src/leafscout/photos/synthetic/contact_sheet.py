"""One picture that shows what a synthetic field holds: photos, lesions, distractors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from leafscout.errors import InputError
from leafscout.photos.synthetic.field import photo_seed
from leafscout.photos.synthetic.photo import render_photo
from leafscout.photos.synthetic.settings import (
    FieldSettings,
    SyntheticDistractor,
    SyntheticLesion,
    SyntheticPhoto,
)

PHOTOS = 8
COLUMNS = 4
SHEET_WIDTH_PX = 1600
CROP_PX = 190
CAPTION_PX = 18
CROPS = 8


def draw_contact_sheet(out: Path, settings: FieldSettings, seed: int) -> Path:
    """Render eight photos and draw them above full-resolution pieces of what lies in them.

    Args:
        out: the JPEG file to write.
        settings: what the field looks like.
        seed: the field's seed, as for ``render_field``.

    Raises:
        InputError: when the file is no ``.jpg`` or cannot be written.
    """
    if out.suffix.lower() not in {".jpg", ".jpeg"}:
        raise InputError(f"Expected a contact sheet named .jpg, but got {out}.")
    photos = [render_photo(settings, photo_seed(seed, index)) for index in range(PHOTOS)]
    height, width = settings.size_px_hw
    thumb_width = SHEET_WIDTH_PX // COLUMNS - 8
    thumb_height = round(thumb_width * height / width)
    line = thumb_height + CAPTION_PX + 6
    crop_line = CROP_PX + CAPTION_PX + 6
    sheet = Image.new("RGB", (SHEET_WIDTH_PX, 2 * line + 2 * crop_line + 8), (250, 250, 248))
    for index, photo in enumerate(photos):
        small = Image.fromarray(photo.pixels).resize((thumb_width, thumb_height))
        x = 4 + index % COLUMNS * (thumb_width + 8)
        y = 4 + index // COLUMNS * line
        _paste(sheet, small, x, y, " + ".join(photo.labels) or "healthy")
    lesions = _pick([(photo, item) for photo in photos for item in photo.lesions])
    distractors = _pick([(photo, item) for photo in photos for item in photo.distractors])
    for row, found in enumerate((lesions, distractors)):
        for index, (photo, item) in enumerate(found):
            x = 4 + index * (SHEET_WIDTH_PX // CROPS)
            piece = _cut(photo, item.box_px_xyxy)
            _paste(sheet, piece, x, 4 + 2 * line + row * crop_line, _describe(item))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(out, quality=84, optimize=True)
    except OSError as error:
        raise InputError(
            f"Expected to write a contact sheet to {out}, but it failed: {error}. "
            "Name a file in a folder that can be written to."
        ) from error
    return out


_Item = SyntheticLesion | SyntheticDistractor


def _pick(found: Sequence[tuple[SyntheticPhoto, _Item]]) -> list[tuple[SyntheticPhoto, _Item]]:
    """Take the most visible ones, of as many kinds as there are."""
    ordered = sorted(found, key=lambda pair: -pair[1].diameter_px * pair[1].contrast)
    seen: dict[str, int] = {}
    ranked = []
    for position, pair in enumerate(ordered):
        kind = _describe(pair[1]).split(",")[0]
        seen[kind] = seen.get(kind, 0) + 1
        ranked.append((seen[kind], position, pair))
    ranked.sort(key=lambda entry: entry[:2])
    return [pair for _, _, pair in ranked[:CROPS]]


def _describe(item: _Item) -> str:
    name = item.label if isinstance(item, SyntheticLesion) else item.kind.replace("_", " ")
    return f"{name}, {item.diameter_px:.0f} px, {item.contrast:.0%}"


def _cut(photo: SyntheticPhoto, box_px_xyxy: tuple[int, int, int, int]) -> Image.Image:
    height, width = photo.pixels.shape[:2]
    left = (box_px_xyxy[0] + box_px_xyxy[2] - CROP_PX) // 2
    top = (box_px_xyxy[1] + box_px_xyxy[3] - CROP_PX) // 2
    left, top = max(0, min(left, width - CROP_PX)), max(0, min(top, height - CROP_PX))
    return Image.fromarray(photo.pixels).crop((left, top, left + CROP_PX, top + CROP_PX))


def _paste(sheet: Image.Image, picture: Image.Image, x: int, y: int, caption: str) -> None:
    sheet.paste(picture, (x, y))
    font = ImageFont.load_default(13)
    ImageDraw.Draw(sheet).text((x + 2, y + picture.height + 1), caption, (30, 30, 30), font)
