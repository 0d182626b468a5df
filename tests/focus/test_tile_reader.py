"""Tiles read into memory that is used again are those of the photo, in any thread."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from leafscout.focus.tile_reader import TileReader, read_tiles
from leafscout.photos.decode import decode_photo, open_photo
from leafscout.photos.jpeg_photo import JpegPhoto
from leafscout.photos.tiles import lay_tiles

SIZES = [(200, 300), (128, 96), (260, 310), (64, 64)]


def encode(size: tuple[int, int], kind: str = "JPEG", orientation: int = 1) -> bytes:
    coarse = np.random.default_rng(sum(size)).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    image = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
    image.save(out, kind, exif=exif.tobytes())
    return out.getvalue()


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_one_reader_for_photos_of_all_sizes(orientation: int) -> None:
    reader = TileReader()
    read, wanted = [], []
    for size in SIZES * 2:
        data = encode(size, orientation=orientation)
        tiles = lay_tiles(decode_photo(data).size_px_hw, 64)
        chosen = np.arange(len(tiles))[::-2]
        photo = open_photo(data)
        read.append(reader.read(photo, tiles, chosen))
        wanted.append(read_tiles(decode_photo(data), tiles, chosen))
        assert isinstance(photo, JpegPhoto)
        assert not photo.decoded, "the photo keeps nothing"
    for one, other in zip(read, wanted, strict=True):  # earlier tiles outlive later photos
        np.testing.assert_array_equal(one, other)


def test_other_kinds_and_decoded_photos() -> None:
    reader = TileReader()
    for photo in (decode_photo(encode(SIZES[0])), open_photo(encode(SIZES[0], "PNG"))):
        tiles = lay_tiles(photo.size_px_hw, 64)
        np.testing.assert_array_equal(
            reader.read(photo, tiles, [3, 1]), read_tiles(photo, tiles, [3, 1])
        )


def test_threads_do_not_share_memory() -> None:
    reader = TileReader()
    files = [encode((200 + index, 300)) for index in range(8)]

    def work(data: bytes) -> bool:
        photo = open_photo(data)
        tiles = lay_tiles(photo.size_px_hw, 64)
        everything = range(len(tiles))
        found = reader.read(photo, tiles, everything)
        return np.array_equal(found, read_tiles(decode_photo(data), tiles, everything))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, files * 4))
