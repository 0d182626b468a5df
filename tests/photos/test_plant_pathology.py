"""The Plant Pathology competitions: their label strings, and their folders as downloaded."""

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from leafscout.cli import app
from leafscout.errors import InputError
from leafscout.photos.fingerprint import fingerprint_many, near_duplicate_groups
from leafscout.photos.labels import parse_labels, read_labels
from leafscout.photos.plant_pathology import LABELS, STRINGS, merge_strings, restore_strings
from leafscout.photos.splits import merge_groups, split_photos

HEADER = "images,scab,healthy,frog_eye_leaf_spot,rust,complex,powdery_mildew"


def draw(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 9, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((96, 64), Image.Resampling.BICUBIC).save(path, quality=95)


def write_2021(folder: Path, copies: int = 3) -> Path:
    """A folder laid out as that of 2021."""
    rows = ["image,labels"]
    for index, text in enumerate(STRINGS * copies):
        name = f"{0x800113BB65EFE69E + index:x}.jpg"
        draw(folder / "train_images" / name, index)
        rows.append(f"{name},{text}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    draw(folder / "test_images" / "85f8cb619c66b863.jpg", 999)
    (folder / "sample_submission.csv").write_text("image,labels\n85f8cb619c66b863.jpg,healthy\n")
    return folder


def write_2020(folder: Path) -> Path:
    """A folder laid out as that of 2020."""
    names = ("healthy", "multiple_diseases", "rust", "scab")
    rows = [f"image_id,{','.join(names)}"]
    for index in range(12):
        draw(folder / "images" / f"Train_{index}.jpg", index)
        bits = [int(index % 4 == place) for place in range(4)]
        rows.append(f"Train_{index},{','.join(map(str, bits))}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    draw(folder / "images" / "Test_0.jpg", 999)
    (folder / "test.csv").write_text("image_id\nTest_0\n")
    (folder / "sample_submission.csv").write_text(
        f"image_id,{','.join(names)}\nTest_0,0.25,0.25,0.25,0.25\n"
    )
    return folder


def test_twelve_strings_become_six_labels_and_come_back() -> None:
    bits = merge_strings(STRINGS)
    assert bits.shape == (12, 6)
    assert len({tuple(row) for row in bits.tolist()}) == 12, "nothing is lost"
    assert restore_strings(bits) == STRINGS
    assert bits[STRINGS.index("scab frog_eye_leaf_spot complex")].astype(int).tolist() == [
        1, 0, 1, 0, 1, 0,
    ]  # fmt: skip


def test_every_combination_comes_back() -> None:
    for bits in itertools.product([0, 1], repeat=6):
        if bits[1] and sum(bits) > 1:
            with pytest.raises(InputError, match="healthy alone"):
                restore_strings([bits])
            continue
        (text,) = restore_strings([bits])
        again = merge_strings([text])[0].astype(int).tolist()
        assert again == ([0, 1, 0, 0, 0, 0] if sum(bits) == 0 else list(bits))


@pytest.mark.parametrize("text", ["", "healthy scab", "scabb", "scab rust healthy"])
def test_other_strings_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"healthy|scab"):
        merge_strings([text])
    with pytest.raises(InputError, match="one column"):
        restore_strings([[1, 0]])


def test_the_folder_of_2021_is_read_as_it_was_downloaded(tmp_path: Path) -> None:
    table = read_labels(write_2021(tmp_path / "plant-pathology-2021-fgvc8"))
    assert len(table) == 36
    assert table.labels == ("complex", "frog_eye_leaf_spot", "powdery_mildew", "rust", "scab")
    assert int(table.healthy.sum()) == 3
    assert all(path.parent.name == "train_images" for path in table.paths)
    columns = [
        table.healthy if name == "healthy" else table.truth[:, table.labels.index(name)]
        for name in LABELS
    ]
    assert restore_strings(np.stack(columns, axis=1)) == STRINGS * 3


def test_the_folder_of_2020_is_read_as_it_was_downloaded(tmp_path: Path) -> None:
    table, findings = parse_labels(write_2020(tmp_path / "plant-pathology-2020-fgvc7"))
    assert table is not None
    assert table.labels == ("multiple_diseases", "rust", "scab")
    assert (len(table), int(table.healthy.sum())) == (12, 3)
    assert table.paths[3].name == "Train_3.jpg"
    assert [(one.severity, one.code) for one in findings] == [("warning", "unlabelled")]
    assert "test.csv names photos and no labels" in findings[0].message


def test_a_test_part_with_labels_is_still_a_split(tmp_path: Path) -> None:
    folder = write_2020(tmp_path / "data")
    draw(folder / "images" / "Test_1.jpg", 1000)
    (folder / "test.csv").write_text("image_id,healthy,multiple_diseases,rust,scab\nTest_0,0,0,0,1")
    assert read_labels(folder).splits.count("test") == 1
    (folder / "test.csv").write_text("image_id,rust\nTest_0,maybe\n")
    with pytest.raises(InputError, match="expected 0 or 1"):
        read_labels(folder)


def test_split_writes_the_published_multi_hot_tables(tmp_path: Path) -> None:
    data = write_2021(tmp_path / "data")
    out = tmp_path / "tables"
    result = CliRunner().invoke(
        app,
        ["split", str(data), "--out", str(out), "--val-frac", "0.34", "--test-frac", "0.3",
         "--columns", ",".join(LABELS)],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    seen: dict[str, list[int]] = {}
    for split in ("train", "val", "test"):
        lines = (out / f"{split}.csv").read_text().splitlines()
        assert lines[0] == HEADER
        for row in csv.reader(lines[1:]):
            assert row[0] not in seen, "a photo on two sides"
            seen[row[0]] = [int(cell) for cell in row[1:]]
    named = dict(
        zip((Path(name).name for name in seen), restore_strings(list(seen.values())), strict=True)
    )
    table = read_labels(data)
    assert len(named) == 36
    for name, text in zip(table.names, STRINGS * 3, strict=True):
        assert named[name] == text
    again = read_labels(out)
    assert again.labels == tuple(label for label in LABELS if label != "healthy")
    assert {split: again.splits.count(split) for split in ("train", "val", "test")}["test"] > 0


def test_columns_that_are_not_the_labels_are_refused(tmp_path: Path) -> None:
    data = write_2021(tmp_path / "data", copies=1)
    result = CliRunner().invoke(
        app, ["split", str(data), "--out", str(tmp_path / "t"), "--columns", "scab,rust"]
    )
    assert result.exit_code != 0
    assert not (tmp_path / "t" / "train.csv").exists()


def test_near_copies_stay_on_one_side(tmp_path: Path) -> None:
    data = write_2021(tmp_path / "data")
    rows = (data / "train.csv").read_text()
    # Copies of the weak label, resized, as if they had been copied before the split.
    for index in range(6):
        name = f"copy_{index}.jpg"
        source = read_labels(data).paths[4]
        with Image.open(source) as image:
            image.resize((99 + 3 * index, 66 + 2 * index)).save(
                data / "train_images" / name, quality=90
            )
        rows += f"{name},complex\n"
    (data / "train.csv").write_text(rows)
    table = read_labels(data)
    prints = fingerprint_many(table.paths, workers=1)
    alike = near_duplicate_groups(prints)
    splits = split_photos(
        table, groups=merge_groups(table.groups, alike), val_frac=0.3, test_frac=0.2, seed=1
    )
    group = next(group for group in alike if 4 in group)
    assert len(group) == 7
    assert len({splits[index] for index in group}) == 1
    assert set(splits) == {"train", "val", "test"}


def test_what_augmentation_makes_of_the_photos_can_be_looked_at(tmp_path: Path) -> None:
    data = write_2021(tmp_path / "data", copies=1)
    sheet = tmp_path / "sheets" / "augmentations.png"
    result = CliRunner().invoke(app, ["check", str(data), "--augmentations", str(sheet), "--json"])
    assert '"findings"' in result.stdout or result.stdout.lstrip().startswith("{")
    assert "Augmentations of 6 photos" in result.stderr
    with Image.open(sheet) as image:
        assert image.size == (7 * 160, 6 * 160)
