"""Many photos at any pace: the answers of one by one, in order, with few photos in hand."""

import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import leafscout
from leafscout.diagnosis.calibrate import Calibration
from leafscout.errors import InputError
from leafscout.glance.choose import ChoiceRule
from leafscout.glance.view import take_glance
from leafscout.inference.answer import Failure, PhotoDiagnosis, build_diagnosis
from leafscout.inference.many import Pace, diagnose_photos
from leafscout.model import GlanceAndFocus, GlanceEvidence, Rules, TileEvidence
from leafscout.photos.decode import open_photo
from leafscout.photos.jpeg_photo import JpegPhoto
from leafscout.types import Diagnosis, Photo, Pixels

SIZE_HW, TILE_PX = (384, 512), 128
PACES = [Pace(1, 1, 1), Pace(2, 3, 4), Pace(3, 8, 16), Pace(1, 20, 1000)]


@dataclass
class ColourNetworks:
    """Red is suspicious to the scout; the expert weighs red against blue, tile by tile."""

    batches: list[int] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def run_scout(self, glance: Pixels) -> GlanceEvidence:
        self.threads.add(threading.get_ident())
        cells = glance.reshape(glance.shape[0] // 16, 16, glance.shape[1] // 16, 16, 3)
        red = cells.mean(axis=(1, 3))[..., 0].astype(np.float32) / 255 * 12 - 6
        maps = np.stack([red, -red])
        return GlanceEvidence(red, maps, np.array([-5, -5], np.float32))

    def run_expert(self, tiles: Pixels) -> TileEvidence:
        self.threads.add(threading.get_ident())
        self.batches.append(len(tiles))
        colour = tiles.mean(axis=(1, 2)).astype(np.float32)[:, [0, 2]] / 255
        place = np.repeat(colour[:, :, None, None] * 8 - 4, 4, axis=2).repeat(4, axis=3)
        return TileEvidence(colour * 12 - 6, colour, place)


@pytest.fixture
def core() -> GlanceAndFocus:
    return GlanceAndFocus(
        ColourNetworks(),
        Rules(
            labels=("rust", "mildew"),
            tile_px=TILE_PX,
            glance_px=128,
            pooling="log_sum_exp",
            choice=ChoiceRule(threshold_prob=0.5, max_tiles=5),
            glance_weights=(0.2, 0.2),
            calibration=Calibration((1.0, 2.0), (0.0, 0.5)),
            thresholds=(0.5, 0.5),
            expert_macs=10,
            scout_macs_per_px=1.0,
        ),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Photos with 0..8 suspicious tiles; some of other kinds, some that cannot be used."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(5)
    paths = []
    for index, red_tiles in enumerate([0, 3, 0, 0, 8, 1, 2, 0, 5, 1, 1, 0]):
        pixels = rng.integers(0, 60, (*SIZE_HW, 3), dtype=np.uint8)
        for tile in rng.choice(12, red_tiles, replace=False):
            top, left = tile // 4 * TILE_PX, tile % 4 * TILE_PX
            pixels[top : top + TILE_PX, left : left + TILE_PX, 0] = 200 + 5 * index
        exif = Image.Exif()
        exif[0x0112] = 1 + index % 8
        path = folder / f"{index:02d}{'.png' if index in (5, 8) else '.jpg'}"
        Image.fromarray(pixels).save(path, exif=exif.tobytes(), quality=90)
        paths.append(path)
    whole = paths[1].read_bytes()
    broken = {
        "cut.jpg": whole[: len(whole) // 2],
        "holed.jpg": whole[: len(whole) // 2] + whole[len(whole) // 2 + 300 :],
        "text.jpg": b"no photo at all, but a piece of text",
    }
    for number, (name, data) in enumerate(broken.items()):
        (folder / name).write_bytes(data)
        paths.insert(2 + 3 * number, folder / name)
    paths.insert(7, folder / "gone.jpg")
    return paths


def one_by_one(core: GlanceAndFocus, paths: list[Path]) -> list[Diagnosis | None]:
    answers: list[Diagnosis | None] = []
    for path in paths:
        try:
            photo = open_photo(path)
            evidence, tiles = core.forward(photo)
        except InputError:
            answers.append(None)
        else:
            answers.append(build_diagnosis(core, photo, evidence, tiles, 0.0))
    return answers


def assert_same(found: Diagnosis, expected: Diagnosis) -> None:
    for name in ("label_probs", "scout_probs", "tile_probs", "lesion_map", "read"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), atol=1e-6, rtol=0, err_msg=name
        )
    assert found.source == expected.source
    assert found.present == expected.present
    assert found.cost.macs == expected.cost.macs


@pytest.mark.parametrize("pace", PACES, ids=str)
def test_any_pace_gives_the_answers_of_one_by_one(
    core: GlanceAndFocus, folder: list[Path], pace: Pace
) -> None:
    expected = one_by_one(core, folder)
    assert sum(one is None for one in expected) == 4
    assert len({len(one.label_probs) and float(one.label_probs[0]) for one in expected if one}) > 6
    found = list(diagnose_photos(core, folder, pace))
    assert len(found) == len(folder)
    for path, answer, wanted in zip(folder, found, expected, strict=True):
        if wanted is None:
            assert isinstance(answer, Failure)
            assert answer.source == str(path)
            assert path.name in answer.error
        else:
            assert isinstance(answer, PhotoDiagnosis)
            assert_same(answer.diagnosis, wanted)
            assert answer.diagnosis.cost.seconds > 0


def test_a_real_network_gives_the_same_in_any_batch(untrained_run: Path, used_photos: Path) -> None:
    model = leafscout.load(untrained_run)
    paths = sorted(used_photos.glob("*.png"))
    expected = one_by_one(model.core, paths)
    for pace in (Pace(), Pace(2, 8, 5), Pace(2, 8, 100)):
        for answer, wanted in zip(model.diagnose_many(paths, pace=pace), expected, strict=True):
            assert isinstance(answer, PhotoDiagnosis)
            assert wanted is not None
            assert_same(answer.diagnosis, wanted)
            if pace.tiles_at_once == 1:
                np.testing.assert_array_equal(answer.diagnosis.label_probs, wanted.label_probs)


def test_tiles_of_several_photos_are_read_together(
    core: GlanceAndFocus, folder: list[Path]
) -> None:
    networks = core.networks
    assert isinstance(networks, ColourNetworks)
    list(diagnose_photos(core, folder, Pace(2, 40, 7)))
    tiles = [int(one.read.sum()) for one in one_by_one(core, folder) if one is not None]
    together = networks.batches[: len(networks.batches) - sum(count > 0 for count in tiles)]
    assert sum(together) == sum(tiles)
    assert len(together) < sum(count > 0 for count in tiles)
    assert max(together) <= 7
    assert networks.threads == {threading.get_ident()}, "networks run in the caller's thread"


class Watched:
    """Counts how many photos are decoded in full at a time, and how many at all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = self.count = 0
        lock, decode = threading.Lock(), JpegPhoto.decode_full

        def watch(photo: JpegPhoto, buffer: object = None) -> Pixels:
            with lock:
                self.now += 1
                self.count += 1
                self.most = max(self.most, self.now)
            try:
                return decode(photo, buffer)  # type: ignore[arg-type]
            finally:
                with lock:
                    self.now -= 1

        monkeypatch.setattr(JpegPhoto, "decode_full", watch)


def test_few_photos_are_in_hand(
    core: GlanceAndFocus, folder: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, taken, answered, most = Watched(monkeypatch), 0, 0, 0

    def hand_out() -> Iterator[Path]:
        nonlocal taken
        for path in folder * 3:
            taken += 1
            yield path

    for answer in diagnose_photos(core, hand_out(), Pace(2, 5, 16)):
        most = max(most, taken - answered)
        answered += 1
        if isinstance(answer, PhotoDiagnosis) and isinstance(answer.photo, JpegPhoto):
            assert not answer.photo.decoded, "an answer holds no decoded photo"
    assert answered == taken == 3 * len(folder)
    assert most <= 6
    assert 1 <= watched.most <= 2


def test_photos_on_which_nothing_is_read_are_never_decoded_in_full(
    core: GlanceAndFocus, folder: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    read = jpegs = 0
    for answer in diagnose_photos(core, folder):
        if isinstance(answer, PhotoDiagnosis) and isinstance(answer.photo, JpegPhoto):
            jpegs += 1
            read += answer.diagnosis.cost.tiles_read > 0
    assert 0 < read < jpegs
    assert watched.count == read


def test_who_stops_early_is_left_alone(core: GlanceAndFocus, folder: list[Path]) -> None:
    before = threading.active_count()
    answers = diagnose_photos(core, folder * 50, Pace(2, 4, 4))
    next(answers)
    assert threading.active_count() > before
    answers.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_no_photos_and_an_impossible_pace(core: GlanceAndFocus) -> None:
    assert list(diagnose_photos(core, [])) == []
    for wrong in ({"workers": 0}, {"ahead": 0}, {"tiles_at_once": -1}):
        with pytest.raises(InputError, match=r"to be at least 1, but got"):
            Pace(**wrong)


def test_a_file_and_its_pixels_differ_by_little(core: GlanceAndFocus, folder: list[Path]) -> None:
    """A JPEG file's glance is decoded small, that of an array is averaged: nearly the same."""
    for path in folder:
        if path.suffix != ".jpg" or path.name in ("cut.jpg", "holed.jpg", "text.jpg", "gone.jpg"):
            continue
        photo = open_photo(path)
        assert isinstance(photo, JpegPhoto)
        pixels = Photo(photo.pixels, "<array>")
        gap = take_glance(photo, 128).pixels.astype(int) - take_glance(pixels, 128).pixels
        assert np.abs(gap).mean() < 2
        seen, _ = core.forward(photo)
        same, _ = core.forward(pixels)
        np.testing.assert_allclose(core.label_probs(seen), core.label_probs(same), atol=0.02)


def test_pictures_and_pages_can_still_be_drawn(core: GlanceAndFocus, folder: list[Path]) -> None:
    answers = list(diagnose_photos(core, folder[:4]))
    for answer in answers:
        if isinstance(answer, PhotoDiagnosis):
            picture = answer.draw()
            assert picture.dtype == np.uint8
            Image.fromarray(picture).save(io.BytesIO(), "PNG")
