import io
import struct
import time
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from leafscout.errors import InputError, PhotoError
from leafscout.photos.decode import decode_photo, list_photos, read_photo_size
from leafscout.photos.limits import DecodeLimits


def draw_leaf(height=90, width=130, seed=0):
    """Smooth colours that JPEG keeps well, different in every direction."""
    rows, columns = np.mgrid[:height, :width]
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    waves = np.stack([np.sin(rows / 17 + columns / (20 + 9 * i) + phase[i]) for i in range(3)], -1)
    return (128 + 90 * waves + rows[..., None] / 4).clip(0, 255).astype(np.uint8)


def encode(image, kind="JPEG", **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_path_bytes_and_array_give_the_same_pixels(tmp_path):
    for kind, options in (("JPEG", {"quality": 90}), ("PNG", {}), ("WebP", {}), ("TIFF", {})):
        data = encode(draw_leaf(), kind, **options)
        path = tmp_path / "photo.jpg"  # content decides, not the suffix
        path.write_bytes(data)
        from_path = decode_photo(path)
        assert from_path.source == str(path)
        assert from_path.pixels.dtype == np.uint8
        assert from_path.pixels.flags.c_contiguous
        np.testing.assert_array_equal(from_path.pixels, decode_photo(data).pixels)
        np.testing.assert_array_equal(from_path.pixels, decode_photo(str(path)).pixels)
        np.testing.assert_array_equal(
            from_path.pixels, decode_photo(np.asarray(from_path.pixels)).pixels
        )
        assert read_photo_size(path) == read_photo_size(data) == (90, 130)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_agrees_with_pillow(subsampling, progressive):
    data = encode(draw_leaf(), quality=85, subsampling=subsampling, progressive=progressive)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decode_photo(data).pixels - expected).max() <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_applied_like_pillow_does(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WebP" else {}
    data = encode(draw_leaf(), kind, exif=exif.tobytes() if kind != "TIFF" else exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    photo = decode_photo(data)
    assert photo.size_px_hw == ((130, 90) if orientation >= 5 else (90, 130))
    assert read_photo_size(data) == photo.size_px_hw
    assert np.abs(photo.pixels - expected.astype(int)).max() <= 1


@pytest.mark.parametrize("orientation", [0, 9, 4000])
def test_a_broken_orientation_means_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert decode_photo(encode(draw_leaf(), exif=exif.tobytes())).size_px_hw == (90, 130)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_broken_exif_block_means_upright():
    data = encode(draw_leaf(), exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff\x01\x02")
    assert decode_photo(data).size_px_hw == (90, 130)


def test_every_mode_becomes_rgb():
    leaf = Image.fromarray(draw_leaf())
    grey = np.asarray(leaf.convert("L"))
    expected_grey = np.repeat(grey[..., None], 3, axis=2)
    for data in (encode(grey, "PNG"), encode(grey.astype(np.uint16) * 256 + 77, "PNG")):
        np.testing.assert_array_equal(decode_photo(data).pixels, expected_grey)
    tiff_16 = encode(grey.astype(np.uint16) * 256 + 200, "TIFF")
    np.testing.assert_array_equal(decode_photo(tiff_16).pixels, expected_grey)
    assert np.ptp(decode_photo(encode(grey)).pixels, axis=2).max() == 0

    palette = leaf.quantize(32)
    np.testing.assert_array_equal(
        decode_photo(encode(palette, "PNG")).pixels, np.asarray(palette.convert("RGB"))
    )
    bits = leaf.convert("1")
    np.testing.assert_array_equal(
        decode_photo(encode(bits, "PNG")).pixels, np.asarray(bits.convert("RGB"))
    )
    cmyk = encode(leaf.convert("CMYK"), quality=95)
    assert np.abs(decode_photo(cmyk).pixels - draw_leaf().astype(int)).mean() < 4


def test_transparency_is_laid_over_white():
    rgba = np.dstack([draw_leaf(), np.full((90, 130), 255, np.uint8)])
    rgba[:30, :, 3] = 0
    rgba[30:60, :, 3] = 128
    photo = decode_photo(encode(rgba, "PNG"))
    white = Image.new("RGBA", (130, 90), "white")
    expected = Image.alpha_composite(white, Image.fromarray(rgba)).convert("RGB")
    assert np.abs(photo.pixels - np.asarray(expected).astype(int)).max() <= 1
    assert (photo.pixels[:30] == 255).all()
    np.testing.assert_array_equal(photo.pixels, decode_photo(rgba).pixels)
    grey_alpha = Image.fromarray(rgba).convert("LA")
    assert (decode_photo(encode(grey_alpha, "PNG")).pixels[:30] == 255).all()
    keyed = Image.fromarray(rgba[..., :3]).quantize(16)
    keyed.info["transparency"] = 0
    shown = decode_photo(encode(keyed, "PNG", transparency=0)).pixels
    assert (shown[np.asarray(keyed) == 0] == 255).all()


def test_16_bit_arrays_keep_their_upper_8_bits():
    leaf = draw_leaf()
    np.testing.assert_array_equal(decode_photo(leaf.astype(np.uint16) * 256 + 255).pixels, leaf)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((90, 90, 3)), "Expected an array of uint8 or uint16, but got float64"),
        (np.zeros((90, 90, 2), np.uint8), r"but got the shape \(90, 90, 2\)"),
        (np.zeros(90, np.uint8), r"but got the shape \(90,\)"),
    ],
)
def test_arrays_that_are_no_images_are_refused(array, sentence):
    with pytest.raises(InputError, match=sentence):
        decode_photo(array)


def refuse(source, code, sentence, **options):
    with pytest.raises(PhotoError, match=sentence) as caught:
        decode_photo(source, **options)
    assert caught.value.code == code


def test_what_is_no_photo_is_refused(tmp_path):
    text = tmp_path / "photo.jpg"
    text.write_text("this is not a photo at all, it is a piece of text")
    refuse(text, "unreadable", "photo.jpg is not a photo: its first bytes are not those of a JPEG")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    refuse(empty, "unreadable", "empty.jpg is empty")
    refuse(tmp_path / "gone.jpg", "missing", r"There is no photo .*gone.jpg. Check the path")
    refuse(tmp_path, "unreadable", "Expected a photo, but .* is a folder")
    refuse(b"GIF89a" + bytes(50), "unsupported", "<bytes> is a GIF: expected a JPEG, PNG")
    refuse(b"\0\0\0\x18ftypheic" + bytes(50), "unsupported", "is a HEIC photo.* Save it as JPEG")
    refuse(b"\0\0\0\x18ftypisom" + bytes(50), "unsupported", "is a film")
    refuse(b"\xff\xd8\xff\xe0" + b"\0\x04ab" * 9, "truncated", "cut short")
    with pytest.raises(PhotoError, match="There is no photo"):
        read_photo_size(tmp_path / "gone.jpg")


def test_a_photo_without_permission_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "mine.jpg"
    path.write_bytes(encode(draw_leaf()))

    def forbid(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", forbid)  # tests may run as root, who may read all
    refuse(path, "unreadable", "mine.jpg may not be read: permission denied")


def test_small_photos_are_refused_with_their_size():
    refuse(encode(draw_leaf(30, 30)), "too_small", "at least 64 px, but it has 30×30 px")
    refuse(draw_leaf(200, 63), "too_small", "63×200 px")
    assert decode_photo(draw_leaf(64, 64)).size_px_hw == (64, 64)
    small = decode_photo(draw_leaf(30, 30), limits=DecodeLimits(min_side_px=8))
    assert small.size_px_hw == (30, 30)


def png_bomb(side):
    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def test_a_decompression_bomb_is_refused_at_once_and_without_a_warning():
    before, bomb = Image.MAX_IMAGE_PIXELS, png_bomb(20_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Processor time: what else the machine does is no fault of the decoder.
        started = time.process_time()
        refuse(bomb, "too_large", "at most 100 megapixels, but it has 20000×20000 px")
        assert time.process_time() - started < 0.5
        assert read_photo_size(bomb) == (20_000, 20_000)
    assert before == Image.MAX_IMAGE_PIXELS


def test_limits_are_settable_per_kind():
    limits = DecodeLimits(jpeg_px=10_000, other_px=20_000)
    refuse(encode(draw_leaf()), "too_large", "at most 0.01 megapixels", limits=limits)
    assert decode_photo(encode(draw_leaf(), "PNG"), limits=limits).size_px_hw == (90, 130)


def with_thumbnail(data):
    """Put a whole small JPEG, end marker included, into an EXIF segment."""
    body = b"Exif\x00\x00" + encode(draw_leaf(32, 32))
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


JPEGS = {
    "baseline": encode(draw_leaf(), quality=90),
    "progressive": encode(draw_leaf(), quality=90, progressive=True),
    "grey": encode(draw_leaf()[..., 0], quality=90),
    "thumbnail": with_thumbnail(encode(draw_leaf(), quality=90)),
    "restarts": encode(draw_leaf(), quality=90, restart_marker_blocks=4),
    "cmyk": encode(Image.fromarray(draw_leaf()).convert("CMYK"), quality=90),
}


@pytest.mark.parametrize("name", list(JPEGS))
def test_a_truncated_jpeg_is_always_refused(name):
    whole = JPEGS[name]
    decode_photo(whole)
    for length in {*range(40, len(whole), 97), len(whole) - 1, len(whole) - 2}:
        refuse(whole[:length], "truncated", "<bytes> is cut short: its JPEG data end before")


@settings(max_examples=60)
@given(st.data())
def test_truncation_at_any_offset_is_refused_for_every_kind(data):
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WebP"]))
    whole = encode(draw_leaf(), kind)
    length = data.draw(st.integers(16, len(whole) - 1))
    refuse(whole[:length], "truncated", "cut short")


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=40)
@given(st.data())
def test_a_truncated_tiff_is_refused_with_a_sentence(data):
    whole = encode(draw_leaf(), "TIFF", compression=data.draw(st.sampled_from([None, "tiff_lzw"])))
    length = data.draw(st.integers(16, len(whole) - 400))
    with pytest.raises(PhotoError, match=r"cut short|damaged"):
        decode_photo(whole[:length])


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_give_pixels_or_a_sentence_never_anything_else(data):
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WebP", "TIFF"]))
    damaged = bytearray(encode(draw_leaf(), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(12, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        photo = decode_photo(bytes(damaged))
    except PhotoError:
        return
    assert photo.pixels.shape[2] == 3


def test_bytes_after_the_end_do_no_harm():
    whole = JPEGS["baseline"]
    expected = decode_photo(whole).pixels
    np.testing.assert_array_equal(decode_photo(whole + b"a film of two seconds").pixels, expected)
    padded = whole[:-2] + bytes(7) + whole[-2:]  # some cameras pad before the end marker
    np.testing.assert_array_equal(decode_photo(padded).pixels, expected)


def test_a_hole_in_the_middle_is_refused():
    whole = encode(draw_leaf(400, 400, seed=1), quality=95)
    start = len(whole) // 2
    with pytest.raises(PhotoError, match="damaged"):
        decode_photo(whole[:start] + whole[start + 400 :])


def test_photos_are_listed_in_order_and_hidden_ones_skipped(tmp_path):
    for name in ("b/2.PNG", "a/1.jpg", "a/.hidden.jpg", ".cache/3.jpg", "notes.txt", "c.tiff"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = [path.relative_to(tmp_path).as_posix() for path in list_photos(tmp_path)]
    assert found == ["a/1.jpg", "b/2.PNG", "c.tiff"]
    with pytest.raises(InputError, match=r"Expected a folder of photos, but .* is not a folder"):
        list_photos(tmp_path / "notes.txt")


@pytest.mark.real_photos
def test_real_photos_decode_like_pillow_and_truncated_ones_are_refused(real_data):
    for folder in ("coffee", "rice", "apple"):
        for path in list_photos(real_data / folder / "images")[:3]:
            data = path.read_bytes()
            photo = decode_photo(path)
            image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
            assert np.abs(photo.pixels - np.asarray(image).astype(int)).max() <= 1
            assert read_photo_size(path) == photo.size_px_hw
            for share in (0.01, 0.3, 0.9, 0.999):
                refuse(data[: int(share * len(data))], "truncated", "cut short")
