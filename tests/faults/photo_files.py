"""Photos that were made to do harm: damaged by a seeded mutator, cut short, or built as bombs."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

GIGAPIXEL = 10**9


def draw_photo(seed: int, side_px: int = 96) -> Image.Image:
    """A small picture with coarse shapes and fine grain."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((side_px, side_px), Image.Resampling.BICUBIC)).astype(int)
    grain = rng.integers(-9, 10, pixels.shape)
    return Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def make_sources() -> dict[str, bytes]:
    """One file of every kind that the decoder tells apart."""
    photo = draw_photo(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera"
    grey = photo.convert("L")
    return {
        "baseline.jpg": encode(photo, "JPEG", quality=88, exif=exif.tobytes()),
        "progressive.jpg": encode(photo, "JPEG", quality=88, progressive=True),
        "restarts.jpg": encode(photo, "JPEG", quality=88, restart_marker_blocks=3),
        "grey.jpg": encode(grey, "JPEG", quality=80),
        "cmyk.jpg": encode(photo.convert("CMYK"), "JPEG", quality=80),
        "rgb.png": encode(photo, "PNG", exif=exif.tobytes()),
        "palette.png": encode(photo.quantize(32), "PNG"),
        "alpha.png": encode(photo.convert("RGBA"), "PNG"),
        "deep.png": encode(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG"),
        "raw.tif": encode(photo, "TIFF"),
        "lzw.tif": encode(photo, "TIFF", compression="tiff_lzw"),
        "deflate.tif": encode(photo, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": encode(photo, "TIFF", compression="jpeg"),
        "lossy.webp": encode(photo, "WebP", quality=80, exif=exif.tobytes()),
        "lossless.webp": encode(photo, "WebP", lossless=True),
        "alpha.webp": encode(photo.convert("RGBA"), "WebP", quality=60),
    }


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Damage a file: bits, bytes, numbers of the header, holes, repeats, swaps, or its end."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        _CHANGES[int(rng.integers(len(_CHANGES)))](changed, rng)
        if len(changed) < 4:
            break
    return bytes(changed)


def _place(changed: bytearray, rng: np.random.Generator) -> int:
    # Half of the changes hit the header, where sizes and offsets stand.
    end = min(len(changed), 512) if rng.random() < 0.5 else len(changed)
    return int(rng.integers(0, max(1, end)))


def _flip_bit(changed: bytearray, rng: np.random.Generator) -> None:
    changed[_place(changed, rng)] ^= 1 << int(rng.integers(8))


def _set_byte(changed: bytearray, rng: np.random.Generator) -> None:
    changed[_place(changed, rng)] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)]))


def _set_number(changed: bytearray, rng: np.random.Generator) -> None:
    value = int(rng.choice([0, 1, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF, 70_000]))
    width = int(rng.choice([2, 4, 4, 8]))
    order = "little" if rng.random() < 0.5 else "big"
    at = _place(changed, rng)
    changed[at : at + width] = (value & (256**width - 1)).to_bytes(width, order)


def _cut_hole(changed: bytearray, rng: np.random.Generator) -> None:
    at = _place(changed, rng)
    del changed[at : at + int(rng.integers(1, 200))]


def _repeat(changed: bytearray, rng: np.random.Generator) -> None:
    at, count = _place(changed, rng), int(rng.integers(1, 300))
    changed[at:at] = changed[at : at + count] * int(rng.integers(1, 4))


def _swap(changed: bytearray, rng: np.random.Generator) -> None:
    one, other, count = _place(changed, rng), _place(changed, rng), int(rng.integers(1, 64))
    part = bytes(changed[one : one + count])
    changed[one : one + count] = changed[other : other + count]
    changed[other : other + count] = part


def _cut_end(changed: bytearray, rng: np.random.Generator) -> None:
    del changed[_place(changed, rng) :]


def _fill_noise(changed: bytearray, rng: np.random.Generator) -> None:
    at = _place(changed, rng)
    noise = rng.integers(0, 256, int(rng.integers(1, 64)), dtype=np.uint8).tobytes()
    changed[at : at + len(noise)] = noise


_CHANGES = (
    _flip_bit, _set_byte, _set_number, _set_number, _cut_hole, _repeat, _swap, _cut_end,
    _fill_noise,
)  # fmt: skip


# Bombs -------------------------------------------------------------------------------------------


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def build_png(width: int, height: int, *extra: bytes, mode: tuple[int, int] = (8, 2)) -> bytes:
    """A PNG file of few bytes with a whole stream of zeros, of any size."""
    header = struct.pack(">IIBBBBB", width, height, *mode, 0, 0, 0)
    stream = zlib.compress(bytes(min(1 << 20, 1 + 3 * width) * 3), 9)
    parts = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", stream), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def build_tiff(
    entries: dict[int, tuple[int, int, int]], body: bytes, *, big: bool = False
) -> bytes:
    """A TIFF file with one directory: tag → type, count, value."""
    wide = 8 if big else 4
    head = b"II+\x00\x08\x00\x00\x00" if big else b"II*\x00"
    first = 16 if big else 8
    directory = len(entries).to_bytes(8 if big else 2, "little")
    for tag, (kind, count, value) in sorted(entries.items()):
        directory += struct.pack("<HH", tag, kind) + count.to_bytes(wide, "little")
        directory += value.to_bytes(wide, "little")
    return head + first.to_bytes(wide, "little") + directory + bytes(wide) + body


def tiff_entries(width: int, height: int, **more: tuple[int, int, int]) -> dict:
    """What a TIFF of RGB pixels needs; ``more`` by ``t`` and the tag's number."""
    entries = {
        256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 8), 262: (3, 1, 1),
        273: (4, 1, 8), 277: (3, 1, 1), 278: (4, 1, height), 279: (4, 1, 100),
    }  # fmt: skip
    return entries | {int(name[1:]): value for name, value in more.items()}


def build_webp(width: int, height: int, *, lossless: bool = False, flags: int = 2) -> bytes:
    """A WebP file whose canvas has any size, with one small frame."""
    if lossless:
        bits = (width - 1) | (height - 1) << 14
        body = b"\x2f" + bits.to_bytes(4, "little") + bytes(64)
        parts = b"VP8L" + len(body).to_bytes(4, "little") + body + bytes(len(body) % 2)
    else:
        canvas = bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little")
        canvas += (height - 1).to_bytes(3, "little")
        small = encode(draw_photo(0), "WebP", lossless=True)[12:]
        parts = b"VP8X" + (10).to_bytes(4, "little") + canvas + small
    return b"RIFF" + (4 + len(parts)).to_bytes(4, "little") + b"WEBP" + parts


def deflate_zeros(count: int) -> bytes:
    """``count`` bytes of zeros, deflated: a thousandth of that."""
    packer = zlib.compressobj(9)
    step = bytes(1 << 20)
    parts = [packer.compress(step) for _ in range(count >> 20)]
    return b"".join([*parts, packer.flush()])


def build_jpeg(width: int, height: int, *, scans: int = 1, progressive: bool = False) -> bytes:
    """A JPEG file that names any size; ``scans`` passes with nothing in them."""
    small = encode(draw_photo(0, 64), "JPEG", progressive=progressive)
    marker = b"\xff\xc2" if progressive else b"\xff\xc0"
    at = small.index(marker)
    named = bytearray(small)
    named[at + 5 : at + 9] = struct.pack(">HH", height, width)
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x00" + bytes(6)
    return bytes(named[:-2]) + scan * (scans - 1) + b"\xff\xd9"


def build_bombs(unfolded: int = GIGAPIXEL) -> Iterator[tuple[str, bytes]]:
    """Twenty files of at most a few megabytes that unfold to a gigapixel, or gigabytes, or more.

    Args:
        unfolded: bytes that texts and profiles unfold to; packing a gigabyte takes seconds.
    """
    profile = deflate_zeros(unfolded)
    text = b"Comment\x00\x00" + profile
    yield "png of 1 gigapixel", build_png(40_000, 25_000)
    yield "png of 100 gigapixels", build_png(400_000, 250_000)
    yield "png of the largest size", build_png(2**31 - 1, 2**31 - 1)
    yield "png of one row", build_png(2**30, 1)
    yield "png of bits", build_png(200_000, 200_000, mode=(1, 0))
    yield "png of 16-bit colour and alpha", build_png(40_000, 30_000, mode=(16, 6))
    yield "png, interlaced, tall", build_png(20, 2**27)
    yield "png with an ICC profile of 1 GB", build_png(96, 96, chunk(b"iCCP", b"p\0\0" + profile))
    yield "png with a zTXt of 1 GB", build_png(96, 96, chunk(b"zTXt", text))
    yield (
        "png with an iTXt of 1 GB",
        build_png(96, 96, chunk(b"iTXt", b"Comment\x00\x01\x00\x00\x00" + profile)),
    )
    megabyte = chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(1_000_000), 9))
    yield "png with 1000 zTXt of 1 MB", build_png(96, 96, *[megabyte] * 1000)
    yield "tiff of 1.6 gigapixels", build_tiff(tiff_entries(40_000, 40_000), bytes(200))
    yield "tiff of the largest size", build_tiff(tiff_entries(2**32 - 1, 2**32 - 1), bytes(200))
    yield (
        "bigtiff of 100 gigapixels",
        build_tiff(tiff_entries(400_000, 250_000, t273=(4, 1, 300)), bytes(400), big=True),
    )
    tile = profile
    yield (
        "tiff of 96 px with a tile of 1 gigapixel",
        build_tiff(
            tiff_entries(
                96, 96, t322=(4, 1, 32_000), t323=(4, 1, 32_000), t324=(4, 1, 200),
                t325=(4, 1, len(tile)),
            ),
            bytes(40) + tile,
        ),
    )  # fmt: skip
    overlapping = dict.fromkeys(range(50_000, 52_000), (7, 900_000, 0))
    yield (
        "tiff whose 2,000 tags name the same megabyte",
        build_tiff(tiff_entries(96, 96) | overlapping, bytes(1_000_000)),
    )
    yield "webp with a canvas of 1.6 gigapixels", build_webp(40_000, 40_000)
    yield "webp, animated, of 4 gigapixels", build_webp(65_000, 65_000, flags=2)
    yield "webp with the widest canvas", build_webp(2**24, 200)
    yield "jpeg of 4.3 gigapixels", build_jpeg(65_535, 65_535)


def build_more_bombs() -> Iterator[tuple[str, bytes]]:
    """Files below a gigapixel that would take more memory or time than any photo is worth."""
    yield "webp, lossless, of 268 megapixels", build_webp(16_384, 16_384, lossless=True)
    yield "progressive jpeg of 190 megapixels", build_jpeg(14_000, 13_600, progressive=True)
    yield (
        "progressive jpeg of 90 megapixels in 190 passes",
        build_jpeg(10_000, 9_000, scans=190, progressive=True),
    )
    yield "progressive jpeg in 5,000 passes", build_jpeg(200, 200, scans=5_000, progressive=True)


def big_exif(orientation: int, size: int) -> bytes:
    """An EXIF block of ``size`` bytes, most of them a maker's note."""
    note = bytes(size - 64)
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    entries += struct.pack("<HHII", 0x927C, 7, len(note), 64)
    block = b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", 2) + entries + bytes(4)
    return block.ljust(64, b"\0") + note
