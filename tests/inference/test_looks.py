"""Other thresholds and more looks: measured by evaluate, used by diagnose, in every runtime."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import leafscout
from leafscout.cli import app
from leafscout.cli.options import LOOKS, RULES
from leafscout.errors import InputError
from leafscout.evaluation.threshold_rules import FORMS, read_threshold_rule
from leafscout.evaluation.validation_answers import VALIDATION_ANSWERS, read_validation_answers
from leafscout.inference.answer import Failure, PhotoDiagnosis
from leafscout.inference.evaluate import evaluate_run
from leafscout.inference.export_run import ExportOptions, export_run
from leafscout.inference.looks import LookingModel, answer_with
from leafscout.inference.own_answers import fingerprint_model
from leafscout.inference.test_time_augmentation import CHANGES, mean_answer
from leafscout.manifest import MANIFEST_NAME, read_manifest, seal_manifest
from leafscout.photos.decode import decode_photo
from leafscout.training.run import TrainOptions, train

NEW = [("a.png", "rust"), ("b.png", "healthy"), ("c.png", "mildew"), ("d.png", "rust mildew")]
RUNNER = CliRunner()


@pytest.fixture
def new_photos(photo_writer: Callable[..., Path], tmp_path: Path) -> Path:
    return photo_writer(tmp_path / "new", NEW, seed=2)


@pytest.fixture(scope="module")
def gated_run(used_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("gated") / "run"
    settings = {"epochs": 1, "glance_px": 128, "width": 16, "later_blocks": 1}
    options = TrainOptions(threads=1, workers=1, seed=2)
    return train(used_photos, out, recipe="gated", overrides=settings, options=options)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_other_thresholds_are_fitted_on_validation_and_measured_beside_the_models_own(
    untrained_run: Path, new_photos: Path
) -> None:
    before = evaluate_run(untrained_run, new_photos)
    summary = evaluate_run(untrained_run, new_photos, thresholds=["recall=0.9", "cost=5:1"])
    assert set(summary.alternatives) == {"recall=0.9", "cost=5:1"}
    assert summary.labels.to_dict() == before.labels.to_dict(), "the model itself is as it was"
    kept = read_validation_answers(untrained_run / "model" / VALIDATION_ANSWERS)
    assert kept is not None
    assert kept.truth == ((0, 0), (0, 1)), "photos 4 and 5 of the run"
    model = leafscout.load(untrained_run)
    for path, probs in zip(("4.png", "5.png"), kept.probs_array("none"), strict=True):
        plan = json.loads((untrained_run / "plan.json").read_text())
        answer = model.diagnose(Path(plan["data"]) / path)
        assert list(answer.probs.values()) == pytest.approx(probs, abs=1e-6)
    other = summary.alternatives["recall=0.9"]
    fit = read_threshold_rule("recall=0.9").fit(kept.truth_array(), kept.probs_array("none"))
    assert [row.threshold for row in other.labels.rows] == pytest.approx(fit.thresholds)
    assert other.not_fitted == ("mildew",)
    assert other.labels.rows[0].threshold == 0.5
    assert any("No validation photo has mildew" in note for note in summary.notes)
    gain = other.alternative_minus_model["macro_f1"]
    assert gain.value == pytest.approx(other.labels.macro.f1.value - summary.labels.macro.f1.value)
    assert other.alternative_minus_model["macro_ap"].value == 0.0, "the same probabilities"


def test_the_figures_stand_in_json_csv_and_report(untrained_run: Path, new_photos: Path) -> None:
    result = RUNNER.invoke(
        app,
        ["evaluate", str(untrained_run), str(new_photos), "--thresholds", "recall=0.9",
         "--looks", "flips"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "With looks=flips instead, macro_ap" in result.output
    names = {"recall=0.9", "looks=flips", "looks=flips, recall=0.9"}
    written = json.loads((untrained_run / "evaluation.json").read_text())["alternatives"]
    assert set(written) == names
    assert written["looks=flips"]["looks_each"] == 4
    folder = untrained_run / "evaluation"
    table = read_rows(folder / "alternatives.csv")
    assert {row["alternative"] for row in table} == names
    for row in table:
        gap = written[row["alternative"]]["alternative_minus_model"][row["metric"]]
        for key in ("value", "low", "high"):
            assert float(row[key]) == pytest.approx(gap[key], rel=1e-4, abs=1e-6)
    labels = read_rows(folder / "alternatives_per_label.csv")
    marks = {row["label"]: row["threshold_fitted"] for row in labels}
    assert (marks["mildew"], marks["rust"], marks["macro"]) == ("0", "1", "")
    photo = read_rows(folder / "per_photo.csv")[0]
    assert 0 <= float(photo["looks=flips_prob_rust"]) <= 1
    page = (untrained_run / "report.html").read_text()
    assert "Other thresholds, more looks" in page
    assert "not fitted: no validation photo has it" in page
    assert "By the number of diseases in a photo" in page
    # The next evaluation asks for nothing of the kind, and none of it is left.
    evaluate_run(untrained_run, new_photos)
    assert not (folder / "alternatives.csv").exists()


def test_several_looks_are_the_mean_of_single_ones(untrained_run: Path, new_photos: Path) -> None:
    evaluate_run(untrained_run, new_photos, looks=["rotations"])
    model = leafscout.load(untrained_run)
    asked, doubts = answer_with(model, looks="rotations")
    assert isinstance(asked, LookingModel)
    assert "mildew" in doubts[0]
    path = new_photos / "a.png"
    again = asked.diagnose(path).diagnosis
    singles = [
        model.diagnose(change.apply(decode_photo(path).pixels)).diagnosis
        for change in CHANGES["rotations"]
    ]
    assert again.label_probs == pytest.approx(mean_answer([one.label_probs for one in singles]))
    assert again.cost.macs == sum(one.cost.macs for one in singles)
    assert again.cost.tiles_read == sum(one.cost.tiles_read for one in singles)
    assert again.cost.macs_all_tiles == singles[0].cost.macs_all_tiles
    assert not np.array_equal(again.label_probs, singles[0].label_probs)
    assert again.healthy_prob == pytest.approx(float(np.prod(1 - again.label_probs)))
    kept = read_validation_answers(untrained_run / "model" / VALIDATION_ANSWERS)
    assert kept is not None
    fit = read_threshold_rule("bagged_f1").fit(kept.truth_array(), kept.probs_array("rotations"))
    assert again.thresholds == pytest.approx(fit.thresholds), "of answers of its own kind"
    many = list(asked.diagnose_many([path, new_photos / "none.png"]))
    assert isinstance(many[0], PhotoDiagnosis)
    assert many[0].probs == dict(zip(again.labels, again.label_probs.tolist(), strict=True))
    assert isinstance(many[1], Failure)


def test_diagnose_decides_by_another_rule(
    untrained_run: Path, new_photos: Path, tmp_path: Path
) -> None:
    photo, run = str(new_photos / "a.png"), str(untrained_run)
    refused = RUNNER.invoke(app, ["diagnose", run, photo, "--thresholds", "recall=0.9"])
    assert refused.exit_code == 2
    assert "DATA --thresholds recall=0.9" in refused.stderr
    evaluate_run(untrained_run, new_photos, thresholds=["f1"])
    own = json.loads(RUNNER.invoke(app, ["diagnose", run, photo, "--json"]).stdout)
    other = RUNNER.invoke(app, ["diagnose", run, photo, "--json", "--thresholds", "precision=1"])
    assert other.exit_code == 0, other.output
    record = json.loads(other.stdout)
    for ours, theirs in zip(own["labels"], record["labels"], strict=True):
        assert (ours["label"], ours["prob"]) == (theirs["label"], theirs["prob"])
    kept = read_validation_answers(untrained_run / "model" / VALIDATION_ANSWERS)
    assert kept is not None
    fit = read_threshold_rule("precision=1").fit(kept.truth_array(), kept.probs_array("none"))
    thresholds = [entry["threshold"] for entry in record["labels"]]
    assert thresholds == pytest.approx(fit.thresholds, abs=1e-5)
    assert "No validation photo has mildew" in other.stderr


@pytest.mark.parametrize("moved", [False, True])
def test_an_exported_model_takes_its_answers_along(
    untrained_run: Path, new_photos: Path, tmp_path: Path, *, moved: bool
) -> None:
    evaluate_run(untrained_run, new_photos, thresholds=["f1"], looks=["flips"])
    folder = export_run(untrained_run, ExportOptions(threads=1)).folder
    if moved:
        folder = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    model = leafscout.load(untrained_run)
    exported = leafscout.load(folder)
    for wishes in ({"thresholds": "f1"}, {"looks": "flips"}):
        ours, theirs = (answer_with(one, **wishes)[0] for one in (model, exported))
        a, b = (one.diagnose(new_photos / "d.png").diagnosis for one in (ours, theirs))
        assert b.thresholds == pytest.approx(a.thresholds)
        assert b.label_probs == pytest.approx(a.label_probs, abs=1e-4)
    # Exported again, the folder is still known for what it is.
    export_run(untrained_run, ExportOptions(threads=1))


def test_answers_of_a_model_that_was_changed_are_not_used(
    untrained_run: Path, new_photos: Path
) -> None:
    evaluate_run(untrained_run, new_photos, thresholds=["f1"])
    manifest = read_manifest(untrained_run / "model")
    choice = manifest.choice.model_copy(update={"max_tiles": 1})
    changed = manifest.model_copy(update={"choice": choice})
    assert fingerprint_model(changed) != fingerprint_model(manifest)
    other = manifest.model_copy(update={"thresholds": (0.1, 0.1)})
    assert fingerprint_model(other) == fingerprint_model(manifest)
    (untrained_run / "model" / MANIFEST_NAME).write_bytes(seal_manifest(changed))
    with pytest.raises(InputError, match=r"leafscout evaluate .* DATA --thresholds f1"):
        answer_with(leafscout.load(untrained_run), thresholds="f1")
    evaluate_run(untrained_run, new_photos, thresholds=["f1"])
    answer_with(leafscout.load(untrained_run), thresholds="f1")


def test_the_integrated_variant_decides_and_looks_likewise(
    gated_run: Path, new_photos: Path
) -> None:
    summary = evaluate_run(gated_run, new_photos, thresholds=["recall=0.9"], looks=["scales"])
    assert summary.alternatives["looks=scales"].looks_each == 3
    asked, _ = answer_with(leafscout.load(gated_run), thresholds="recall=0.9", looks="scales")
    diagnosis = asked.diagnose(new_photos / "b.png").diagnosis
    thresholds = [
        row.threshold for row in summary.alternatives["looks=scales, recall=0.9"].labels.rows
    ]
    assert diagnosis.thresholds == pytest.approx(thresholds)


def test_unknown_names_are_refused_before_the_work(untrained_run: Path, new_photos: Path) -> None:
    for wishes in ({"thresholds": ["best"]}, {"looks": ["twice"]}):
        with pytest.raises(InputError, match="Expected one of"):
            evaluate_run(untrained_run, new_photos, **wishes)
    assert not (untrained_run / "evaluation.json").exists()
    model = leafscout.load(untrained_run)
    assert answer_with(model) == (model, ())
    with pytest.raises(InputError, match="DATA --looks flips"):
        answer_with(model, looks="flips")


def test_a_folder_is_not_gone_on_with_in_another_way(
    untrained_run: Path, new_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate_run(untrained_run, new_photos, looks=["flips"])
    target = tmp_path / "answers.jsonl"
    base = ["diagnose", str(untrained_run), str(new_photos), "--jsonl", str(target)]
    whole, seen = LookingModel.diagnose, []

    def stop(model: LookingModel, photo: Any, **options: Any) -> PhotoDiagnosis:
        seen.append(photo)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return whole(model, photo, **options)

    monkeypatch.setattr(LookingModel, "diagnose", stop)
    assert RUNNER.invoke(app, [*base, "--looks", "flips"]).exit_code != 0
    assert len(target.with_name("answers.jsonl.part").read_text().splitlines()) == 3
    refused = RUNNER.invoke(app, [*base, "--resume"])
    assert refused.exit_code == 2
    assert "of another model" in refused.stderr
    done = RUNNER.invoke(app, [*base, "--resume", "--looks", "flips"])
    assert done.exit_code == 0, done.output
    assert len(target.read_text().splitlines()) == 4
    assert len(seen) == 5, "the first two were not looked at again"


def test_the_help_names_what_there_is() -> None:
    words = re.split(r", | or ", LOOKS)
    assert set(words) | {"none"} == set(CHANGES)
    for rule in re.split(r", | or ", RULES):
        assert read_threshold_rule(rule).name == rule
    assert set(re.split(r", | or ", FORMS)) == set(re.split(r", | or ", RULES))
