import json
import shutil

import numpy as np
import pytest
from PIL import Image, ImageOps

from leafscout.photos.check import check_data


def draw_photo(seed, side=96):
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.NEAREST)


@pytest.fixture
def field(tmp_path):
    """24 good photos of two diseases and healthy, with a table."""
    for i in range(24):
        draw_photo(i).save(tmp_path / f"{i:02}.jpg", quality=92)
    rows = [(f"{i:02}.jpg", ("rust", "scab", "healthy")[i % 3]) for i in range(24)]
    return tmp_path, rows


def write_rows(folder, rows, header="image,labels"):
    text = header + "\n" + "".join(",".join(row) + "\n" for row in rows)
    (folder / "labels.csv").write_text(text)
    return folder


def find(report, code):
    return [finding for finding in report.findings if finding.code == code]


def test_good_data_have_no_findings(field):
    report = check_data(write_rows(*field))
    assert report.findings == ()
    assert not report.refuses_training
    assert report.counts == {"photos": 24, "rust": 8, "scab": 8, "healthy": 8}
    assert report.lines() == [report.description, "No problems found."]
    assert "a column of labels, 24 photos" in report.description


def test_bad_photos_are_found_and_named_by_row(field):
    folder, rows = field
    whole = (folder / "00.jpg").read_bytes()
    (folder / "00.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "01.jpg").write_text("these are just words, quite a few of them")
    draw_photo(2, side=30).save(folder / "02.jpg")
    report = check_data(write_rows(folder, [*rows, ("gone.jpg", "rust")]))
    assert report.refuses_training
    assert {(f.code, f.row) for f in report.findings} == {
        ("truncated", 2),
        ("unreadable", 3),
        ("too_small", 4),
        ("missing", 26),
    }
    assert find(report, "truncated")[0].file == str(folder / "00.jpg")
    assert "00.jpg is cut short" in find(report, "truncated")[0].message
    assert report.lines()[-1] == "4 errors, 0 warnings. Training would refuse this data."


def test_copies_are_found(field):
    folder, rows = field
    shutil.copy(folder / "03.jpg", folder / "same.jpg")
    ImageOps.mirror(draw_photo(4)).resize((80, 80)).save(folder / "mirrored.jpg", quality=60)
    report = check_data(write_rows(folder, [*rows, ("same.jpg", "rust"), ("mirrored.jpg", "scab")]))
    assert not report.refuses_training
    (same,), (near,) = find(report, "duplicate"), find(report, "near_duplicate")
    assert same.message.startswith("same.jpg is the same file as 03.jpg.")
    assert near.message.startswith("mirrored.jpg shows the same picture as 04.jpg.")
    assert (same.row, near.row) == (26, 27)
    assert report.lines()[-1] == "0 errors, 2 warnings. Training can start."


def test_copies_with_other_labels_are_found(field):
    folder, rows = field
    shutil.copy(folder / "03.jpg", folder / "same.jpg")
    ImageOps.mirror(draw_photo(4)).save(folder / "mirrored.jpg", quality=60)
    report = check_data(
        write_rows(folder, [*rows, ("same.jpg", "healthy"), ("mirrored.jpg", "rust")])
    )
    (conflict,) = find(report, "conflicting_labels")
    assert "same.jpg is the same file as 03.jpg, but they are labelled healthy and rust" in (
        conflict.message
    )
    (near,) = find(report, "near_duplicate")
    assert near.severity == "warning"
    assert "but they are labelled rust and scab: check which is right" in near.message


def test_leaks_across_splits_are_found(field):
    folder, rows = field
    shutil.copy(folder / "03.jpg", folder / "same.jpg")
    draw_photo(4).resize((70, 70)).save(folder / "smaller.jpg")
    split_rows = [(*row, "train" if i < 15 else "val", "") for i, row in enumerate(rows)]
    split_rows[0] = (*rows[0], "train", "plant 1")
    split_rows[15] = (*rows[15], "val", "plant 1")
    split_rows += [("same.jpg", "rust", "val", ""), ("smaller.jpg", "scab", "test", "")]
    report = check_data(write_rows(folder, split_rows, "image,labels,split,group"))
    assert report.refuses_training
    messages = [finding.message for finding in find(report, "leak")]
    assert any("The group plant 1 has photos in train and val" in m for m in messages)
    assert any(
        "same.jpg is the same file as 03.jpg, but one is in val and the" in m for m in messages
    )
    assert any(
        "smaller.jpg shows the same picture as 04.jpg, but one is in test" in m for m in messages
    )
    assert len(messages) == 3


def test_rare_labels_are_found(field):
    folder, rows = field
    rows[0] = ("00.jpg", "blight")
    rows[1] = ("01.jpg", "smut")
    rows[2] = ("02.jpg", "smut")
    report = check_data(write_rows(folder, rows))
    (blight, smut) = find(report, "label_too_rare")
    assert (blight.severity, smut.severity) == ("error", "warning")
    assert "The label blight has 1 photos in 1 groups" in blight.message
    assert "The label smut has 2 photos: at least 5 are needed to learn it" in smut.message


def test_rare_labels_are_counted_per_split(field):
    folder, rows = field
    split_rows = [
        (*row, "val" if row[1] == "rust" or i > 21 else "train") for i, row in enumerate(rows)
    ]
    report = check_data(write_rows(folder, split_rows, "image,labels,split"))
    found = {f.message: f.severity for f in find(report, "label_too_rare")}
    assert any(
        m.startswith("The label rust has no photo in train") and s == "error"
        for m, s in found.items()
    )
    assert any(
        m.startswith("The label scab has 7 photos in train and 1 in val") and s == "warning"
        for m, s in found.items()
    )


def test_bad_tables_are_reported_not_raised(field, tmp_path):
    folder, _ = field
    report = check_data(folder / "nowhere")
    assert report.refuses_training
    assert report.counts == {"photos": 0}
    assert "There is no file or folder" in report.lines()[0]
    one_class = check_data(write_rows(folder, [("00.jpg", "rust"), ("01.jpg", "rust")]))
    assert find(one_class, "one_class")
    beside = check_data(write_rows(folder, [("00.jpg", "rust healthy"), ("01.jpg", "rust")]))
    assert find(beside, "healthy_beside_disease")[0].row == 2


def test_errors_come_first_and_the_report_is_json(field):
    folder, rows = field
    shutil.copy(folder / "03.jpg", folder / "same.jpg")
    (folder / "05.jpg").write_bytes(b"words " * 20)
    seen = []
    report = check_data(
        write_rows(folder, [*rows, ("same.jpg", "rust")]),
        workers=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [finding.severity for finding in report.findings] == ["error", "warning"]
    assert seen[-1] == (25, 25)
    content = json.loads(json.dumps(report.to_dict()))
    assert content["refuses_training"] is True
    assert content["findings"][0]["code"] == "unreadable"
    assert content["findings"][0]["row"] == 7


@pytest.mark.real_photos
def test_real_rice_photos_pass(real_data):
    report = check_data(real_data / "rice")
    assert not report.refuses_training
    assert report.counts["photos"] == 93
