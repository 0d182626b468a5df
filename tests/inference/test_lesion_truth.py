"""Lesion boxes and masks as people give them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leafscout.errors import InputError
from leafscout.inference.lesion_truth import read_lesion_truth, read_mask

HEADER = "image,x_px,y_px,width_px,height_px"


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_boxes_are_found_by_file_name_in_any_column_order(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text(
        "label,height_px,width_px,y_px,x_px,image,note\n"
        'rust,4,3,2,1,photos\\a.jpg,"a, b"\n'
        "scab,40.4,30.6,20,10,deep/photos/a.jpg,\n"
        "rust,1,1,0,0,b.jpg,\n",
        encoding="utf-8-sig",
    )
    truth = read_lesion_truth(path, None)
    for name in ("a.jpg", "elsewhere/a.jpg"):
        np.testing.assert_array_equal(truth.lesions(name), [[1, 2, 4, 6], [10, 20, 41, 60]])
    np.testing.assert_array_equal(truth.lesions_of("a.jpg", "scab"), [[10, 20, 41, 60]])
    assert truth.lesions_of("b.jpg", "scab").shape == (0, 4)
    assert truth.lesions("c.jpg") is None
    assert truth.lesions_of("c.jpg", "rust") is None


def test_boxes_without_labels_have_none(tmp_path: Path) -> None:
    truth = read_lesion_truth(write(tmp_path / "b.csv", HEADER, "a.jpg,1,2,3,4"), None)
    assert truth.lesions_of("a.jpg", "rust") is None
    half = write(tmp_path / "half.csv", HEADER + ",label", "a.jpg,1,2,3,4,rust", "a.jpg,1,2,3,4,")
    assert read_lesion_truth(half, None).lesions_of("a.jpg", "rust") is None


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["image,x,y"], r"b\.csv lacks the columns x_px, y_px, width_px, height_px\. Expected"),
        ([""], r"b\.csv lacks the columns image"),
        ([HEADER, "a.jpg,1,2,3,4", "a.jpg,1,two,3,4"], r"b\.csv, row 3: expected numbers in x_px"),
        ([HEADER, "a.jpg,1,2,3"], r"b\.csv, row 2: expected numbers"),
        ([HEADER, "a.jpg,1,2,nan,4"], r"b\.csv, row 2: expected numbers"),
        ([HEADER, "a.jpg,1,2,1e999,4"], r"b\.csv, row 2: expected numbers"),
        ([HEADER, "a.jpg,1,2,3,-4"], r"b\.csv, row 2: expected a box of at least 1 px, .* 3×-4"),
    ],
)
def test_bad_boxes_are_named_by_row(tmp_path: Path, lines: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_lesion_truth(write(tmp_path / "b.csv", *lines), None)


def test_missing_truth_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file of lesion boxes at .*gone\.csv"):
        read_lesion_truth(tmp_path / "gone.csv", None)
    with pytest.raises(InputError, match=r"no folder of masks at .*gone"):
        read_lesion_truth(None, tmp_path / "gone")
    with pytest.raises(InputError, match="holds no PNG files"):
        read_lesion_truth(None, tmp_path)


def test_masks_of_every_kind(tmp_path: Path) -> None:
    wanted = np.zeros((6, 8), dtype=np.bool_)
    wanted[1:3, 2:5] = True
    grey = Image.fromarray(wanted.astype(np.uint8))
    grey.save(tmp_path / "grey.png")
    palette = grey.copy()
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.save(tmp_path / "palette.png")
    Image.fromarray(wanted).save(tmp_path / "bits.png")
    colours = np.zeros((6, 8, 3), dtype=np.uint8)
    colours[4:] = (0, 176, 0)  # the leaf is no lesion
    colours[wanted] = (255, 0, 0)
    Image.fromarray(colours).save(tmp_path / "colours.png")
    Image.fromarray(colours).convert("RGBA").save(tmp_path / "with_alpha.png")
    truth = read_lesion_truth(None, tmp_path)
    for name in ("grey", "palette", "bits", "colours", "with_alpha"):
        np.testing.assert_array_equal(truth.lesions(f"photos/{name}.jpg", (6, 8)), wanted, name)
    assert truth.lesions("other.jpg") is None


def test_a_mask_must_have_the_size_of_its_photo(tmp_path: Path) -> None:
    Image.new("L", (8, 6)).save(tmp_path / "a.png")
    truth = read_lesion_truth(None, tmp_path)
    with pytest.raises(InputError, match=r"a\.png has 8×6 px, but its photo a\.jpg has 6×8 px"):
        truth.lesions("a.jpg", (8, 6))


def test_what_is_no_image_is_no_mask(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", "words")
    with pytest.raises(InputError, match=r"a\.png cannot be read as an image"):
        read_mask(path)


def test_truth_of_other_photos_is_refused(tmp_path: Path) -> None:
    truth = read_lesion_truth(write(tmp_path / "b.csv", HEADER, "a.jpg,1,2,3,4"), None)
    truth.check_names(["z.jpg", "photos/a.jpg"])
    with pytest.raises(InputError, match=r"None of the 2 photos, for example z\.jpg, is named"):
        truth.check_names(["z.jpg", "a.png"])
