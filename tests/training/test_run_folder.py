"""The run folder: begun once, gone on with only under the same plan."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leafscout.errors import InputError
from leafscout.photos.labels import LabelTable
from leafscout.training.photo_uses import read_splits
from leafscout.training.run_folder import (
    PLAN_VERSION,
    fingerprint_data,
    open_run,
    read_plan,
    write_rows,
    write_splits,
)


def make_plan(**changes: Any) -> dict[str, Any]:
    plan = {
        "version": PLAN_VERSION,
        "data_fingerprint": "abc",
        "labels": ["rüst"],
        "labels_complete": True,
        "recipe": {"tile_px": 128},
        "seed": 0,
    }
    return {**plan, **changes}


def test_a_new_run_is_begun_and_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "run"
    open_run(out, make_plan(), resume=False)
    assert read_plan(out) == make_plan()
    open_run(out, make_plan(), resume=True)


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    open_run(tmp_path / "run", make_plan(), resume=False)
    with pytest.raises(InputError, match=r"already holds a run\. Add --resume"):
        open_run(tmp_path / "run", make_plan(), resume=False)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(InputError, match="not an empty folder"):
        open_run(tmp_path, make_plan(), resume=False)
    with pytest.raises(InputError, match="not an empty folder"):
        open_run(tmp_path / "thesis.doc", make_plan(), resume=False)
    with pytest.raises(InputError, match="no run to resume"):
        open_run(tmp_path, make_plan(), resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"version": 99}, "has version 99"),
        ({"data_fingerprint": "xyz"}, "begun with other photos or labels"),
        ({"recipe": {"tile_px": 256}}, "begun with another recipe"),
        ({"seed": 1}, "begun with another seed"),
        ({"labels_complete": False}, "begun with another labels_complete"),
    ],
)
def test_a_run_goes_on_only_as_it_was_begun(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    open_run(tmp_path / "run", make_plan(**changes), resume=False)
    with pytest.raises(InputError, match=sentence):
        open_run(tmp_path / "run", make_plan(), resume=True)


def test_damaged_and_missing_plans_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a run folder: it holds no plan\.json"):
        read_plan(tmp_path)
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(InputError, match=r"plan\.json is damaged"):
        read_plan(tmp_path)


def test_the_data_fingerprint_knows_photos_and_labels_but_not_their_order(
    spots: LabelTable,
) -> None:
    hashes = [f"{index:02d}" for index in range(12)]
    order = list(np.random.default_rng(0).permutation(12))
    first = fingerprint_data(spots, hashes)
    assert fingerprint_data(spots.subset(order), [hashes[i] for i in order]) == first
    assert fingerprint_data(spots, ["x", *hashes[1:]]) != first
    swapped = [1, 0, *range(2, 12)]
    assert fingerprint_data(spots.subset(swapped), hashes) != first


def test_splits_are_written_once_and_then_kept(spots: LabelTable, tmp_path: Path) -> None:
    splits = ["train"] * 8 + ["val"] * 4
    rest = (list(range(12)), [("s", "p")] * 12)
    write_splits(tmp_path, spots, splits, *rest)
    with (tmp_path / "splits.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == splits
    assert [row["labels"] for row in rows[:4]] == ["healthy", "red", "blue", "blue red"]
    write_splits(tmp_path, spots, splits, *rest)
    for table, names in (
        (spots, splits[::-1]),
        (spots.subset([1, 0, *range(2, 12)]), splits),
    ):
        with pytest.raises(InputError, match="other splits, or with its photos in another order"):
            write_splits(tmp_path, table, names, *rest)


def test_names_that_a_spreadsheet_would_run_are_read_back(
    spots: LabelTable, tmp_path: Path
) -> None:
    names = ("=1.jpg", "+2.jpg", "@3.jpg", *spots.names[3:])
    splits = ["train"] * 8 + ["val"] * 4
    table = replace(spots, names=names)
    write_splits(tmp_path, table, splits, list(range(12)), [("s", "p")] * 12)
    assert "'=1.jpg" in (tmp_path / "splits.csv").read_text()
    assert read_splits(tmp_path) == list(zip(names, splits, strict=True))


def test_rows_with_commas_and_no_rows(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", [{"x": "a,b", "y": 1}])
    assert (tmp_path / "a.csv").read_text() == 'x,y\n"a,b",1\n'
    write_rows(tmp_path / "b.csv", [])
    assert (tmp_path / "b.csv").read_text() == ""
