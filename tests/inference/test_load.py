"""Loading a run, and what a diagnosis says besides its probabilities."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import leafscout
from leafscout.errors import InputError, PhotoError
from leafscout.inference.answer import Failure, PhotoDiagnosis, area_read, write_picture
from leafscout.photos.tiles import lay_tiles


@settings(max_examples=30, deadline=None)
@given(st.integers(33, 150), st.integers(33, 150), st.integers(32, 96), st.data())
def test_area_read_counts_every_pixel_once(
    height: int, width: int, tile_px: int, data: st.DataObject
) -> None:
    tiles = lay_tiles((height, width), tile_px)
    read = np.array(data.draw(st.lists(st.booleans(), min_size=len(tiles), max_size=len(tiles))))
    seen = {
        (x, y)
        for (left, top, right, bottom), chosen in zip(tiles.boxes_px_xyxy, read, strict=True)
        if chosen
        for x in range(left, right)
        for y in range(top, bottom)
    }
    assert area_read(tiles, read) == pytest.approx(len(seen) / (height * width))


def test_a_run_and_its_model_folder_load_alike(
    untrained_run: Path, used_photos: Path, tmp_path: Path
) -> None:
    model = leafscout.load(untrained_run)
    assert model.labels == ("mildew", "rust")
    alone = leafscout.load(shutil.copytree(untrained_run / "model", tmp_path / "alone"))
    probs = [one.diagnose(used_photos / "1.png").probs for one in (model, alone)]
    assert probs[0] == probs[1]


def test_what_was_read_is_what_is_charged(untrained_run: Path, used_photos: Path) -> None:
    model = leafscout.load(untrained_run)
    chosen = model.diagnose(used_photos / "1.png").diagnosis
    everything = model.diagnose(used_photos / "1.png", read_all=True).diagnosis
    assert len(chosen.tiles) == len(everything.tiles) == 6
    assert chosen.read.sum() == chosen.cost.tiles_read == 2
    assert everything.read.all()
    assert everything.cost.area_read_frac == 1
    assert chosen.cost.area_read_frac == pytest.approx(1 / 3)
    scout_macs = 2 * 128 * 80  # two a pixel of a glance of 128×85 px, in steps of 16
    assert everything.cost.macs == 1000 * 6 + scout_macs
    assert chosen.cost.macs == 1000 * 2 + scout_macs
    assert np.isnan(chosen.tile_probs[~chosen.read]).all()
    np.testing.assert_allclose(
        chosen.tile_probs[chosen.read], everything.tile_probs[chosen.read], atol=1e-5
    )
    probs = everything.label_probs
    assert 0 < everything.healthy_prob < 1
    assert everything.present == tuple(
        label for label, found in zip(model.labels, probs >= [0.4, 0.5], strict=True) if found
    )


def test_one_bad_photo_does_not_stop_the_others(
    untrained_run: Path, used_photos: Path, tmp_path: Path
) -> None:
    paths = [used_photos / "1.png", tmp_path / "gone.jpg", used_photos / "2.png"]
    kinds = [type(answer) for answer in leafscout.load(untrained_run).diagnose_many(paths)]
    assert kinds == [PhotoDiagnosis, Failure, PhotoDiagnosis]
    with pytest.raises(PhotoError, match=r"There is no photo .*gone\.jpg"):
        leafscout.load(untrained_run).diagnose(paths[1])


def test_what_cannot_be_loaded_is_said(untrained_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run folder .*gone\. Train one"):
        leafscout.load(tmp_path / "gone")
    with pytest.raises(InputError, match=r"no trained model in .*manifest\.json is missing"):
        leafscout.load(tmp_path)
    model = untrained_run / "model"
    weights = (model / "expert.safetensors").read_bytes()
    (model / "expert.safetensors").write_bytes(weights[:-1])
    with pytest.raises(InputError, match=r"expert\.safetensors is missing or was changed"):
        leafscout.load(untrained_run)


def test_pictures_are_written_as_they_are(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    path = write_picture(tmp_path / "new" / "picture.png", pixels)
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
    with pytest.raises(InputError, match=r"picture\.png cannot be written \(.*\)\. Choose another"):
        write_picture(path / "picture.png", pixels)


def test_a_diagnosis_shows_itself(untrained_run: Path, used_photos: Path) -> None:
    answer = leafscout.load(untrained_run).diagnose(used_photos / "1.png")
    assert repr(answer).startswith(f"<{used_photos / '1.png'}: ")
    assert repr(answer).endswith("2 of 6 tiles looked at>")
    assert set(answer.probs) == {"mildew", "rust"}
    assert answer.draw().dtype == np.uint8


def test_arrays_need_no_file(untrained_run: Path, used_photos: Path) -> None:
    pixels = np.asarray(Image.open(used_photos / "1.png"))
    model = leafscout.load(untrained_run)
    assert model.diagnose(pixels).probs == model.diagnose(used_photos / "1.png").probs
    assert model.diagnose(pixels).diagnosis.source == "<array>"
