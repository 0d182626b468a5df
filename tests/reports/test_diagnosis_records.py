"""Records hold a whole diagnosis, survive JSON and CSV, and are safe to open."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.errors import InputError
from leafscout.reports.diagnosis_records import (
    diagnosis_record,
    failure_record,
    open_atomically,
    write_csv,
    write_json,
    write_json_lines,
)


def test_a_record_tells_what_was_found_and_looked_at(diagnosis_of):
    record = diagnosis_record(diagnosis_of(unsure="the photo is blurred"))
    assert record["diagnosis"] == ["rust"]
    assert record["healthy"] is False
    assert record["healthy_prob"] == pytest.approx(0.07 * 0.96, abs=1e-6)
    assert record["unsure"] == "the photo is blurred"
    assert record["photo_size_px"] == {"width": 680, "height": 450}
    assert record["labels"] == [
        {"label": "rust", "prob": 0.93, "threshold": 0.5, "present": True},
        {"label": "miner", "prob": 0.04, "threshold": 0.5, "present": False},
    ]
    assert [tile["index"] for tile in record["tiles"]["read"]] == [1, 4]
    assert record["tiles"]["read"][0] == {
        "index": 1,
        "box_px_xyxy": [212, 0, 468, 256],
        "scout_prob": 0.2,
        "probs": {"rust": 0.2, "miner": 0.2},
    }
    assert record["tiles"]["highest_scout_prob"] == 0.6
    assert record["lesion_boxes"] == [
        {"label": "rust", "box_px_xyxy": [300, 0, 500, 100], "prob": 0.9}
    ]
    assert record["lesion_map"]["labels"][0] == {
        "label": "rust",
        "peak_prob": 0.9,
        "lesion_area_frac": round(200 * 100 / (450 * 680), 6),
    }
    assert record["cost"]["macs_frac"] == 0.15


def test_nothing_read_and_nothing_known_of_the_cost(diagnosis_of):
    record = diagnosis_record(diagnosis_of(probs=(0.1, 0.2), read=()))
    assert record["healthy"] is True
    assert record["diagnosis"] == []
    assert record["tiles"]["read"] == []
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_cells_cut_by_the_border_count_by_their_pixels(diagnosis_of):
    diagnosis = diagnosis_of()
    diagnosis.lesion_map[:] = 1.0
    shares = diagnosis_record(diagnosis)["lesion_map"]["labels"]
    assert [entry["lesion_area_frac"] for entry in shares] == [1.0, 1.0]


def test_undefined_numbers_become_null(diagnosis_of):
    diagnosis = diagnosis_of()
    diagnosis.tile_probs[1, 0] = np.nan
    record = diagnosis_record(diagnosis)
    assert record["tiles"]["read"][0]["probs"]["rust"] is None
    json.dumps(record, allow_nan=False)


def test_json_and_json_lines_read_back(diagnosis_of, tmp_path):
    records = [diagnosis_record(diagnosis_of(source=f"ü{i}.jpg")) for i in range(3)]
    write_json(tmp_path / "one.json", records[0])
    write_json(tmp_path / "all.json", records)
    write_json_lines(tmp_path / "all.jsonl", iter(records))
    assert json.loads((tmp_path / "one.json").read_text("utf-8")) == records[0]
    assert json.loads((tmp_path / "all.json").read_text("utf-8")) == records
    lines = (tmp_path / "all.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == records


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_one_row_a_photo_and_says_what_failed(diagnosis_of, tmp_path):
    path = tmp_path / "diagnoses.csv"
    write_csv(
        path,
        [
            diagnosis_record(diagnosis_of(labels=("rust", "miner", "phoma"), probs=(0.9, 0.8, 0))),
            diagnosis_record(diagnosis_of("b.jpg", probs=(0.1, 0.2), read=())),
            failure_record("c.jpg", "It is truncated."),
        ],
    )
    first, second, third = read_rows(path)
    assert first["diagnosis"] == "rust miner"
    assert float(first["prob miner"]) == pytest.approx(0.8)
    assert (second["diagnosis"], second["prob phoma"], second["tiles_read"]) == ("healthy", "", "0")
    assert (third["source"], third["diagnosis"], third["error"]) == (
        "c.jpg",
        "",
        "It is truncated.",
    )


@settings(max_examples=60, deadline=None)
@given(start=st.sampled_from("=+-@\t\r\n"), rest=st.text(max_size=12))
def test_no_cell_starts_like_a_formula(tmp_path_factory, start, rest):
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    text = (start + rest).encode("utf-8", "ignore").decode()
    write_csv(path, [failure_record(text, text)])
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1][0] == rows[1][-1] == "'" + text
    assert not any(cell.startswith(tuple("=+-@\t\r\n")) for row in rows for cell in row)


def test_naughty_labels_do_not_break_the_header(diagnosis_of, tmp_path):
    labels = ("=1+1", 'a"b,c\nd')
    write_csv(tmp_path / "x.csv", [diagnosis_record(diagnosis_of(labels=labels))])
    (row,) = read_rows(tmp_path / "x.csv")
    assert row["diagnosis"] == "'=1+1"
    assert row['prob a"b,c\nd'] == "0.04"


@pytest.mark.parametrize("write", [write_json, write_json_lines, write_csv])
def test_a_file_that_cannot_be_written_is_a_sentence(diagnosis_of, tmp_path, write):
    records = [diagnosis_record(diagnosis_of())]
    missing = tmp_path / "no" / "x.out"
    with pytest.raises(InputError, match=r"Cannot write .*x\.out.*Choose a file in a folder"):
        write(missing, records)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="Cannot write"):
        write(tmp_path / "folder", records)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_an_older_file_survives_a_failure(tmp_path):
    path = tmp_path / "old.json"
    path.write_text("old")

    def fail_halfway():
        with open_atomically(path) as file:
            file.write("new")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fail_halfway()
    assert path.read_text() == "old"
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"value": float("nan")})
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["old.json"]


def test_a_file_name_that_is_not_text_is_escaped(diagnosis_of, tmp_path):
    name = b"leaf_\xff.jpg".decode("utf-8", "surrogateescape")
    records = [diagnosis_record(diagnosis_of(name))]
    write_json_lines(tmp_path / "x.jsonl", records)
    assert json.loads((tmp_path / "x.jsonl").read_text("utf-8"))["source"] == name
    write_csv(tmp_path / "x.csv", records)
    assert read_rows(tmp_path / "x.csv")[0]["source"] == "leaf_\\udcff.jpg"
