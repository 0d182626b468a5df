"""Faults that people and programs make in label files and folders: ``check`` names each, by row."""

import shutil
from collections import Counter
from dataclasses import dataclass

import pytest
from photo_files import draw_photo
from PIL import Image, ImageOps

from leafscout.photos import check as checking
from leafscout.photos.check import check_data
from leafscout.photos.fingerprint import near_duplicate_groups, try_fingerprints

PHOTOS = 12
WORDS = ("rust", "scab", "healthy")


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """A dozen good photos without a label file."""
    folder = tmp_path_factory.mktemp("good") / "field"
    folder.mkdir()
    for number in range(PHOTOS):
        draw_photo(number, 64).save(folder / f"{number:02}.jpg", quality=90)
    return folder


@dataclass(frozen=True)
class Planted:
    """A label file with one fault.

    Attributes:
        text: of ``labels.csv``.
        code: that must be among the findings; None where it must be read as if nothing were wrong.
        row: that the finding must name.
        words: that its message must hold.
    """

    text: str | bytes
    code: str | None
    row: int | None = None
    words: str = ""


def rows(**changed):
    """A good label file, with ``row_5="..."`` in place of line 5; more lines come last."""
    lines = [f"{number:02}.jpg,{WORDS[number % 3]}" for number in range(PHOTOS)]
    table = dict(enumerate(["image,labels", *lines], start=1))
    table |= {int(name.removeprefix("row_")): line for name, line in changed.items()}
    return "\n".join(table[number] for number in sorted(table)) + "\n"


def one_hot(**changed):
    lines = [f"{n:02}.jpg,{n % 3 == 0:d},{n % 3 == 1:d},{n % 3 == 2:d}" for n in range(PHOTOS)]
    table = dict(enumerate(["image,rust,scab,healthy", *lines], start=1))
    table |= {int(name.removeprefix("row_")): line for name, line in changed.items()}
    return "\n".join(table.values()) + "\n"


def with_column(name, values):
    lines = rows().splitlines()
    body = [f"{line},{values.get(number, values.get(0, ''))}"
            for number, line in enumerate(lines[1:], start=2)]  # fmt: skip
    return "\n".join([f"{lines[0]},{name}", *body]) + "\n"


GOOD = rows()
FAULTS = {
    "a missing photo": Planted(rows(row_5="gone.jpg,rust"), "missing", 5),
    "a photo's name in another case": Planted(rows(row_5="03.JPG,rust"), "missing", 5, "03.jpg"),
    "a photo's name with a sign that cannot be seen": Planted(
        rows(row_5="03\u200b.jpg,rust"), "missing", 5, "looks like it, 03.jpg"
    ),
    "a Windows path of another machine": Planted(
        rows(row_5="C:\\Users\\me\\03.jpg,rust"), "missing", 5
    ),
    "a path with a NUL": Planted(rows(row_5="03\0.jpg,rust"), "missing", 5, "\\x00"),
    "a name of 5,000 characters": Planted(rows(row_5="x" * 5000 + ".jpg,rust"), "missing", 5),
    "a folder for a photo": Planted(rows(row_5=".,rust"), "missing", 5),
    "a photo without a name": Planted(rows(row_5=",rust"), "bad_labels", 5),
    "a row twice": Planted(rows(row_14="03.jpg,rust"), "duplicate", 14),
    "a row twice, by another path": Planted(rows(row_14="./03.jpg,rust"), "duplicate", 14),
    "two rows that disagree": Planted(rows(row_14="03.jpg,scab"), "conflicting_labels", 14),
    "healthy beside a disease": Planted(
        rows(row_5="03.jpg,rust healthy"), "healthy_beside_disease", 5
    ),
    "no label": Planted(rows(row_5="03.jpg,"), "bad_labels", 5),
    "a formula as a label": Planted(rows(row_5="03.jpg,=HYPERLINK(1)"), "odd_name", 5),
    "a label that starts with @": Planted(rows(row_5="03.jpg,@SUM"), "odd_name", 5),
    "a label with an escape sequence": Planted(
        rows(row_5="03.jpg,ru\x1b[31mst"), "odd_name", 5, "\\x1b"
    ),
    "a label that turns the writing": Planted(
        rows(row_5="03.jpg,ru\u202est"), "odd_name", 5, "\\u202e"
    ),
    "a label with a sign that cannot be seen": Planted(
        rows(row_5="03.jpg,rust\u200b"), "odd_name", 5
    ),
    "labels that differ in case": Planted(rows(row_5="03.jpg,Rust"), "similar_labels", 5),
    "labels that differ in the width of letters": Planted(
        rows(row_5="03.jpg,ｒｕｓｔ"), "similar_labels", 5
    ),
    "a label of 300 characters": Planted(rows(row_5="03.jpg," + "x" * 300), "odd_name", 5),
    "a slip in a label": Planted(rows(row_5="03.jpg,rusty"), "label_too_rare", 5),
    "a cell too many": Planted(rows(row_5="03.jpg,rust,old"), "bad_labels", 5),
    "a cell too few": Planted(rows(row_5="03.jpg"), "bad_labels", 5),
    "another separator in one row": Planted(rows(row_5="03.jpg;rust"), "bad_labels", 5),
    "another separator in all rows": Planted(GOOD.replace(",", "|"), "bad_labels", 1),
    "no header": Planted(GOOD.split("\n", 1)[1], "bad_labels", 1),
    "a column twice": Planted(
        one_hot(row_1="image,rust,rust,healthy"), "bad_labels", 1, "more than once"
    ),
    "no column of labels": Planted("image\n03.jpg\n04.jpg\n", "bad_labels", 1),
    "only a header": Planted("image,labels\n", "bad_labels", 2),
    "an empty file": Planted("", "bad_labels", 1),
    "a quote that is not closed": Planted(rows(row_5='"03.jpg,rust'), "bad_labels", 5),
    "text of another encoding": Planted(
        rows(row_5="03.jpg,röst").encode("latin-1"), "bad_labels", 5, "not UTF-8"
    ),
    "two thirds for a label": Planted(one_hot(row_5="03.jpg,0.66,0,0"), "bad_labels", 5),
    "no 1 in a row": Planted(one_hot(row_5="03.jpg,0,0,0"), "bad_labels", 5),
    "an unknown split": Planted(
        with_column("split", {0: "train", 5: "holdout"}), "bad_labels", 5
    ),
    "a photo without a split": Planted(with_column("split", {0: "train", 5: ""}), "bad_labels", 5),
    "a photo in two splits": Planted(
        with_column("split", {0: "train"}) + "03.jpg,rust,val\n", "leak", 14
    ),
    "a plant on two sides": Planted(
        "image,labels,split,group\n"
        + "".join(f"{n:02}.jpg,{WORDS[n % 3]},{'val' if n == 8 else 'train'},p{n % 5}\n"
                  for n in range(PHOTOS)), "leak", 10, "The group p3",
    ),
}  # fmt: skip

HARMLESS = {
    "a byte-order mark": "\ufeff" + GOOD,
    "UTF-16": GOOD.encode("utf-16"),
    "line ends of Windows": GOOD.replace("\n", "\r\n"),
    "line ends of old Macs": GOOD.replace("\n", "\r"),
    "semicolons": GOOD.replace(",", ";"),
    "tabs": GOOD.replace(",", "\t"),
    "quotes": GOOD.replace("03.jpg", '"03.jpg"'),
    "spaces around cells": GOOD.replace(",", " ,  "),
    "blank lines": GOOD.replace("\n", "\n\n"),
    "backslashes": GOOD.replace("03.jpg", ".\\03.jpg"),
    "labels in other scripts": GOOD.replace("rust", "锈病").replace("scab", "رماد"),
    "labels of joined letters": GOOD.replace("rust", "می\u200cشود").replace("scab", "👨\u200d🌾"),
}


def write(folder, text):
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "labels.csv").write_bytes(data)
    return folder


def miss(field, faults=FAULTS):
    """Which planted faults ``check`` does not name with their row."""
    missed = []
    for name, planted in faults.items():
        report = check_data(write(field, planted.text), workers=1)
        found = any(
            finding.code == planted.code
            and finding.row == planted.row
            and planted.words in finding.message
            and finding.message.isprintable()
            for finding in report.findings
        )
        if not found:
            said = [(finding.code, finding.row, finding.message) for finding in report.findings]
            missed.append(f"{name}: {said}")
    return missed


def test_every_planted_fault_is_named_with_its_row(field, record):
    assert len(FAULTS) >= 30
    missed = miss(field)
    record("faults in label files", planted=len(FAULTS), found=len(FAULTS) - len(missed))
    assert missed == []


def test_without_a_look_at_names_faults_are_missed(field, monkeypatch):
    from leafscout.photos import labels

    monkeypatch.setattr(labels, "find_odd_names", lambda _: ())
    odd = {name: fault for name, fault in FAULTS.items() if fault.code == "odd_name"}
    assert len(miss(field, odd)) == len(odd)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_looks_wrong_is_read(field, name):
    report = check_data(write(field, HARMLESS[name]), workers=1)
    assert not report.refuses_training, report.lines()
    assert report.counts["photos"] == PHOTOS
    codes = {finding.code for finding in report.findings}
    assert codes <= {"label_too_rare"}, report.lines()


def test_names_of_photos_in_any_script_are_found(tmp_path):
    names = [
        "feuille d'été.jpg", "лист.jpg", "葉っぱ.jpg", "पत्ता.jpg", "ใบไม้.jpg", "🍃.jpg", "a;b.jpg",
        "a b.jpg", "100%.jpg", "{leaf}.jpg", "$(leaf).jpg", "e\u0301.jpg",
    ]  # fmt: skip
    for number, name in enumerate(names):
        draw_photo(number, 64).save(tmp_path / name)
    lines = [f'"{name}",{WORDS[number % 3]}' for number, name in enumerate(names)]
    write(tmp_path, "\n".join(["image,labels", *lines]) + "\n")
    report = check_data(tmp_path, workers=1)
    assert not report.refuses_training, report.lines()
    assert report.counts["photos"] == len(names)
    composed = (tmp_path / "labels.csv").read_text().replace("e\u0301.jpg", "\u00e9.jpg")
    (missing,) = [
        finding
        for finding in check_data(write(tmp_path, composed), workers=1).findings
        if finding.code == "missing"
    ]
    assert "looks like it, e\u0301.jpg" in missing.message


# Photos that are there twice ---------------------------------------------------------------------


CHANGES = {
    "exact": None,
    "resized": lambda image: (image.resize((image.width * 3 // 5, image.height * 3 // 5)), 90),
    "recompressed": lambda image: (image, 35),
    "flipped": lambda image: (ImageOps.mirror(image), 88),
    "rotated": lambda image: (image.transpose(Image.Transpose.ROTATE_90), 88),
}


def plant_copies(folder, photos, copies):
    """Photos of rendered leaves in train, and copies of some of them in test."""
    from leafscout.photos.synthetic import DEMO_FIELD
    from leafscout.photos.synthetic.photo import render_photo

    kinds = [*CHANGES] * (copies // len(CHANGES))
    lines, planted = ["image,labels,split"], []
    for number in range(photos):
        name = f"{number:04}.jpg"
        image = render_small(render_photo, DEMO_FIELD, number)
        image.save(folder / name, quality=90)
        lines.append(f"{name},{WORDS[number % 3]},{('train', 'val')[number % 7 == 0]}")
    for number, kind in enumerate(kinds):
        source = folder / f"{number:04}.jpg"
        name = f"copy_{number:04}.jpg"
        if CHANGES[kind] is None:
            shutil.copy(source, folder / name)
        else:
            changed, quality = CHANGES[kind](Image.open(source))
            changed.save(folder / name, quality=quality)
        planted.append((kind, photos + number, number))
        lines.append(f"{name},{WORDS[number % 3]},test")
    write(folder, "\n".join(lines) + "\n")
    return planted


def render_small(render_photo, settings, number):
    from dataclasses import replace

    small = replace(settings, size_px_hw=(240, 320), lesion_sizes_px=(16, 24))
    return Image.fromarray(render_photo(small, 5000 + number).pixels)


def count_copies(folder, planted, photos):
    """Shares found of exact and near copies, and pairs of other photos that were taken for one."""
    report = check_data(folder, workers=1)
    leaks = {finding.row for finding in report.findings if finding.code == "leak"}
    tried = Counter("exact" if kind == "exact" else "near" for kind, _, _ in planted)
    found = Counter(
        "exact" if kind == "exact" else "near" for kind, row, _ in planted if row + 2 in leaks
    )
    paths = sorted(folder.glob("[0-9]*.jpg"))
    groups = near_duplicate_groups(try_fingerprints(paths, workers=1))
    false = sum(len(group) - 1 for group in groups)
    return {
        "exact_found": found["exact"] / tried["exact"],
        "near_found": found["near"] / tried["near"],
        "false_alarm_share": false / photos,
    }


def test_copies_across_splits_are_found(tmp_path):
    planted = plant_copies(tmp_path, 8, 5)
    found = count_copies(tmp_path, planted, 8)
    assert found == {"exact_found": 1, "near_found": 1, "false_alarm_share": 0}


@pytest.mark.faults
def test_two_hundred_copies_across_splits(tmp_path, record, monkeypatch):
    planted = plant_copies(tmp_path, 400, 200)
    found = count_copies(tmp_path, planted, 400)
    monkeypatch.setattr(checking, "near_duplicate_groups", lambda _: [])
    without = count_copies(tmp_path, planted, 400)
    record(
        "copies across splits", photos=400, copies=len(planted), **found,
        without="the comparison of photos",
        noticed=f"{without['exact_found']:.0%} of exact and {without['near_found']:.0%} of near "
        "copies are found",
    )  # fmt: skip
    assert found["exact_found"] >= 0.99
    assert found["near_found"] >= 0.95
    assert found["false_alarm_share"] <= 0.005
    assert without["near_found"] == 0


@pytest.mark.real_photos
@pytest.mark.faults
def test_copies_of_real_photos(real_data, tmp_path, record):
    sources = sorted((real_data / "coffee" / "images").glob("*.jpg"))[:150]
    lines, planted = ["image,labels,split"], []
    for number, source in enumerate(sources):
        image = Image.open(source)
        image.draft("RGB", (image.width // 4, image.height // 4))
        image.convert("RGB").resize((480, 240)).save(tmp_path / f"{number:04}.jpg", quality=92)
        lines.append(f"{number:04}.jpg,{WORDS[number % 3]},train")
    kinds = [*CHANGES] * 10
    for number, kind in enumerate(kinds):
        name, source = f"copy_{number:04}.jpg", tmp_path / f"{number:04}.jpg"
        if CHANGES[kind] is None:
            shutil.copy(source, tmp_path / name)
        else:
            changed, quality = CHANGES[kind](Image.open(source))
            changed.save(tmp_path / name, quality=quality)
        planted.append((kind, len(sources) + number, number))
        lines.append(f"{name},{WORDS[number % 3]},test")
    write(tmp_path, "\n".join(lines) + "\n")
    found = count_copies(tmp_path, planted, len(sources))
    record("copies of real photos", photos=len(sources), copies=len(planted), **found)
    assert found["exact_found"] >= 0.99
    assert found["near_found"] >= 0.95
    assert found["false_alarm_share"] <= 0.005
