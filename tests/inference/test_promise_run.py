"""Asking a run for a promise: what it changes, what it refuses, and that what it says is so."""

import csv
import html
import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image
from red_field import BRIGHT, FAINT, RedNetworks, paint
from typer.testing import CliRunner

from leafscout.cli import app
from leafscout.errors import InputError
from leafscout.evaluation.promise import tail_prob
from leafscout.glance.choose import ChoiceRule
from leafscout.inference import promise_run as module
from leafscout.inference.evaluate import evaluate_run
from leafscout.inference.load import Model, load
from leafscout.inference.promise_run import choice_ladder, promise_run
from leafscout.manifest import read_manifest
from leafscout.model import GlanceAndFocus
from leafscout.reports.run_report import write_run_report


@pytest.fixture
def red_run(untrained_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose networks see red, in truth and not by training."""

    def load_red(run: Path) -> Model:
        manifest = read_manifest(run / "model")
        return Model(GlanceAndFocus(RedNetworks(), manifest.rules()), manifest, run)

    monkeypatch.setattr(module, "load", load_red)
    return untrained_run


def test_the_thriftiest_choice_that_keeps_the_promise(red_run: Path, tmp_path: Path) -> None:
    photos = paint(tmp_path / "photos", [BRIGHT] * 92 + [FAINT] * 8 + [None] * 6)
    before = read_manifest(red_run / "model")
    cautious = promise_run(red_run, photos, loss_frac=0.05)
    assert cautious.promise.kept
    assert cautious.choice is not None
    (count,) = cautious.promise.counts
    assert (count.name, count.photos, count.found) == ("any disease", 100, 100)
    # 1 of 100 may be lost for 5%, 2 may not.
    assert tail_prob(count.losses, 100, 0.05) <= 0.05
    manifest = read_manifest(red_run / "model")
    assert manifest.promise is not None
    assert manifest.rules().choice == cautious.choice
    assert manifest.promise.words == cautious.promise.words()
    assert manifest.promise.choice_before == before.choice
    assert manifest.thresholds == before.thresholds

    bold = promise_run(red_run, photos, loss_frac=0.2)
    assert bold.choice is not None
    assert bold.choice.threshold_prob > cautious.choice.threshold_prob
    assert bold.tiles_read_frac["diseased"] <= cautious.tiles_read_frac["diseased"]
    # The second promise starts where the first one did, not from what that had chosen.
    manifest = read_manifest(red_run / "model")
    assert manifest.promise is not None
    assert manifest.promise.choice_before == before.choice


def test_what_is_written_counts_the_losses_of_every_setting(red_run: Path, tmp_path: Path) -> None:
    photos = paint(tmp_path / "photos", [BRIGHT] * 60 + [FAINT] * 3)
    outcome = promise_run(red_run, photos)
    written = json.loads((red_run / "promise.json").read_text())
    assert written["words"] == outcome.promise.words()
    settings = written["settings"]
    assert html.escape(written["words"]) in write_run_report(red_run).read_text(encoding="utf-8")
    assert settings[0]["losses"] == {"any disease": 0}
    # No tile is worth it at the end: every photo is lost.
    assert settings[-1]["losses"] == {"any disease": 63}
    lost_at = written["lost_at"]["any disease"]
    for row, setting in enumerate(settings):
        assert sum(row in rows for rows in lost_at) == setting["losses"]["any disease"]
    with (red_run / "promise_photos.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 64


def test_too_few_photos_leave_the_model_alone(red_run: Path, tmp_path: Path) -> None:
    photos = paint(tmp_path / "photos", [BRIGHT] * 20)
    before = (red_run / "model" / "manifest.json").read_bytes()
    outcome = promise_run(red_run, photos, loss_frac=0.05)
    assert outcome.choice is None
    assert "39 more with any disease (there are 20)" in outcome.promise.words()
    assert outcome.sentences()[1] == "The model stays as it was."
    assert (red_run / "model" / "manifest.json").read_bytes() == before
    assert not (red_run / "promise_photos.csv").exists()
    assert promise_run(red_run, photos, loss_frac=0.2).promise.kept


def test_per_label_every_label_needs_its_photos(red_run: Path, tmp_path: Path) -> None:
    photos = paint(tmp_path / "photos", [BRIGHT] * 60)
    outcome = promise_run(red_run, photos, per_label=True)
    assert not outcome.promise.kept
    assert "59 more with mildew (there are 0)" in outcome.promise.words()


def test_photos_that_belong_together_count_once(red_run: Path, tmp_path: Path) -> None:
    groups = [f"plant{index // 2}" for index in range(60)]
    photos = paint(tmp_path / "photos", [BRIGHT] * 60, groups)
    outcome = promise_run(red_run, photos)
    assert outcome.promise.counts[0].photos == 30
    assert not outcome.promise.kept
    assert "60 photos are diseased" in outcome.notes[0]


def test_photos_that_the_run_knows_are_refused(
    red_run: Path, used_photos: Path, tmp_path: Path
) -> None:
    photos = paint(tmp_path / "photos", [BRIGHT] * 4)
    for name, use in (("1.png", "trained on"), ("5.png", "validated on"), ("6.png", "set aside")):
        shutil.copy(used_photos / name, photos / "0.png")
        with pytest.raises(InputError, match=rf"1 of the 5 photos .*0\.png, which was {use}"):
            promise_run(red_run, photos)
    # A recompressed copy is the same picture still.
    with Image.open(used_photos / "1.png") as picture:
        picture.save(photos / "0.jpg", quality=90)
    labels = photos / "labels.csv"
    labels.write_text(labels.read_text().replace("0.png", "0.jpg"))
    with pytest.raises(InputError, match="A promise takes photos that were used for nothing else"):
        promise_run(red_run, photos)


def test_photos_of_a_promise_are_refused_by_an_evaluation(red_run: Path, tmp_path: Path) -> None:
    photos = paint(tmp_path / "photos", [BRIGHT] * 60)
    promise_run(red_run, photos)
    with pytest.raises(InputError, match="61 of the 61 photos"):
        evaluate_run(red_run, photos)


@pytest.mark.parametrize(
    "options", [{"loss_frac": 1.5}, {"confidence": 0.0}, {"confidence": 1.0}, {"loss_frac": 0.0}]
)
def test_shares_out_of_range_are_refused_before_the_work(
    options: dict[str, float], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="between 0 and 1, both excluded"):
        promise_run(tmp_path, tmp_path, **options)


def test_the_ladder_goes_from_everything_through_the_models_own_to_nothing() -> None:
    own = ChoiceRule(threshold_prob=0.3, max_tiles=5, suspicion_prob=0.7, suspicion_tiles=1)
    ladder = choice_ladder(own, tiles=88)
    assert (ladder[0].threshold_prob, ladder[0].max_tiles) == (0.0, 88)
    assert own in ladder
    assert ladder[-1].threshold_prob > 0.99
    steps = [(rule.threshold_prob, -rule.max_tiles) for rule in ladder]
    assert all(a <= c and b <= d for (a, b), (c, d) in pairwise(steps))
    assert {(rule.suspicion_prob, rule.suspicion_tiles) for rule in ladder} == {(0.7, 1)}


def test_the_model_keeps_to_what_was_promised(untrained_run: Path, tmp_path: Path) -> None:
    """With real networks, through the command line: the reloaded model reads by the new choice."""
    photos = paint(tmp_path / "photos", [BRIGHT] * 8)
    result = CliRunner().invoke(
        app, ["promise", str(untrained_run), str(photos), "--loss", "0.4", "--json"]
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert load(untrained_run).core.rules.choice == ChoiceRule(**answer["choice"])
    result = CliRunner().invoke(app, ["promise", str(untrained_run), str(photos)])
    assert result.exit_code == 1
    assert "The model stays as it was." in result.stdout
