from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.errors import InputError
from leafscout.photos.labels import parse_labels, read_labels, write_multi_hot


def touch(folder, *names):
    """Labels are read without opening photos, so empty files will do."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write_table(
    folder, text, photos=("1.jpg", "2.jpg", "3.jpg"), encoding="utf-8", inside="images"
):
    touch(folder / inside, *photos)
    path = folder / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return path


def as_sets(table):
    return {
        name: {label for label, shown in zip(table.labels, row, strict=True) if shown}
        for name, row in zip(table.names, table.truth, strict=True)
    }


LIST = "image,labels\n1.jpg,scab rust\n2.jpg,healthy\n3.jpg,rust\n"
WANTED = {"1.jpg": {"scab", "rust"}, "2.jpg": set(), "3.jpg": {"rust"}}


def test_a_column_of_labels_is_read(tmp_path):
    table = read_labels(write_table(tmp_path, LIST))
    assert as_sets(table) == WANTED
    assert table.labels == ("rust", "scab")
    assert table.truth.dtype == bool
    assert table.rows == (2, 3, 4)
    assert table.paths[0] == tmp_path / "images" / "1.jpg"
    assert table.healthy.tolist() == [False, True, False]
    assert not table.exclusive
    assert table.complete
    assert table.groups == table.splits == (None, None, None)


@pytest.mark.parametrize(
    "text",
    [
        LIST.replace("image,labels", "File,Label"),
        LIST.replace("scab rust", '"scab, rust"'),
        LIST.replace("scab rust", "scab|rust"),
        LIST.replace("scab rust", "scab;rust"),
        LIST.replace(",", ";"),
        LIST.replace(",", "\t"),
        LIST.replace("\n", "\r\n"),
        LIST.replace("\n", "\n\n"),
        LIST.replace("healthy", "No disease"),
        LIST.replace("healthy", "BACKGROUND"),
        LIST.replace("1.jpg", ".\\1.jpg").replace("2.jpg", "..\\images\\2.jpg"),
        LIST.replace(".jpg", ""),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_dialects_of_csv_say_the_same(tmp_path, text, encoding):
    table = read_labels(write_table(tmp_path, text, encoding=encoding))
    found = {
        path.name: labels for path, labels in zip(table.paths, as_sets(table).values(), strict=True)
    }
    assert found == WANTED


def test_rows_are_numbered_by_line_even_after_blank_lines(tmp_path):
    table = read_labels(write_table(tmp_path, LIST.replace("2.jpg", "\n2.jpg")))
    assert table.rows == (2, 4, 5)


@pytest.mark.parametrize("inside", [".", "images", "photos"])
def test_photos_are_found_beside_the_table_or_in_its_folder(tmp_path, inside):
    table = read_labels(write_table(tmp_path, LIST, inside=inside))
    assert all(path.parent == tmp_path / inside for path in table.paths)


def test_photos_are_found_in_a_root_of_their_own(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    table_path = tmp_path / "elsewhere" / "labels.csv"
    table_path.write_text(LIST)
    touch(tmp_path / "store", "1.jpg", "2.jpg", "3.jpg")
    table = read_labels(table_path, photos_root=tmp_path / "store")
    assert table.paths[0] == tmp_path / "store" / "1.jpg"
    with pytest.raises(InputError, match=r"labels.csv, row 2: there is no photo 1.jpg in"):
        read_labels(table_path)


@pytest.mark.parametrize(
    "text",
    [
        "images,scab,rust,healthy\n1.jpg,1,1,0\n2.jpg,0,0,1\n3.jpg,0,1,0\n",
        "filename,scab,rust\n1.jpg,1.0,1.0\n2.jpg,0.0,0.0\n3.jpg,false,True\n",
    ],
)
def test_a_column_per_label_is_read_in_the_order_of_columns(tmp_path, text):
    table = read_labels(write_table(tmp_path, text))
    assert as_sets(table) == WANTED
    assert table.labels == ("scab", "rust")


def test_group_and_split_columns_are_read(tmp_path):
    text = (
        "path,split,labels,group,camera\n1.jpg,Training,rust,p1,x\n2.jpg,valid,healthy,,y\n"
        "3.jpg,test,rust,p1,z\n"
    )
    table = read_labels(write_table(tmp_path, text))
    assert table.splits == ("train", "val", "test")
    assert table.groups == ("p1", None, "p1")
    assert table.ignored_columns == ("camera",)
    assert table.exclusive


def test_a_folder_per_class_is_read(tmp_path):
    touch(tmp_path, "Leaf Rust/1.jpg", "Leaf Rust/deep/2.png", "HEALTHY/3.jpg", "scab/4.jpg")
    touch(tmp_path, ".git/5.jpg")
    table = read_labels(tmp_path)
    assert table.labels == ("Leaf Rust", "scab")
    assert as_sets(table) == {
        "HEALTHY/3.jpg": set(),
        "Leaf Rust/1.jpg": {"Leaf Rust"},
        "Leaf Rust/deep/2.png": {"Leaf Rust"},
        "scab/4.jpg": {"scab"},
    }
    assert table.exclusive
    assert set(table.splits) == {None}
    assert set(table.rows) == {None}


def test_folders_for_splits_above_classes_are_read(tmp_path):
    touch(tmp_path, "train/rust/1.jpg", "Validation/rust/1.jpg", "test/none/1.jpg")
    table = read_labels(tmp_path)
    assert dict(zip(table.names, table.splits, strict=True)) == {
        "train/rust/1.jpg": "train",
        "Validation/rust/1.jpg": "val",
        "test/none/1.jpg": "test",
    }
    assert table.labels == ("rust",)


def test_a_folder_with_a_table_uses_it(tmp_path):
    path = write_table(tmp_path, LIST)
    (tmp_path / "sources.csv").write_text("a,b\n1,2\n")
    assert as_sets(read_labels(tmp_path)) == WANTED
    (tmp_path / "sources.csv").unlink()
    path.rename(tmp_path / "whatever.csv")
    assert as_sets(read_labels(tmp_path)) == WANTED


def test_the_users_own_names_for_healthy(tmp_path):
    path = write_table(tmp_path, LIST.replace("healthy", "sano"))
    assert read_labels(path, healthy_names=["sano"]).labels == ("rust", "scab")
    assert read_labels(path).labels == ("rust", "sano", "scab")
    with pytest.raises(InputError, match="at least one name that means healthy"):
        read_labels(path, healthy_names=[])


def test_the_interpretation_is_told(tmp_path):
    text = (
        "image,labels,group,split\n1.jpg,scab rust,a,train\n2.jpg,healthy,a,train\n"
        "3.jpg,rust,b,val\n"
    )
    said = read_labels(write_table(tmp_path, text), complete=False).describe()
    for part in (
        "labels.csv: a column of labels, 3 photos.",
        "Photos per label: rust 2, scab 1, healthy 1.",
        "1 photos show more than one disease.",
        "Only the main disease is named: others may be present.",
        "2 groups stay together.",
        "Splits are given: train 2, val 1.",
    ):
        assert part in said
    said = read_labels(write_table(tmp_path, LIST)).describe()
    assert "A disease that is not named is taken to be absent. No groups" in said


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        (LIST + "9.jpg,rust\n", "missing", "labels.csv, row 5: there is no photo 9.jpg in "),
        (
            LIST.replace("scab rust", ""),
            "bad_labels",
            "row 2: the label is empty. Write 'healthy' if the photo shows no disease",
        ),
        (
            LIST.replace("scab rust", "scab healthy"),
            "healthy_beside_disease",
            "row 2: the photo is labelled healthy and scab at once",
        ),
        (
            "image,rust,healthy\n1.jpg,1,1\n2.jpg,0,1\n",
            "healthy_beside_disease",
            "row 2: the photo is labelled healthy and rust at once",
        ),
        (
            "image,rust,healthy\n1.jpg,1,0\n2.jpg,0,0\n",
            "bad_labels",
            "row 3: no label is 1, not even healthy",
        ),
        (
            "image,rust,scab\n1.jpg,1,2\n2.jpg,0,0\n",
            "bad_labels",
            "row 2: expected 0 or 1 in the column scab, but got '2'",
        ),
        (
            "image,rust,scab\n1.jpg,1,\n2.jpg,0,0\n",
            "bad_labels",
            "row 2: expected 0 or 1 in the column scab, but got ''",
        ),
        (
            "image,labels,split\n1.jpg,rust,train\n2.jpg,healthy,holdout\n",
            "bad_labels",
            "row 3: expected the split train, val or test, but got 'holdout'",
        ),
        (
            "image,labels,split\n1.jpg,rust,train\n2.jpg,healthy,\n",
            "bad_labels",
            "1 of 2 photos have no split, the first is 2.jpg",
        ),
        (
            LIST + "1.jpg,scab\n",
            "conflicting_labels",
            "row 5: 1.jpg is labelled scab, but row 2 says rust scab",
        ),
        (
            "image,labels,split\n1.jpg,rust,train\n2.jpg,healthy,val\n1.jpg,rust,val\n",
            "leak",
            "row 4: 1.jpg is in val and, by row 2, also in train",
        ),
        (
            "image,labels\n1.jpg,healthy\n2.jpg,none\n",
            "one_class",
            "names no disease: every photo is healthy",
        ),
        (
            "image,labels\n1.jpg,rust\n2.jpg,rust\n",
            "one_class",
            "all 2 photos have the same label, rust, so there is nothing to tell apart",
        ),
        (LIST + ",rust\n", "bad_labels", "row 5: the photo's name is empty"),
        (
            LIST + "1.jpg,rust,scab\n",
            "bad_labels",
            "row 5: expected 2 cells as in the header, but got 3",
        ),
        (
            "1.jpg,rust\n2.jpg,healthy\n",
            "bad_labels",
            r"expected a first row with a column named image .* but got 1.jpg, rust",
        ),
        ("image,group\n1.jpg,a\n", "bad_labels", "expected a column named labels or a 0/1 column"),
        ("image,rust,Rust\n1.jpg,1,0\n", "bad_labels", "the column rust appears more than once"),
        ("image,labels\n", "bad_labels", "labels.csv holds no rows below its header"),
        ("", "bad_labels", "labels.csv is empty"),
        ('image,labels\n1.jpg,"rust\n', "bad_labels", "labels.csv is not a CSV file"),
    ],
)
def test_mistakes_in_a_table_are_named_by_row(tmp_path, text, code, sentence):
    path = write_table(tmp_path, text)
    with pytest.raises(InputError, match=sentence):
        read_labels(path)
    _, findings = parse_labels(path)
    assert code in {finding.code for finding in findings if finding.severity == "error"}


def test_mistakes_in_folders_are_named(tmp_path):
    with pytest.raises(InputError, match=r"There is no file or folder .*gone. Check the path"):
        read_labels(tmp_path / "gone")
    with pytest.raises(InputError, match=r"to hold a folder per class or a labels.csv, but found"):
        read_labels(tmp_path)
    touch(tmp_path, "rust/1.jpg", "healthy/2.jpg")
    (tmp_path / "scab").mkdir()
    with pytest.raises(InputError, match=r"The folder .*scab of the class scab holds no photos"):
        read_labels(tmp_path)
    touch(tmp_path, "scab/3.jpg", "train/rust/4.jpg")
    with pytest.raises(InputError, match=r"holds folders for splits \(train\) beside healthy"):
        read_labels(tmp_path)


def test_text_of_another_encoding_is_refused(tmp_path):
    path = write_table(tmp_path, LIST.replace("scab", "roya_café"), encoding="cp1252")
    with pytest.raises(InputError, match=r"is not UTF-8 text. Save it as a CSV file in UTF-8"):
        read_labels(path)


def test_the_first_five_problems_are_told_and_all_are_gathered(tmp_path):
    path = write_table(tmp_path, LIST + "".join(f"gone{i}.jpg,rust\n" for i in range(9)))
    with pytest.raises(InputError) as caught:
        read_labels(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    assert "row 5" in lines[0]
    assert lines[-1].startswith("And 4 more problems: `leafscout check")
    table, findings = parse_labels(path)
    assert [finding.row for finding in findings] == list(range(5, 14))
    assert as_sets(table) == WANTED


def test_what_is_odd_but_usable_is_a_warning(tmp_path):
    path = write_table(tmp_path, LIST.replace("3.jpg,rust", "3.jpg,Rust") + "2.jpg,healthy\n")
    table, findings = parse_labels(path)
    assert [(f.code, f.severity) for f in findings] == [
        ("duplicate", "warning"),
        ("similar_labels", "warning"),
    ]
    assert "the labels Rust and rust differ only in case" in findings[1].message
    assert len(read_labels(path)) == len(table) == 3
    touch(tmp_path / "folders", "rust/1.jpg", "healthy/2.jpg", "loose.jpg")
    _, findings = parse_labels(tmp_path / "folders")
    assert "1 photos lie directly in" in findings[0].message


def test_a_subset_keeps_rows_and_labels(tmp_path):
    table = read_labels(write_table(tmp_path, LIST))
    some = table.subset(np.array([2, 0]))
    assert some.names == ("3.jpg", "1.jpg")
    assert some.rows == (4, 2)
    assert some.labels == table.labels
    assert as_sets(some) == {"3.jpg": {"rust"}, "1.jpg": {"scab", "rust"}}
    assert not table.subset([2]).exclusive  # a fact of the whole source
    assert table.subset([]).truth.shape == (0, 2)


def test_splits_must_be_known_words_for_every_photo(tmp_path):
    table = read_labels(write_table(tmp_path, LIST))
    assert table.with_splits(["train", "val", "test"]).splits == ("train", "val", "test")
    with pytest.raises(InputError, match="one of train, val or test for each of 3 photos"):
        table.with_splits(["train", "val"])
    with pytest.raises(InputError, match=r"have no split. Split them before writing"):
        write_multi_hot(table, tmp_path / "out")


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.frozensets(st.sampled_from(["rust", "scab", "Leaf, Spot", "blight"])),
            st.sampled_from(["train", "val", "test"]),
            st.sampled_from([None, "plant 1", "plant 2"]),
        ),
        min_size=2,
        max_size=12,
    )
)
def test_multi_hot_files_round_trip(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("data")
    header = 'image,rust,scab,"Leaf, Spot",blight,split,group\n'
    body = ""
    for i, (labels, split, group) in enumerate(rows):
        bits = ",".join(str(int(d in labels)) for d in ("rust", "scab", "Leaf, Spot", "blight"))
        body += f"{i}.jpg,{bits},{split},{group or ''}\n"
    path = write_table(folder, header + body, photos=[f"{i}.jpg" for i in range(len(rows))])
    table, _ = parse_labels(path)
    out = folder / "somewhere" / "else"
    written = write_multi_hot(table, out)
    assert {file.stem for file in written} == {split for _, split, _ in rows}
    if not (out / "train.csv").exists():
        return
    back, _ = parse_labels(out)
    assert back.labels == table.labels

    def content(one):
        return {
            path.resolve(): (tuple(truth), split, group)
            for path, truth, split, group in zip(
                one.paths, one.truth.tolist(), one.splits, one.groups, strict=True
            )
        }

    assert content(back) == content(table)


def test_the_header_of_multi_hot_files(tmp_path):
    table = read_labels(write_table(tmp_path, LIST)).with_splits(["train", "train", "val"])
    out = tmp_path / "out"
    write_multi_hot(table, out)
    lines = (out / "train.csv").read_text().splitlines()
    assert lines == ["images,rust,scab,healthy", "../images/1.jpg,1,1,0", "../images/2.jpg,0,0,1"]
    write_multi_hot(table.with_splits(["train"] * 3), out)
    assert not (out / "val.csv").exists()


@pytest.mark.real_photos
def test_real_label_files_are_understood(real_data):
    coffee = read_labels(real_data / "coffee")
    assert len(coffee) == 400
    assert coffee.labels == ("cercospora", "miner", "phoma", "rust")
    assert coffee.healthy.sum() == 80
    assert not coffee.exclusive
    rice = read_labels(real_data / "rice", complete=False)
    assert dict(zip(rice.labels, rice.truth.sum(axis=0).tolist(), strict=True)) == {
        "bacterial_blight": 25,
        "blast": 33,
        "brown_spot": 20,
        "leaf_smut": 15,
    }
    assert rice.exclusive
    assert isinstance(rice.source, Path)
