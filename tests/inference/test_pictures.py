"""Which photos an evaluation shows, and the files it draws."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leafscout.inference.pictures import (
    BLIND_ZONE,
    choose_examples,
    choose_mistakes,
    draw_pictures,
    replace_pictures,
)
from leafscout.photos.labels import read_labels
from leafscout.types import Diagnosis

Make = Callable[..., Diagnosis]


def test_examples_are_right_and_take_turns(diagnosis_of: Make) -> None:
    truth = np.array([[0, 0], [0, 0], [1, 0], [1, 0], [0, 1], [1, 0], [0, 0]], dtype=np.bool_)
    diagnoses = [
        diagnosis_of(0.1, 0.1),  # 0 healthy
        diagnosis_of(0.0, 0.0),  # 1 healthy, surer
        diagnosis_of(0.7, 0.1),  # 2 rust
        diagnosis_of(0.9, 0.0),  # 3 rust, surer
        diagnosis_of(0.0, 0.6),  # 4 the other disease
        diagnosis_of(0.4, 0.0),  # 5 rust, missed
        diagnosis_of(0.8, 0.0),  # 6 a false alarm
    ]
    assert choose_examples(diagnoses, truth, 10) == [1, 3, 4, 0, 2]
    assert choose_examples(diagnoses, truth, 2) == [1, 3]
    assert choose_examples(diagnoses, ~truth, 10) == []


def test_a_photo_of_two_diseases_is_shown_once(diagnosis_of: Make) -> None:
    truth = np.array([[1, 1], [1, 0]], dtype=np.bool_)
    diagnoses = [diagnosis_of(0.9, 0.9), diagnosis_of(0.8, 0.1)]
    assert choose_examples(diagnoses, truth, 10) == [0, 1]


def test_mistakes_begin_with_the_surest(diagnosis_of: Make) -> None:
    truth = np.array([[0, 0], [1, 0], [1, 1], [0, 0]], dtype=np.bool_)
    diagnoses = [
        diagnosis_of(0.7, 0.0),  # 0 a false alarm by 0.2
        diagnosis_of(0.9, 0.0),  # 1 right
        diagnosis_of(0.9, 0.1),  # 2 misses one by 0.4; that it finds the other is no excuse
        diagnosis_of(0.55, 0.2),  # 3 a false alarm by 0.05
    ]
    assert choose_mistakes(diagnoses, truth, 10) == [2, 0, 3]
    assert choose_mistakes(diagnoses, truth, 1) == [2]
    assert choose_mistakes(diagnoses[1:2], truth[1:2], 10) == []


@pytest.fixture
def drawn(photo_writer: Callable[..., Path], diagnosis_of: Make, tmp_path: Path) -> Path:
    words = ["healthy", "rust", "rust", "healthy"]
    rows = [(f"{index}.png", word) for index, word in enumerate(words)]
    table = read_labels(photo_writer(tmp_path / "photos", rows, seed=5))
    diagnoses = [
        diagnosis_of(0.1),
        diagnosis_of(0.9, box_px=40),
        diagnosis_of(0.8, box_px=20),
        diagnosis_of(0.7, box_px=10),  # a false alarm: no lesion to show
    ]
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "worst_mistakes_07.jpg").write_bytes(b"of an earlier evaluation")
    (folder / "mine.txt").write_text("mine")
    draw_pictures(folder, diagnoses, table, table.truth, glance_px=96)
    return folder


def test_an_audit_and_an_evaluation_leave_each_others_pictures(
    drawn: Path, diagnosis_of: Make, photo_writer: Callable[..., Path], tmp_path: Path
) -> None:
    evaluated = {path.name for path in drawn.glob("*.jpg")}
    spot = np.full((80, 80, 3), 90, dtype=np.uint8)
    replace_pictures(drawn, BLIND_ZONE, [(spot, "one"), (spot, "two")])
    replace_pictures(drawn, BLIND_ZONE, [(spot, "three")])
    assert {path.name for path in drawn.glob("*.jpg")} == evaluated | {"blind_zone_00.jpg"}
    rows = [("a.png", "rust"), ("b.png", "healthy")]
    table = read_labels(photo_writer(tmp_path / "others", rows, seed=6))
    draw_pictures(drawn, [diagnosis_of(0.9), diagnosis_of(0.1)], table, table.truth, glance_px=96)
    captions = json.loads((drawn / "captions.json").read_text())
    assert [one["caption"] for one in captions if one["group"] == BLIND_ZONE] == ["three"]
    assert {one["file"] for one in captions} == {path.name for path in drawn.glob("*.jpg")}


def test_pictures_and_captions_belong_together(drawn: Path) -> None:
    captions = json.loads((drawn / "captions.json").read_text())
    assert sorted(entry["file"] for entry in captions) == sorted(
        path.name for path in drawn.glob("*.jpg")
    )
    groups = [entry["group"] for entry in captions]
    assert [groups.count(name) for name in ("diagnoses", "worst_mistakes", "glance_scale")] == [
        3, 1, 2,
    ]  # fmt: skip
    assert groups.count("mosaic") == 1
    assert (drawn / "mine.txt").read_text() == "mine"
    for path in drawn.glob("*.jpg"):
        with Image.open(path) as picture:
            assert min(picture.size) > 64


def test_captions_say_what_was_said_and_what_is_true(drawn: Path) -> None:
    captions = json.loads((drawn / "captions.json").read_text())
    (mistake,) = (one["caption"] for one in captions if one["group"] == "worst_mistakes")
    assert mistake == "3.png: diagnosed rust, labelled healthy"
    examples = [one["caption"] for one in captions if one["group"] == "diagnoses"]
    assert examples[0] == "0.png: diagnosed healthy, labelled healthy"
    glances = [one["caption"] for one in captions if one["group"] == "glance_scale"]
    assert [caption.split(",")[0] for caption in glances] == ["rust in 2.png", "rust in 1.png"]
