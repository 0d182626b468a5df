"""The same photo gives the same diagnosis, however it comes in; and nothing but it goes out."""

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from painted_field import paint_photo, run, said
from PIL import ExifTags, Image

import leafscout
from leafscout.errors import InputError
from leafscout.inference.answer import PhotoDiagnosis
from leafscout.inference.load import Model
from leafscout.photos.decode import decode_photo
from leafscout.types import Diagnosis

ARRAYS = ("label_probs", "thresholds", "read", "scout_probs", "tile_probs", "lesion_map")
VALUES = ("photo_size_px_hw", "labels", "healthy_prob", "unsure", "tiles", "lesion_map_px")
DATA_URI = r"data:image/\w+;base64,([A-Za-z0-9+/=]+)"
MARKER = "secret-orchard-of-the-tests"

# How a photo with EXIF orientation 1..8 lies in the file: the inverse of what a viewer does.
STORED: dict[int, Callable[[Image.Image], Image.Image]] = {
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}


def assert_same(one: Diagnosis, other: Diagnosis) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for name in VALUES:
        assert getattr(one, name) == getattr(other, name), name
    assert one.lesion_boxes == other.lesion_boxes
    assert one.present == other.present
    assert (one.cost.macs, one.cost.tiles_read) == (other.cost.macs, other.cost.tiles_read)
    assert one.cost.area_read_frac == other.cost.area_read_frac


@pytest.fixture(scope="module")
def model(trained: Path) -> Model:
    return leafscout.load(trained)


@pytest.fixture(scope="module")
def photos(field: Path) -> list[Path]:
    return [field / f"{index:02d}.jpg" for index in range(8)]


def test_photos_differ(model: Model, photos: list[Path]) -> None:
    """Otherwise every test below would pass for a model that always says the same."""
    probs = np.stack([model.diagnose(path).diagnosis.label_probs for path in photos])
    assert len(np.unique(probs[:, 0])) == len(photos)
    assert any(model.diagnose(path).diagnosis.read.any() for path in photos)


def test_path_bytes_and_array(model: Model, photos: list[Path]) -> None:
    for path in photos:
        expected = model.diagnose(path).diagnosis
        for source in (str(path), path.read_bytes(), decode_photo(path).pixels):
            assert_same(model.diagnose(source).diagnosis, expected)


def test_alone_and_among_others(model: Model, photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no photo")
    among = list(model.diagnose_many([*photos[::-1], tmp_path / "broken.jpg", photos[0]]))
    answers = [one for one in among if isinstance(one, PhotoDiagnosis)]
    assert len(among) == len(answers) + 1 == len(photos) + 2
    for path, answer in zip([*photos[::-1], photos[0]], answers, strict=True):
        assert answer.diagnosis.source == str(path)
        assert_same(answer.diagnosis, model.diagnose(path).diagnosis)


def test_command_line_and_python(
    model: Model, trained: Path, field: Path, photos: list[Path]
) -> None:
    result = run("diagnose", trained, field, "--json")
    assert result.exit_code == 0, said(result)
    records = {record["source"]: record for record in map(json.loads, result.stdout.splitlines())}
    for path in photos:
        expected = model.diagnose(path).to_dict()
        found = records[str(path)]
        for record in (expected, found):
            del record["cost"]["seconds"]
        assert found == json.loads(json.dumps(expected))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_turned_by_exif(model: Model, kind: str, orientation: int) -> None:
    upright = paint_photo(77, ("rust",))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = io.BytesIO()
    STORED[orientation](upright).save(file, kind, exif=exif.tobytes())
    turned = model.diagnose(file.getvalue())
    assert_same(turned.diagnosis, model.diagnose(np.asarray(upright)).diagnosis)
    np.testing.assert_array_equal(turned.photo.pixels, np.asarray(upright))


@pytest.mark.parametrize("orientation", STORED)
def test_a_jpeg_whose_tag_alone_is_changed(model: Model, orientation: int) -> None:
    """The entropy-coded data stay: what is decoded differs only by the turn."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    plain, tagged = io.BytesIO(), io.BytesIO()
    for file, options in ((plain, {}), (tagged, {"exif": exif.tobytes()})):
        paint_photo(77, ("rust",)).save(file, "JPEG", quality=92, **options)
    stored = Image.fromarray(decode_photo(plain.getvalue()).pixels)
    # A viewer undoes what the camera did; 6 and 8 undo each other, the others themselves.
    upright = STORED[{6: 8, 8: 6}.get(orientation, orientation)](stored)
    assert_same(
        model.diagnose(tagged.getvalue()).diagnosis,
        model.diagnose(np.asarray(upright)).diagnosis,
    )


def test_loaded_again_and_moved(
    model: Model, trained: Path, photos: list[Path], tmp_path: Path
) -> None:
    moved = shutil.copytree(trained / "model", tmp_path / "elsewhere")
    for loaded in (leafscout.load(trained), leafscout.load(moved)):
        assert loaded.labels == model.labels
        for path in photos[:4]:
            assert_same(loaded.diagnose(path).diagnosis, model.diagnose(path).diagnosis)


def test_saved_as_page_values_and_picture(model: Model, photos: list[Path], tmp_path: Path) -> None:
    answer = model.diagnose(photos[1])
    page = answer.save(tmp_path / "out.html").read_text(encoding="utf-8")
    assert "01.jpg" in page
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page), "opens offline"
    values = json.loads(answer.save(tmp_path / "out.json").read_text(encoding="utf-8"))
    assert values["labels"][0]["label"] == model.labels[0]
    assert values["labels"][0]["prob"] == pytest.approx(answer.probs[model.labels[0]], abs=1e-6)
    with Image.open(answer.save(tmp_path / "out.png")) as picture:
        np.testing.assert_array_equal(np.asarray(picture), answer.draw())
    with Image.open(answer.save(tmp_path / "out.jpg")) as picture:
        drawn = np.asarray(picture).astype(int)
        assert np.abs(drawn - answer.draw()).mean() < 8
    with pytest.raises(InputError, match=r"\.html, \.json, \.jpg or \.png, but got 'out\.docx'"):
        answer.save(tmp_path / "out.docx")


def test_place_and_notes_of_the_camera_go_nowhere(model: Model, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = MARKER
    exif[ExifTags.Base.Make] = MARKER
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(
        {ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: (12.0, 34.0, 56.78)}
    )
    photo = tmp_path / "leaf.jpg"
    paint_photo(5, ("rust",)).save(photo, quality=92, exif=exif.tobytes(), comment=MARKER)
    assert photo.read_bytes().count(MARKER.encode()) == 3
    with Image.open(photo) as image:
        assert image.getexif().get_ifd(ExifTags.IFD.GPSInfo)

    answer = model.diagnose(photo)
    pictures = [answer.save(tmp_path / f"out{ending}").read_bytes() for ending in (".jpg", ".png")]
    page = answer.save(tmp_path / "out.html").read_text(encoding="utf-8")
    embedded = re.findall(DATA_URI, page)
    assert embedded
    pictures += [base64.b64decode(data) for data in embedded]
    for data in pictures:
        assert MARKER.encode() not in data
        with Image.open(io.BytesIO(data)) as image:
            assert not image.getexif()
            assert "exif" not in image.info
            assert "comment" not in image.info
    values = answer.save(tmp_path / "out.json").read_text(encoding="utf-8")
    for text in (re.sub(DATA_URI, "", page), values):
        assert MARKER not in text
        assert "GPS" not in text
        assert "56.78" not in text
