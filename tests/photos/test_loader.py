"""Photos one after another: in order, few at a time, errors where they happen."""

import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leafscout.errors import PhotoError
from leafscout.photos import loader
from leafscout.photos.loader import load_photos
from leafscout.types import Photo


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    out = []
    for index in range(6):
        path = tmp_path / f"{index}.png"
        Image.fromarray(np.full((64, 64, 3), 10 * index, np.uint8)).save(path)
        out.append(path)
    return out


@pytest.mark.parametrize("ahead", [1, 2, 9])
def test_photos_come_in_the_order_asked_for(paths: list[Path], ahead: int) -> None:
    order = [3, 0, 3, 5]
    photos = load_photos(paths, order, ahead=ahead)
    got = [(index, int(photo.pixels[0, 0, 0])) for index, photo in photos]
    assert got == [(index, 10 * index) for index in order]


def test_no_photos_are_no_work(paths: list[Path]) -> None:
    assert list(load_photos(paths, [])) == []


def test_a_photo_that_cannot_be_read_stops_at_its_turn(paths: list[Path]) -> None:
    paths[2].write_bytes(b"not a photo")
    photos = load_photos(paths, range(6))
    assert [next(photos)[0] for _ in range(2)] == [0, 1]
    with pytest.raises(PhotoError, match=r"2\.png"):
        next(photos)


def test_few_decoded_photos_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    held: weakref.WeakSet[Photo] = weakref.WeakSet()
    lock = threading.Lock()

    def decode(path: Path) -> Photo:
        photo = Photo(np.zeros((2, 2, 3), np.uint8), str(path))
        with lock:
            held.add(photo)
        return photo

    monkeypatch.setattr(loader, "decode_photo", decode)
    most = 0
    for _ in load_photos([Path(str(index)) for index in range(30)], range(30), ahead=2):
        time.sleep(0.002)  # gives the threads time to run as far ahead as they may
        with lock:
            most = max(most, len(held))
    assert most <= 4  # two ahead, the present one, and the one just let go


def test_stopping_early_leaves_no_thread_behind(paths: list[Path]) -> None:
    photos = load_photos(paths, range(6))
    next(photos)
    photos.close()  # type: ignore[attr-defined]
    assert not [one for one in threading.enumerate() if one.name.startswith("decode")]
