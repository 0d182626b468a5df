"""Evaluating a run: which photos count, whose label is whose, and what is written."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import leafscout
from leafscout.errors import InputError
from leafscout.evaluation.summary import BaselineAnswers
from leafscout.inference import baseline
from leafscout.inference.evaluate import evaluate_run
from leafscout.photos.labels import read_labels

NEW = [("a.png", "rust"), ("b.png", "healthy"), ("c.png", "mildew"), ("d.png", "rust mildew")]


@pytest.fixture
def new_photos(photo_writer: Callable[..., Path], tmp_path: Path) -> Path:
    return photo_writer(tmp_path / "new", NEW, seed=2)


def per_photo(run: Path) -> list[dict[str, str]]:
    with (run / "evaluation" / "per_photo.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_new_photos_are_evaluated_without_a_note(untrained_run: Path, new_photos: Path) -> None:
    summary = evaluate_run(untrained_run, new_photos)
    assert summary.notes == ()
    rows = per_photo(untrained_run)
    assert [row["image"] for row in rows] == [name for name, _ in NEW]
    assert [(row["truth_rust"], row["truth_mildew"]) for row in rows] == [
        ("1", "0"), ("0", "0"), ("0", "1"), ("1", "1"),
    ]  # fmt: skip
    model = leafscout.load(untrained_run)
    for row in rows:
        answer = model.diagnose(new_photos / row["image"])
        for label in model.labels:
            assert float(row[f"prob_{label}"]) == pytest.approx(answer.probs[label], abs=1e-5)
            assert row[f"found_{label}"] == str(int(label in answer.labels))
        assert (row["tiles_read"], row["tiles_total"]) == ("2", "6")
    written = json.loads((untrained_run / "evaluation.json").read_text())
    assert written == summary.to_dict()
    assert (untrained_run / "pictures" / "captions.json").is_file()


def test_photos_that_were_used_are_refused(
    untrained_run: Path, used_photos: Path, new_photos: Path
) -> None:
    # Under another name it is the same photo still.
    shutil.copy(used_photos / "5.png", new_photos / "a.png")
    with pytest.raises(InputError, match=r"1 of the 4 photos .*for example a\.png.*--force"):
        evaluate_run(untrained_run, new_photos)
    assert not (untrained_run / "evaluation.json").exists()
    (note,) = evaluate_run(untrained_run, new_photos, force=True).notes
    assert note.startswith("FORCED: 1 of 4 photos")
    assert len(per_photo(untrained_run)) == 4


def test_of_its_own_photos_only_the_test_split_counts(
    untrained_run: Path, used_photos: Path
) -> None:
    (note,) = evaluate_run(untrained_run, used_photos).notes
    assert note.startswith("Evaluated on the 2 photos of the run's own test split; the 6 that")
    assert [row["image"] for row in per_photo(untrained_run)] == ["6.png", "7.png"]


def test_labels_are_matched_by_name(untrained_run: Path, new_photos: Path) -> None:
    by_name = evaluate_run(untrained_run, new_photos).to_dict()["labels"]
    lines = ["image,rust,mildew,healthy"]
    lines += [
        f"{name},{int('rust' in word)},{int('mildew' in word)},{int(word == 'healthy')}"
        for name, word in NEW
    ]
    (new_photos / "labels.csv").write_text("\n".join(lines) + "\n")
    assert read_labels(new_photos).labels == ("rust", "mildew")
    assert evaluate_run(untrained_run, new_photos).to_dict()["labels"] == by_name


def test_a_label_may_be_absent_but_not_unknown(untrained_run: Path, new_photos: Path) -> None:
    labels = new_photos / "labels.csv"
    labels.write_text("image,labels\na.png,rust\nb.png,healthy\nc.png,rust\nd.png,healthy\n")
    evaluate_run(untrained_run, new_photos)
    assert {row["truth_mildew"] for row in per_photo(untrained_run)} == {"0"}
    labels.write_text(labels.read_text().replace("c.png,rust", "c.png,scab"))
    with pytest.raises(InputError, match=r"does not know: scab\. It was trained on: mildew"):
        evaluate_run(untrained_run, new_photos)


def test_a_variant_is_the_model_with_other_rules(
    untrained_run: Path, new_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variants of this run have the model's own rules, so they must say what it says."""
    asked: list[Any] = []

    def answer(*given: Any) -> BaselineAnswers:
        asked.append(given)
        return BaselineAnswers(np.full((4, 2), 0.25), np.array([0.5, 0.5]))

    monkeypatch.setattr(baseline, "answer_with_resized_photo", answer)
    summary = evaluate_run(untrained_run, new_photos, baselines=True, baseline_px=96)
    assert len(asked) == 1
    assert set(summary.baselines) == {"same", "all_tiles_same", "resized_photo_96px"}
    model = leafscout.load(untrained_run)
    different = 0
    for row in per_photo(untrained_run):
        everything = model.diagnose(new_photos / row["image"], read_all=True)
        for label in model.labels:
            assert row[f"same_prob_{label}"] == row[f"prob_{label}"]
            assert row[f"same_found_{label}"] == row[f"found_{label}"]
            all_tiles = float(row[f"all_tiles_same_prob_{label}"])
            assert all_tiles == pytest.approx(everything.probs[label], abs=1e-5)
            assert row[f"resized_photo_96px_found_{label}"] == "0"
            different += row[f"all_tiles_same_prob_{label}"] != row[f"prob_{label}"]
    assert different


def test_places_are_scored_where_they_are_known(untrained_run: Path, new_photos: Path) -> None:
    boxes = new_photos / "boxes.csv"
    # The whole photo is a lesion: every place and every tile hits it.
    boxes.write_text("image,x_px,y_px,width_px,height_px\na.png,0,0,192,128\nc.png,0,0,192,128\n")
    place = evaluate_run(untrained_run, new_photos, boxes=boxes).localisation
    assert place is not None
    assert place.pointing is not None
    assert (place.photos, place.pointing.photos, place.pointing.hits) == (2, 2, 2)
    assert place.hits_at_k == {1: 1.0, 3: 1.0, 5: 1.0}
    assert place.lesion_kept == 1.0
    assert place.false_tiles is not None
    assert place.false_tiles.photos == 1


def test_truth_of_other_photos_is_refused_before_the_work(
    untrained_run: Path, new_photos: Path
) -> None:
    boxes = new_photos / "boxes.csv"
    boxes.write_text("image,x_px,y_px,width_px,height_px\nz.png,0,0,192,128\n")
    with pytest.raises(InputError, match=r"None of the 4 photos, for example a\.png"):
        evaluate_run(untrained_run, new_photos, boxes=boxes)
    assert not (untrained_run / "evaluation.json").exists()
