"""Names of labels and photos that break programs: they are shown as names, and never do anything.

The quick part gives them to everything that writes; the long part trains a model with more than
500 such labels, evaluates it, diagnoses with it, and looks through every file that comes out.
"""

import csv
import html.parser
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from naughty import HIDDEN, make_names
from photo_files import draw_photo

from leafscout import plain_text
from leafscout.cli.diagnose_command import describe
from leafscout.errors import InputError, PhotoError
from leafscout.evaluation import tables
from leafscout.photos.check import check_data
from leafscout.photos.labels import read_labels, write_multi_hot
from leafscout.photos.tiles import lay_tiles
from leafscout.plain_text import defuse, hidden_signs, looks_like, printable, undo_defuse
from leafscout.reports import diagnosis_records
from leafscout.reports.diagnosis_page import write_diagnosis_page
from leafscout.reports.diagnosis_records import diagnosis_record, write_csv, write_json_lines
from leafscout.types import Cost, Diagnosis

NAMES = make_names()
SOURCES = [*NAMES, *HIDDEN, "photo\udcff.jpg"]
TAKEN = {"split", "photo", "none"}
"""Words that mean something in the header of a label file."""
STARTS = tuple("=+-@\t\r\n＝＋－＠")
KNOWN_TAGS = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "table", "thead",
    "tbody",
    "tr", "th", "td", "img", "section", "div", "span", "a", "ul", "ol", "li", "figure",
    "figcaption",
    "details", "summary", "main", "header", "footer", "nav", "strong", "em", "b", "small", "dl",
    "dt",
    "dd", "br", "caption", "article", "code", "abbr", "svg", "path", "rect", "label", "input",
    "link",
    "colgroup", "col", "meter", "progress", "time", "picture", "source", "hr", "sup", "sub",
    "aside",
}  # fmt: skip


class Tags(html.parser.HTMLParser):
    """Every tag and attribute of a page, as a browser would see them."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.text = set(), [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


def judge_page(text):
    """What in a page is more than names: nothing should be."""
    page = Tags()
    page.feed(text)
    found = [f"tag {tag}" for tag in page.tags - KNOWN_TAGS]
    found += [
        f"attribute {name}={str(value)[:60]!r}"
        for name, value in page.attributes
        if name.startswith("on")
        or (name in {"src", "href"} and not str(value).startswith(("data:image/", "#")))
    ]
    signs = {sign for sign in text if sign not in "\n\t\r" and printable(sign) != sign}
    return found + [f"sign {sign!r}" for sign in signs]


def judge_table(text):
    """Cells of a CSV file that a spreadsheet would run."""
    rows = csv.reader(io.StringIO(text, newline=""))
    return [cell for row in rows for cell in row if cell.startswith(STARTS) and not number(cell)]


def number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True


def diagnose(source, labels):
    tiles = lay_tiles((128, 192), 64)
    probs = np.full(len(labels), 0.9, np.float32)
    read = np.zeros(len(tiles), dtype=np.bool_)
    read[0] = True
    return Diagnosis(
        source=source, photo_size_px_hw=(128, 192), labels=tuple(labels), label_probs=probs,
        thresholds=np.full(len(labels), 0.5, np.float32), healthy_prob=0.0, unsure=None,
        tiles=tiles,
        read=read, scout_probs=np.zeros(len(tiles), np.float32),
        tile_probs=np.full((len(tiles), len(labels)), 0.2, np.float32),
        lesion_map=np.zeros((len(labels), 4, 6), np.float32), lesion_map_px=32, lesion_boxes=(),
        cost=Cost(10, 60, 1, len(tiles), 1 / 6, 0.01),
    )  # fmt: skip


def test_there_are_enough_names_and_each_is_one():
    assert len(NAMES) >= 500
    assert len({name.lower() for name in NAMES}) == len(NAMES)
    assert not any(hidden_signs(name) for name in NAMES)
    assert all(hidden_signs(name) for name in HIDDEN)


def test_what_is_shown_prints_and_what_prints_stays():
    for name in NAMES:
        assert printable(name) == name
    for name in HIDDEN:
        shown = printable(name)
        assert shown.isascii()
        assert shown.isprintable()
    assert printable("a\udcffb") == "a\\udcffb"
    assert looks_like("Ru\u200bst ") == looks_like("ｒｕｓｔ") == looks_like("rust")
    assert looks_like("rust") != looks_like("rusk")


def test_cells_come_back_as_they_were():
    for name in SOURCES:
        assert not str(defuse(name)).startswith(STARTS)
        assert undo_defuse(str(defuse(name))) == name
    assert undo_defuse("'quoted'") == "'quoted'"


def test_errors_print_whatever_they_name():
    for name in HIDDEN:
        for error in (
            InputError(f"There is no {name}."),
            PhotoError("missing", f"{name} is gone."),
        ):
            assert str(error).isprintable()


def write_everything(folder):
    """Page, table and lines of diagnoses with naughty photos and labels."""
    pixels = np.zeros((20, 30, 3), np.uint8)
    some = [diagnose(source, ["rust"]) for source in SOURCES]
    some.append(diagnose("photo.jpg", NAMES))
    page = write_diagnosis_page(folder / "page.html", ((one, pixels) for one in some))
    records = [diagnosis_record(one) for one in some]
    write_csv(folder / "table.csv", records)
    write_json_lines(folder / "lines.jsonl", records)
    return page.read_text(), (folder / "table.csv").read_text(), folder / "lines.jsonl", some


def test_diagnoses_show_names_and_nothing_else(tmp_path):
    page, table, lines, some = write_everything(tmp_path)
    assert judge_page(page) == []
    assert judge_table(table) == []
    read = [json.loads(line) for line in lines.read_text().rstrip("\n").split("\n")]
    assert [one["source"] for one in read] == [*SOURCES, "photo.jpg"]
    assert [entry["label"] for entry in read[-1]["labels"]] == NAMES
    for one in some:
        assert describe(one).replace("\u200c", "").replace("\u200d", "").isprintable()


def test_without_escapes_it_is_noticed(tmp_path, monkeypatch):
    from leafscout.reports import pages

    monkeypatch.setattr(plain_text, "printable", lambda text: text)
    monkeypatch.setattr(diagnosis_records, "defuse", lambda cell: cell)
    whole = pages.Environment
    monkeypatch.setattr(
        pages, "Environment",
        lambda **options: whole(**{**options, "autoescape": False}),
    )  # fmt: skip
    page, table, _, _ = write_everything(tmp_path)
    assert "tag script" in judge_page(page)
    assert any(words.startswith("sign") for words in judge_page(page))
    assert any(cell.startswith("=") for cell in judge_table(table))


def plant_names(folder, names, photos=24):
    """Photos of which each shows a share of the labels, in 0/1 columns."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    truth = rng.random((photos, len(names))) < 0.4
    truth[:4] = False
    for label in range(len(names)):  # every label can be learned and validated
        truth[4 + rng.permutation(photos - 4)[:8], label] = True
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["image", *names, "healthy"])
    for number, row in enumerate(truth):
        draw_photo(number, 128).save(folder / f"{number}.png")
        writer.writerow([f"{number}.png", *row.astype(int), int(not row.any())])
    (folder / "labels.csv").write_text(file.getvalue(), encoding="utf-8", newline="")
    return folder


def test_labels_survive_tables_and_hidden_signs_are_refused(tmp_path):
    # A first column like "null" or "photo" must not be taken for anything but a label.
    names = [name for name in NAMES if name.lower() not in TAKEN]
    data = plant_names(tmp_path / "field", names)
    table = read_labels(data)
    assert list(table.labels) == names
    write_multi_hot(table.with_splits(["train"] * 16 + ["val"] * 8), tmp_path / "out")
    for path in (tmp_path / "out").glob("*.csv"):
        assert judge_table(path.read_text(encoding="utf-8")) == []
    again = read_labels(tmp_path / "out")
    assert list(again.labels) == names
    np.testing.assert_array_equal(again.truth, table.truth)

    report = check_data(plant_names(tmp_path / "hidden", HIDDEN), workers=1)
    refused = [one for one in report.findings if one.code == "odd_name" and one.severity == "error"]
    assert len(refused) == len(HIDDEN)
    assert all(one.isprintable() for one in report.lines())


@pytest.mark.faults
def test_naughty_labels_from_training_to_report(tmp_path, record):
    names = [name for name in NAMES if name.lower() not in TAKEN]
    data = plant_names(tmp_path / "field", names)
    run = tmp_path / "run"
    odd_photo = data / "<b>=1+1\x1b[31m\u202egpj.png"
    odd_photo.write_bytes((data / "5.png").read_bytes())
    commands = [
        ["train", data, "--out", run, "--recipe", "tiny", "--epochs", "1", "--workers", "1",
         "--tile-px", "64", "--glance-px", "64"],
        ["evaluate", run, data, "--force"],
        ["diagnose", run, odd_photo, data / "4.png", "--html", tmp_path / "page.html",
         "--csv", tmp_path / "table.csv", "--jsonl", tmp_path / "lines.jsonl"],
    ]  # fmt: skip
    said = ""
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "leafscout", *map(str, command)],
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, (command[0], (done.stdout + done.stderr)[-3000:])
        said += done.stdout + done.stderr
    tables_found = [*run.rglob("*.csv"), tmp_path / "table.csv"]
    pages = [*run.rglob("*.html"), tmp_path / "page.html"]
    wrong = [
        *(f"said {sign!r}" for sign in {*said} if sign != "\r" and printable(sign) != sign),
        *(f"{path.name}: {cell[:40]!r}" for path in tables_found
          for cell in judge_table(path.read_text(encoding="utf-8"))),
        *(f"{path.name}: {words}" for path in pages
          for words in judge_page(path.read_text(encoding="utf-8"))),
    ]  # fmt: skip
    labels = json.loads((run / "model" / "manifest.json").read_text(encoding="utf-8"))["labels"]
    page = (run / "report.html").read_text(encoding="utf-8")
    parser = Tags()
    parser.feed(page)
    shown = re.sub(r"\s+", " ", " ".join(parser.text))
    absent = [name for name in labels if re.sub(r"\s+", " ", name) not in shown]
    record(
        "naughty names", labels=len(labels), tables=len(tables_found), pages=len(pages),
        wrong=len(wrong), not_in_report=len(absent),
        without="escaping of markup, of signs that do not print, and of formulas",
        noticed="the page holds the tag script, control characters, and the table cells that "
        "start with =",
    )  # fmt: skip
    assert wrong == []
    assert absent == []
    assert labels == names


def test_tables_of_an_evaluation_hold_no_formulas():
    for name in NAMES:
        assert not str(tables._cell(name)).startswith(STARTS)
    assert Path(tables.__file__).name == "tables.py"
