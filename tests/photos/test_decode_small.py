"""The glance of a JPEG file without a full decode: nearly that of its pixels, and never wrong."""

import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from leafscout.errors import PhotoError
from leafscout.glance.view import take_glance
from leafscout.photos import jpeg_photo
from leafscout.photos.decode import decode_photo, list_photos, open_photo, read_photo_file
from leafscout.photos.jpeg_photo import LEAST_MARGIN, NEAR_MARGIN, JpegPhoto
from leafscout.photos.rgb import turn_upright
from leafscout.types import Photo, Pixels

SAMPLINGS = ("444", "422", "440", "420", "411")


def draw_field(height: int, width: int) -> Pixels:
    """Leaves and soil in large, with the noise of a camera; nothing is symmetric."""
    rng = np.random.default_rng(height * 7919 + width)
    coarse = rng.integers(30, 220, (max(2, height // 40), max(2, width // 40), 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = rng.normal(0, 6, (height, width, 1))
    return (np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8)


def encode(pixels: Pixels, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **{"quality": 92, **options})  # type: ignore[arg-type]
    return out.getvalue()


def average_areas(pixels: Pixels, height: int, width: int) -> np.ndarray:
    """Exact area averages in float64, for any ratio."""

    def shares(length: int, parts: int) -> np.ndarray:
        edges = np.linspace(0, length, parts + 1)
        cells = np.arange(length)
        shared = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
        return np.maximum(shared, 0) * parts / length

    rows, columns = shares(pixels.shape[0], height), shares(pixels.shape[1], width)
    return np.einsum("yY,YXc,xX->yxc", rows, pixels.astype(np.float64), columns, optimize=True)


@pytest.mark.parametrize("size", [(768, 1024), (600, 801), (737, 1111)])
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("long_side_px", [128, 256, 400])
def test_a_glance_is_the_average_of_areas(
    size: tuple[int, int], sampling: str, long_side_px: int
) -> None:
    photo = open_photo(
        simplejpeg.encode_jpeg(draw_field(*size), 92, "RGB", colorsubsampling=sampling)
    )
    assert isinstance(photo, JpegPhoto)
    glance = take_glance(photo, long_side_px)
    assert glance.photo_size_px_hw == size
    expected = average_areas(photo.pixels, *glance.pixels.shape[:2])
    error = glance.pixels - expected
    assert np.abs(error).mean() < 1.5
    assert abs(error.mean()) < 0.6, "neither brighter nor darker"
    shifted = np.roll(expected, 1, axis=1)
    # Noise from pixel to pixel is interpolated where it is not averaged: hence not closer.
    assert np.abs(error).mean() < 0.4 * np.abs(glance.pixels - shifted).mean(), "in its place"


@pytest.mark.parametrize("long_side_px", [128, 400])
def test_grey_photos_and_restart_markers(long_side_px: int) -> None:
    field = draw_field(600, 800)
    for data in (encode(field[..., 0]), encode(field, restart_marker_blocks=3)):
        photo = open_photo(data)
        assert isinstance(photo, JpegPhoto)
        glance = take_glance(photo, long_side_px).pixels
        expected = average_areas(photo.pixels, *glance.shape[:2])
        assert np.abs(glance - expected).mean() < 1.2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(512, 768), (333, 517)])
def test_a_glance_is_turned_like_its_photo(orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = open_photo(encode(draw_field(*size)))
    turned = open_photo(encode(draw_field(*size), exif=exif.tobytes()))
    assert turned.size_px_hw == (size[::-1] if orientation >= 5 else size)
    np.testing.assert_array_equal(
        take_glance(turned, 128).pixels, turn_upright(take_glance(plain, 128).pixels, orientation)
    )
    np.testing.assert_array_equal(turned.pixels, turn_upright(plain.pixels, orientation))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(64, 420), st.integers(64, 420), st.integers(1, 300), st.integers(1, 300),
    st.sampled_from([1, 6]),
)  # fmt: skip
def test_any_size_comes_out_as_wanted_or_not_at_all(
    height: int, width: int, wanted_height: int, wanted_width: int, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = open_photo(encode(draw_field(height, width), exif=exif.tobytes()))
    assert isinstance(photo, JpegPhoto)
    small = photo.shrink((wanted_height, wanted_width))
    upright = photo.size_px_hw
    ratios = [
        side / 2 / wanted
        for side, wanted in zip(upright, (wanted_height, wanted_width), strict=True)
    ]
    if small is None:
        assert min(ratios) < LEAST_MARGIN
    else:
        assert small.shape == (wanted_height, wanted_width, 3)
        assert min(ratios) >= 1 / NEAR_MARGIN
        assert small.flags.c_contiguous


def test_nothing_is_decoded_in_full_for_a_glance(monkeypatch: pytest.MonkeyPatch) -> None:
    scales: list[int] = []
    decode = jpeg_photo.decode_jpeg

    def watch(*args: object, eighths: int = 8, **options: object) -> Pixels:
        scales.append(eighths)
        return decode(*args, eighths=eighths, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(jpeg_photo, "decode_jpeg", watch)
    nearly = open_photo(encode(draw_field(750, 1000)))
    take_glance(nearly, 112)  # 125 px shrunk to 112 would blur
    assert scales.pop() == 2
    photo = open_photo(encode(draw_field(768, 1024)))
    assert photo.size_px_hw == (768, 1024)
    assert scales == []
    for long_side_px, expected in ((128, 1), (80, 1), (256, 2), (160, 2), (512, 4)):
        take_glance(photo, long_side_px)
        assert scales.pop() == expected
    assert photo.pixels.shape == (768, 1024, 3)
    assert photo.pixels is photo.pixels
    assert scales == [8]
    take_glance(photo, 640)  # more than half of the photo: averaged from the pixels decoded above
    assert scales == [8]


def test_opened_and_decoded_photos_have_the_same_glance() -> None:
    data = encode(draw_field(600, 800))
    opened, decoded = open_photo(data), decode_photo(data)
    for long_side_px in (96, 250, 700):
        np.testing.assert_array_equal(
            take_glance(opened, long_side_px).pixels, take_glance(decoded, long_side_px).pixels
        )
    np.testing.assert_array_equal(opened.pixels, decoded.pixels)


def test_what_cannot_be_decoded_small_is_averaged_from_all_its_pixels() -> None:
    field = draw_field(600, 800)
    cmyk = io.BytesIO()
    Image.fromarray(field).convert("CMYK").save(cmyk, "JPEG")
    files = {"progressive": encode(field, progressive=True), "cmyk": cmyk.getvalue()}
    for kind in ("PNG", "TIFF", "WebP"):
        out = io.BytesIO()
        Image.fromarray(field).save(out, kind)
        files[kind] = out.getvalue()
    for name, data in files.items():
        photo = open_photo(data)
        assert not isinstance(photo, JpegPhoto), name
        same = take_glance(Photo(np.array(photo.pixels), "<array>"), 128)
        np.testing.assert_array_equal(take_glance(photo, 128).pixels, same.pixels)


def test_memory_given_is_used() -> None:
    photo = open_photo(encode(draw_field(200, 300)))
    assert isinstance(photo, JpegPhoto)
    for room, shared in ((200 * 300 * 3, True), (200 * 300 * 3 + 99, True), (999, False)):
        buffer = np.zeros(room, np.uint8)
        pixels = photo.decode_full(buffer)
        np.testing.assert_array_equal(pixels, photo.pixels)
        assert np.shares_memory(pixels, buffer) == shared
    kept = photo.pixels.copy()
    buffer[:] = 0
    np.testing.assert_array_equal(photo.pixels, kept)


def refuse(data: bytes, code: str) -> str:
    with pytest.raises(PhotoError) as caught:
        take_glance(open_photo(data), 64)
    assert caught.value.code == code
    return str(caught.value)


def test_cut_short_is_refused_before_anything_is_decoded() -> None:
    whole = encode(draw_field(300, 400))
    for length in {*range(200, len(whole), 997), len(whole) - 1, len(whole) - 2}:
        with pytest.raises(PhotoError, match="<bytes> is cut short"):
            open_photo(whole[:length])


def test_a_hole_is_refused_small_as_in_full() -> None:
    whole = encode(draw_field(400, 400), quality=95)
    middle = len(whole) // 2
    holed = whole[:middle] + whole[middle + 400 :]
    assert "its data are damaged" in refuse(holed, "unreadable")


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=80, deadline=None)
@given(st.data())
def test_what_the_small_decode_accepts_the_full_one_does_too(data: st.DataObject) -> None:
    """Otherwise an answer would depend on whether a tile is read."""
    damaged = bytearray(encode(draw_field(160, 160)))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(12, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        photo = open_photo(bytes(damaged))
    except PhotoError:
        return
    outcomes = []
    for work in (lambda: take_glance(photo, 32), lambda: photo.pixels):
        try:
            work()
            outcomes.append("fine")
        except PhotoError as error:
            outcomes.append(error.code)
    assert len(set(outcomes)) == 1


def test_bytes_around_the_end_do_no_harm() -> None:
    whole = encode(draw_field(300, 400))
    expected = take_glance(open_photo(whole), 64).pixels
    for data in (whole + b"a film of two seconds", whole[:-2] + bytes(7) + whole[-2:]):
        np.testing.assert_array_equal(take_glance(open_photo(data), 64).pixels, expected)


@pytest.mark.real_photos
def test_real_photos_look_the_same_small(real_data) -> None:  # type: ignore[no-untyped-def]
    for folder in ("coffee", "rice"):
        for path in list_photos(real_data / folder / "images")[::37][:3]:
            photo = open_photo(path)
            from_file = take_glance(photo, 512).pixels.astype(int)
            from_pixels = take_glance(Photo(photo.pixels, "<array>"), 512).pixels
            difference = np.abs(from_file - from_pixels)
            assert difference.mean() < 1.5, path
            assert np.percentile(difference, 99) <= 16, path


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    data, pipe = encode(draw_field(100, 130)), tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    assert read_photo_file(pipe) == data
    writer.join()
