"""Overlays: any shape of photo, honest colours, nothing invented."""

import dataclasses
import time

import numpy as np
import pytest
from PIL import Image

from leafscout.errors import InputError
from leafscout.explanation import lettering
from leafscout.explanation.heat import fade_unread, heat_ramp, paint_heat, resample_map
from leafscout.explanation.lettering import fit_text, spell, text_width_px, wrap_text
from leafscout.explanation.overlay import draw_overlay, lay_out
from leafscout.explanation.panel import Scale, closest_tile, describe_cost, describe_health
from leafscout.types import Photo

ODD_NAMES = ("rouille du caféier", "稲熱病", "a" * 90, "tab\tand\nline", "<b>&")


def photo_part(picture: np.ndarray, diagnosis, width_px: int) -> np.ndarray:
    left, top, width, height = lay_out(diagnosis, Scale(width_px)).photo_px_xywh
    return picture[top : top + height, left : left + width]


@pytest.mark.parametrize(
    ("height", "width"), [(300, 1030), (600, 450), (500, 500), (900, 90), (60, 1500), (40, 50)]
)
def test_every_shape_of_photo_fits_its_canvas(photo_of, diagnosis_of, height, width):
    photo = photo_of(height, width)
    lesion = ("rust", width * 0.5, height * 0.5, 15.0)
    for diagnosis in (diagnosis_of(photo, tile_px=96), diagnosis_of(photo, lesions=(lesion,))):
        layout = lay_out(diagnosis, Scale(900))
        picture = draw_overlay(photo, diagnosis, width_px=900)
        assert picture.shape == (layout.height_px, 900, 3)
        assert picture.dtype == np.uint8
        left, top, drawn_width, drawn_height = layout.photo_px_xywh
        assert drawn_width / drawn_height == pytest.approx(
            width / height, rel=1.0 / min(drawn_width, drawn_height)
        )
        assert left + drawn_width <= 900
        assert top + drawn_height <= layout.height_px
        for x, y in layout.tile_corners_px_xy:
            assert x + layout.tile_side_px <= 900
            assert y + layout.tile_side_px <= layout.height_px
        bars_left, bars_top, bars_width = layout.bars_px_xyw
        assert bars_left + bars_width <= 900
        assert bars_top < layout.height_px
        # Panel pictures and bars never stand on the photo.
        assert min(x for x, _ in layout.tile_corners_px_xy) >= left + drawn_width or min(
            y for _, y in layout.tile_corners_px_xy
        ) >= top + drawn_height  # fmt: skip


def test_an_early_exit_leaves_the_photo_as_it_was(photo_of, diagnosis_of):
    photo = photo_of(400, 400)
    diagnosis = diagnosis_of(photo, tile_px=100)
    assert not diagnosis.read.any()
    part = photo_part(draw_overlay(photo, diagnosis, width_px=800), diagnosis, 800)
    plain = Image.fromarray(photo.pixels).resize(part.shape[1::-1], Image.Resampling.LANCZOS)
    assert np.abs(part.astype(int) - np.asarray(plain).astype(int)).max() <= 1
    assert describe_health(diagnosis) == "nothing worth a closer look"


def test_unread_parts_lose_colour_and_read_parts_keep_it(photo_of, diagnosis_of):
    photo = photo_of(400, 400)
    diagnosis = diagnosis_of(photo, tile_px=100, read=(5,))
    part = photo_part(draw_overlay(photo, diagnosis, width_px=800), diagnosis, 800).astype(int)
    plain = np.asarray(
        Image.fromarray(photo.pixels).resize(part.shape[1::-1], Image.Resampling.LANCZOS)
    ).astype(int)
    side = part.shape[0] // 4
    inside = slice(side + 6, 2 * side - 6)
    assert np.abs(part[inside, inside] - plain[inside, inside]).max() <= 1
    away = (slice(2 * side + 6, None), slice(2 * side + 6, None))
    spread = np.ptp(part[away], axis=-1).mean() / np.ptp(plain[away], axis=-1).mean()
    assert spread < 0.4
    assert describe_health(diagnosis) == "nothing found in the tile looked at"


def test_heat_lies_on_the_lesion_only(photo_of, diagnosis_of):
    photo = photo_of(600, 600)
    diagnosis = diagnosis_of(
        photo, lesions=(("rust", 450.0, 150.0, 20.0),), read="all", tile_px=200
    )
    bare = dataclasses.replace(
        diagnosis, lesion_map=np.zeros_like(diagnosis.lesion_map), lesion_boxes=()
    )
    hot = photo_part(draw_overlay(photo, diagnosis, width_px=1000), diagnosis, 1000).astype(int)
    cold = photo_part(draw_overlay(photo, bare, width_px=1000), bare, 1000).astype(int)
    changed = np.abs(hot - cold).max(axis=2) > 2
    rows, columns = np.nonzero(changed)
    scale = changed.shape[0] / 600
    assert changed[round(150 * scale), round(450 * scale)]
    assert rows.mean() / scale == pytest.approx(150, abs=40)
    assert columns.mean() / scale == pytest.approx(450, abs=40)
    assert changed.mean() < 0.15


def test_many_labels_odd_names_and_long_reasons_are_drawn(photo_of, diagnosis_of):
    photo = Photo(photo_of(300, 400).pixels, "dir/=évil <script>\n" + "x" * 300 + ".jpg")
    labels = (*ODD_NAMES, *(f"label {i}" for i in range(9)))
    lesions = tuple((name, 60.0 + 60 * i, 150.0, 12.0) for i, name in enumerate(labels[:4]))
    diagnosis = diagnosis_of(photo, labels, lesions, tile_px=64, unsure="it is blurred, and " * 60)
    picture = draw_overlay(photo, diagnosis, width_px=700)
    assert picture.shape[1] == 700
    assert (picture[:, -3:] != 0).any()


def test_presence_shows_in_the_header(photo_of, diagnosis_of):
    photo = photo_of(300, 300)
    well = diagnosis_of(photo, tile_px=100)
    ill = diagnosis_of(photo, tile_px=100, lesions=(("miner", 150.0, 150.0, 15.0),))
    heads = [draw_overlay(photo, one, width_px=1000)[:70] for one in (well, ill)]
    assert (heads[0] != heads[1]).any()
    assert (heads[1] == np.array([204, 121, 167])).all(axis=2).any()  # the label's own colour
    assert not (heads[0] == np.array([204, 121, 167])).all(axis=2).any()


def test_the_reason_to_doubt_takes_room(photo_of, diagnosis_of):
    photo = photo_of(300, 300)
    sure, unsure = diagnosis_of(photo), diagnosis_of(photo, unsure="the photo is blurred")
    tall = [draw_overlay(photo, one, width_px=800).shape[0] for one in (sure, unsure)]
    assert tall[1] > tall[0]


def test_closest_tile_is_the_loudest_read_one(photo_of, diagnosis_of):
    photo = photo_of(300, 300)
    lesion = ("rust", 150.0, 150.0, 15.0)
    diagnosis = diagnosis_of(photo, tile_px=100, lesions=(lesion,), read="all")
    probs = diagnosis.tile_probs.copy()
    probs[0, 1] = 0.99  # a label that is not present does not count
    assert closest_tile(dataclasses.replace(diagnosis, tile_probs=probs)) == 4
    unread = diagnosis_of(photo, tile_px=100)
    scout = np.zeros(9, np.float32)
    scout[7] = 0.1
    assert closest_tile(dataclasses.replace(unread, scout_probs=scout)) == 7


def test_cost_is_told_in_words(photo_of, diagnosis_of):
    photo = photo_of(400, 400)
    diagnosis = diagnosis_of(photo, tile_px=100, read=(0, 1))
    assert describe_cost(diagnosis) == (
        "tiles looked at: 2 of 16  ·  12% of the photo  ·  cost: 14% of reading all tiles"
        "  ·  0.08 s"
    )  # fmt: skip


def test_another_photo_and_a_narrow_picture_are_refused(photo_of, diagnosis_of):
    photo = photo_of(300, 300)
    diagnosis = diagnosis_of(photo)
    with pytest.raises(InputError, match="Expected the photo that was diagnosed"):
        draw_overlay(photo_of(300, 301), diagnosis)
    with pytest.raises(InputError, match="at least 640 px wide, but got 200 px"):
        draw_overlay(photo, diagnosis, width_px=200)


def test_heat_ramp_is_even_in_lightness():
    ramp = heat_ramp()[:, 0] / 255.0
    linear = np.where(ramp <= 0.04045, ramp / 12.92, ((ramp + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    lightness = 116 * np.cbrt(luminance) - 16  # CIE L*, another space than the one it was made in
    steps = np.diff(lightness)
    assert lightness[0] < 25
    assert lightness[-1] > 85
    assert (np.diff(lightness[::8]) > 0).all()
    assert steps.mean() == pytest.approx(lightness[-1] / 255, rel=0.35)
    thirds = [part.sum() for part in np.array_split(steps, 3)]
    assert max(thirds) < 1.6 * min(thirds)


def test_cold_places_stay_transparent_and_hot_ones_readable():
    pixels = np.full((2, 2, 3), 100, np.uint8)
    probs = np.array([[0.0, 0.15], [0.5, 1.0]], np.float32)
    painted = paint_heat(pixels, probs)
    np.testing.assert_array_equal(painted[0], pixels[0])
    assert (painted[1] != pixels[1]).any(axis=-1).all()
    light = paint_heat(np.full((1, 1, 3), 200, np.uint8), np.ones((1, 1), np.float32))
    dark = paint_heat(np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), np.float32))
    assert (light.astype(int) - dark >= 60).all()  # the leaf shows through


def test_fading_keeps_what_was_looked_at():
    pixels = np.array([[[10, 200, 30], [10, 200, 30]]], np.uint8)
    faded = fade_unread(pixels, np.array([[True, False]]))
    np.testing.assert_array_equal(faded[0, 0], pixels[0, 0])
    assert np.ptp(faded[0, 1].astype(int)) < 0.4 * 190


def test_resampling_a_part_reads_that_part():
    prob_map = np.zeros((4, 4), np.float32)
    prob_map[2:, 2:] = 1.0
    whole = resample_map(prob_map, 10, (0, 0, 37, 37), (37, 37))
    assert whole[:12, :12].max() < 0.05
    assert whole[30:, 30:].min() > 0.95
    corner = resample_map(prob_map, 10, (20, 20, 37, 37), (50, 50))
    assert corner.min() > 0.2  # the border of four cells, one of them hot
    assert corner[20:, 20:].min() > 0.95


def test_text_fits_and_is_spelled_in_the_font():
    assert spell("Café × 3 – ½\n") == "Cafe x 3 - 1?2 "
    assert spell("稲") == "?"
    for width in (40, 90, 300):
        assert text_width_px(fit_text("a very long file name 0123.jpg", 18, width), 18) <= width
        for line in wrap_text("many words and averyveryveryverylongword", 18, width):
            assert text_width_px(line, 18) <= width
    assert fit_text("leaf_0001_of_many.jpg", 18, 120).endswith("jpg")
    assert fit_text("short", 18, 300) == "short"


def test_a_text_of_thousands_of_letters_is_cut_in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    widths: list[int] = []

    def count(text: str, size_px: int) -> int:
        widths.append(text_width_px(text, size_px))
        return widths[-1]

    monkeypatch.setattr(lettering, "text_width_px", count)
    short = fit_text("name " * 4000, 18, 300)
    assert len(widths) < 40
    assert text_width_px(short, 18) <= 300 < text_width_px(short[:4] + "m" + short[4:], 18)


@pytest.mark.real_photos
def test_a_real_coffee_photo_is_drawn_quickly(real_data, diagnosis_of):
    path = real_data / "coffee" / "images" / "1027.jpg"
    photo = Photo(np.array(Image.open(path).convert("RGB")), path.name)
    labels = ("miner", "rust", "phoma", "cercospora")
    diagnosis = diagnosis_of(photo, labels, (("rust", 900.0, 250.0, 50.0),))
    started = time.process_time()
    picture = draw_overlay(photo, diagnosis)
    assert time.process_time() - started < 3.0  # 0.2 measured
    assert picture.shape[1] == 1600
    # The closest look is the tile itself, pixel for pixel: 384 px at 1600.
    layout = lay_out(diagnosis, Scale(1600))
    x, y = layout.tile_corners_px_xy[0]
    left, top, right, bottom = diagnosis.tiles.boxes_px_xyxy[closest_tile(diagnosis)]
    shown = picture[y : y + layout.tile_side_px, x : x + layout.tile_side_px]
    np.testing.assert_array_equal(shown, photo.pixels[top:bottom, left:right])
