"""The run report: complete, self-contained, escaped, without metadata."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from leafscout.errors import InputError
from leafscout.evaluation.localisation import Localisation, count_false_tiles, play_pointing_game
from leafscout.evaluation.summary import AlternativeAnswers, BaselineAnswers, summarise
from leafscout.reports.figures import Bar, Curve, Panel, draw_bars, draw_panels
from leafscout.reports.report_figures import HistoryRow, draw_history
from leafscout.reports.run_report import write_run_report
from leafscout.types import Cost

NASTY = "<script>alert('rust')</script> & $x$ _"
LABELS = (NASTY, "_frog_eye", "powdery mildew")


class Page(HTMLParser):
    """Collects tags, their attributes, and the text of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.urls, self.words, self.ids = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        self.urls += [attributes[name] for name in ("src", "href") if name in attributes]
        self.ids += [attributes["id"]] if "id" in attributes else []

    def handle_data(self, data):
        self.words.append(data)


def write_evaluation(run):
    rng = np.random.default_rng(0)
    truth = rng.random((60, 3)) < 0.3
    probs = np.clip(0.4 * truth + 0.6 * rng.random((60, 3)), 0, 1)
    half = np.full(3, 0.5)
    box = np.array([[0, 0, 9, 9]])
    summarise(
        truth,
        probs,
        half,
        LABELS,
        costs=[Cost(5, 100, int(sick), 18, 0.1, 0.2) for sick in truth.any(axis=1)],
        localisation=Localisation(
            photos=2,
            pointing=play_pointing_game([(1, 1), (20, 20)], [box, box]),
            hits_at_k={5: 0.75},
            lesion_kept=0.98,
            false_tiles=count_false_tiles([np.array([0.1, 0.9])], 0.5),
        ),
        baselines={"mean pooling": BaselineAnswers(rng.random((60, 3)), half)},
        alternatives={
            "looks=flips": AlternativeAnswers(
                rng.random((60, 3)), half, np.array([True, False, True]), "bagged_f1", "flips", 4
            )
        },
        notes=["Evaluated on training photos."],
        resamples=30,
    ).write_json(run / "evaluation.json")


@pytest.fixture(scope="module")
def full_run(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "field <b>7"
    (run / "pictures").mkdir(parents=True)
    write_evaluation(run)
    (run / "plan.json").write_text(
        json.dumps({"expert": {"backbone": "mobilenetv2_100", "tile_px": 384}, "labels": LABELS}),
        "utf-8",
    )
    rows = ["stage,epoch,train_loss,val_loss,val_macro_ap,learning_rate,seconds"]
    rows += [f"expert,{i},{1 / i},{1.1 / i},{0.5 + 0.02 * i},0.001,3" for i in range(1, 5)]
    rows += [f"scout,{i},{1 / i},,,0.001,3" for i in range(1, 4)]
    (run / "history.csv").write_text("\n".join(rows) + "\n", "utf-8")
    pixels = np.random.default_rng(1).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    exif[0x0112] = 6
    Image.fromarray(pixels).save(run / "pictures" / "a.jpg", exif=exif, comment=b"SecretNote")
    Image.fromarray(pixels).save(run / "pictures" / "b.jpg")
    Image.fromarray(pixels).save(run.parent / "outside.jpg", quality=30)
    captions = [
        {"file": "a.jpg", "group": "diagnoses", "caption": f"{NASTY} 87%"},
        {"file": "b.jpg", "group": "worst_mistakes", "caption": "sure and wrong"},
        {"file": "b.jpg", "group": "glance_scale", "caption": "24 px is 3 px here"},
        {"file": "../../outside.jpg", "group": "mosaic", "caption": "elsewhere"},
    ]
    (run / "pictures" / "captions.json").write_text(json.dumps(captions), "utf-8")
    return run, write_run_report(run).read_text("utf-8")


def test_page_needs_nothing_from_outside(full_run):
    page = Page(full_run[1])
    assert page.urls
    assert all(url.startswith("data:image/") for url in page.urls)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert not re.search(r"url\(|@import|https?://", full_run[1])


def test_names_from_files_are_text_and_never_markup(full_run):
    page = Page(full_run[1])
    assert "script" not in page.tags
    text = "".join(page.words)
    assert NASTY in text
    assert "field <b>7" in text
    assert "<script>" not in full_run[1]


def test_every_section_is_there_in_order_pictures_first(full_run):
    assert Page(full_run[1]).ids == [
        "diagnoses",
        "glance_scale",
        "mosaic",
        "labels",
        "baselines",
        "by_count",
        "alternatives",
        "localisation",
        "curves",
        "confusion",
        "cost",
        "worst_mistakes",
        "plan",
        "reading",
    ]


def test_figures_of_the_evaluation_stand_in_the_page(full_run):
    run, html = full_run
    text = "".join(Page(html).words)
    evaluation = json.loads((run / "evaluation.json").read_text("utf-8"))
    for row in evaluation["labels"]["rows"]:
        assert f"{row['ap']['value']:.2f}" in text
    assert "Evaluated on training photos." in text
    assert "expert.tile_px" in text
    assert "0.75" in text
    assert "mean pooling" in text
    assert "100%" in text  # of the tiles of healthy photos were never read


def test_a_threshold_that_was_not_fitted_is_marked(full_run):
    page = full_run[1]
    assert page.count("not fitted: no validation photo has it") == 1
    assert "looks=flips" in page


def test_figures_of_epochs_are_drawn_where_the_history_has_them():
    plain = [HistoryRow("expert", number, 1.0, 1.0, 0.5) for number in (1, 2)]
    more = [
        HistoryRow("expert", number, 1.0, 1.0, 0.5, {"train_f1": 0.2, "val_f1": 0.1 * number})
        for number in (1, 2)
    ]
    widths = [Image.open(io.BytesIO(draw_history(rows).png)).size[0] for rows in (plain, more)]
    assert widths[1] > widths[0], "one panel more"


def test_pictures_carry_no_metadata_and_stand_upright(full_run):
    jpegs = [
        base64.b64decode(uri.split(",")[1])
        for uri in Page(full_run[1]).urls
        if uri.startswith("data:image/jpeg")
    ]
    assert len(jpegs) == 3
    assert all(b"Secret" not in jpeg for jpeg in jpegs)
    first = Image.open(io.BytesIO(jpegs[0]))
    assert not first.getexif()
    assert first.size == (40, 60)  # turned as EXIF said, before EXIF was dropped
    assert jpegs[1] == (full_run[0] / "pictures" / "b.jpg").read_bytes()


def test_picture_outside_the_folder_is_not_embedded(full_run):
    assert "the picture outside.jpg is missing" in "".join(Page(full_run[1]).words)


def test_figures_are_saved_as_files_too(full_run):
    names = {path.name for path in (full_run[0] / "figures").iterdir()}
    assert names == {
        "per_label.png",
        "label_counts.png",
        "label_figures.png",
        "labels_together.png",
        "precision_recall.png",
        "confidence.png",
        "reliability.png",
        "taken_for.png",
        "confusion.png",
        "cost.png",
        "training.png",
    }
    for path in (full_run[0] / "figures").iterdir():
        assert Image.open(path).width > 300


def test_empty_run_still_gives_a_page(tmp_path):
    html = write_run_report(tmp_path).read_text("utf-8")
    page = Page(html)
    assert "This run has not been evaluated yet." in "".join(page.words)
    assert page.ids == ["reading"]
    assert not page.urls
    assert not (tmp_path / "figures").exists()


def test_report_without_matplotlib_keeps_tables(tmp_path, monkeypatch):
    write_evaluation(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = Page(write_run_report(tmp_path).read_text("utf-8"))
    assert not page.urls
    assert {"labels", "cost", "baselines"} <= set(page.ids)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("plan.json", "{", "Expected JSON in .*plan.json"),
        ("plan.json", "[]", "hold a JSON dict, but it holds a list"),
        ("evaluation.json", '{"labels": {"rows": [{}]}}', "evaluation.json as leafscout writes it"),
        ("history.csv", "stage,epoch\nexpert,1\n", "history.csv, but line 2 does not fit"),
        ("history.csv", "stage,epoch,train_loss,val_loss,val_macro_ap\na,x,1,1,1\n", "line 2"),
        ("pictures/captions.json", '[{"file": "a.jpg", "group": "x"}]', "a group of diagnoses"),
    ],
)
def test_file_that_cannot_be_understood_is_named(tmp_path, name, content, words):
    (tmp_path / "pictures").mkdir()
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(InputError, match=words):
        write_run_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_missing_run_is_named(tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        write_run_report(tmp_path / "nowhere")


def test_odd_names_many_labels_and_undefined_values_are_drawn():
    curves = tuple(
        Curve(name, [0, 0.5, 1], [1, float("nan"), 0.2 + i / 100])
        for i, name in enumerate([*LABELS, *(f"label {n}" for n in range(12))])
    )
    bars = [Bar("_a$", float("nan")), Bar("b", 0.5, 0.4, 0.6), Bar("x" * 80, 0.0)]
    for png in (draw_panels([Panel("P $_", "x", "y", curves)]), draw_bars([("t", bars)])):
        image = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 20


def test_evaluation_and_report_load_without_the_training_libraries():
    code = (
        "import sys, leafscout.evaluation.tables, leafscout.reports.run_report;"
        "print([m for m in ('torch', 'matplotlib', 'pandas', 'sklearn') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "[]"
