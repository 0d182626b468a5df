"""Auditing a run whose networks see red: every answer is known beforehand."""

import html
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from red_field import BRIGHT, RedNetworks, paint
from typer.testing import CliRunner

from leafscout.cli import app
from leafscout.errors import InputError
from leafscout.evaluation.blind_zone import CONTROL, NATIVE, PASTED, SHRUNK
from leafscout.glance.choose import ChoiceRule
from leafscout.inference import audit_run as module
from leafscout.inference.audit_run import Audit, audit_run
from leafscout.inference.load import Model
from leafscout.manifest import read_manifest
from leafscout.model import GlanceAndFocus
from leafscout.reports import run_report
from leafscout.reports.run_report import write_run_report

PHOTOS = [BRIGHT] * 8 + [None] * 7


def load_red(run: Path) -> Model:
    manifest = read_manifest(run / "model")
    rules = replace(manifest.rules(), choice=ChoiceRule(threshold_prob=0.5, max_tiles=3))
    return Model(GlanceAndFocus(RedNetworks(), rules), manifest, run)


@pytest.fixture
def red_run(untrained_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "load", load_red)
    return untrained_run


def mark_spots(photos: Path) -> Path:
    """Boxes of the red spots, found by their colour."""
    lines = ["image,x_px,y_px,width_px,height_px"]
    for path in sorted(photos.glob("*.png")):
        rows, columns = np.nonzero(np.asarray(Image.open(path))[..., 0] == BRIGHT)
        if len(rows):
            lines.append(f"{path.name},{columns.min()},{rows.min()},40,40")
    boxes = photos / "boxes.txt"
    boxes.write_text("\n".join(lines) + "\n")
    return boxes


def finding(audit: Audit, name: str) -> module.Finding:
    (found,) = [one for one in audit.findings if one.audit == name]
    return found


def test_a_model_that_sees_red_passes(red_run: Path, tmp_path: Path) -> None:
    photos = paint(tmp_path / "photos", PHOTOS)
    audit = audit_run(red_run, photos, boxes=mark_spots(photos), pasted=4)
    assert (audit.photos, audit.healthy, audit.notes) == (16, 8, ())

    by_source = {
        source: [
            trial for trial in audit.trials if trial.source == source and not trial.seen_without
        ]
        for source in (NATIVE, SHRUNK, PASTED, CONTROL)
    }
    assert len(by_source[NATIVE]) == 8
    assert all(trial.seen for trial in by_source[NATIVE])
    assert {round(trial.size_px) for trial in by_source[SHRUNK]} == {20, 10}
    # A pixel of the glance that the spot fills is as red as the spot; two are wide enough for that.
    whole = [trial for trial in by_source[PASTED] if trial.contrast == 1.0]
    assert all(trial.seen and trial.expert_sees for trial in whole if trial.glance_px >= 2)
    faint = [trial for trial in by_source[PASTED] if trial.contrast == 0.25]
    assert sum(trial.seen for trial in faint) < 0.2 * len(faint)
    assert not any(trial.seen for trial in by_source[CONTROL])
    assert audit.blind_zone.source == PASTED
    assert audit.blind_zone.blind_below_glance_px is not None
    assert audit.blind_zone.blind_below_glance_px <= 2

    assert finding(audit, "shifted frame").concern is False
    covered = finding(audit, "background only")
    assert covered.concern is False
    assert covered.figures["healthy_covered"] == covered.figures["photos"] == 8
    assert covered.figures["healthy_control"] == 0
    assert finding(audit, "background betrays the label (colour)").concern is False
    assert finding(audit, "suspicious labels").concern is False


def test_wrong_labels_and_betraying_backgrounds_are_found(red_run: Path, tmp_path: Path) -> None:
    photos = paint(tmp_path / "photos", PHOTOS)
    labels = photos / "labels.csv"
    labels.write_text(
        labels.read_text()
        .replace("3.png,rust", "3.png,healthy")
        .replace("9.png,healthy", "9.png,rust")
    )
    for index in (0, 1, 2, 4, 5, 6, 7, 9):
        # All that is labelled diseased was photographed on blue ground.
        pixels = np.array(Image.open(photos / f"{index}.png"))
        pixels[..., 2] = np.minimum(255, pixels[..., 2] + 60.0).astype(np.uint8)
        Image.fromarray(pixels).save(photos / f"{index}.png")
    audit = audit_run(red_run, photos, pasted=1)
    assert finding(audit, "background betrays the label (colour)").concern is True
    named = finding(audit, "suspicious labels").figures["suspicious"]
    assert {(one["photo"], one["label"], one["labelled"]) for one in named[:2]} == {
        ("3.png", "rust", False),
        ("9.png", "rust", True),
    }


def test_what_is_written_and_shown(
    red_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(audit_run.__kwdefaults__, "pasted", 1)
    photos = paint(tmp_path / "photos", [BRIGHT] * 5 + [None] * 4)
    arguments = ["audit", str(red_run), str(photos), "--boxes", str(mark_spots(photos))]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    written = json.loads((red_run / "audit.json").read_text())
    assert json.loads(result.stdout) == written
    pictures = sorted(path.name for path in (red_run / "pictures").glob("*.jpg"))
    assert pictures[0] == "blind_zone_00.jpg"
    page = html.unescape((red_run / "report.html").read_text(encoding="utf-8"))
    for sentence in (*written["blind_zone_sentences"], written["findings"][0]["sentence"]):
        assert sentence.split("(")[0].strip() in page
    assert "Lesions at the edge of what the scout sees" in page
    assert (red_run / "figures" / "blind_zone.png").is_file()

    monkeypatch.setattr(run_report, "write_run_report", lambda run: run / "report.html")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "Audited on 10 photos, 5 of them healthy." in result.stdout
    assert sorted(path.name for path in (red_run / "pictures").glob("*.jpg")) == pictures


def test_a_damaged_audit_is_named_by_the_report(red_run: Path) -> None:
    (red_run / "audit.json").write_text('{"photos": 3}')
    with pytest.raises(InputError, match=r"Expected audit\.json and promise\.json as leafscout"):
        write_run_report(red_run)


def test_without_healthy_photos_the_rest_is_still_done(red_run: Path, tmp_path: Path) -> None:
    photos = paint(tmp_path / "photos", [BRIGHT] * 4)
    labels = photos / "labels.csv"
    # Photo 4 is the healthy one that paint() adds.
    labels.write_text(labels.read_text().replace("4.png,healthy", "4.png,mildew"))
    audit = audit_run(red_run, photos, pasted=1)
    assert audit.healthy == 0
    assert audit.blind_zone.source == NATIVE
    assert finding(audit, "background betrays the label (colour)").concern is None


def test_photos_trained_on_are_left_out(red_run: Path, used_photos: Path, tmp_path: Path) -> None:
    audit = audit_run(red_run, used_photos)
    assert audit.photos == 4
    assert "The 4 photos that the run was trained on were left out." in audit.notes
    assert any(note.startswith("2 of the photos are validation photos") for note in audit.notes)
    forced = audit_run(red_run, used_photos, force=True)
    assert forced.photos == 8
    assert forced.notes[0].startswith("FORCED: 4 of 8 photos")
    labels = tmp_path / "train.csv"
    labels.write_text("image,labels\n0.png,healthy\n1.png,rust\n")
    with pytest.raises(InputError, match=r"All 2 photos .* knows their labels by heart"):
        audit_run(red_run, labels, photos_root=used_photos)


def test_at_most_so_many_photos_half_of_them_healthy(red_run: Path, tmp_path: Path) -> None:
    photos = paint(tmp_path / "photos", PHOTOS)
    for most, healthy in ((4, 2), (5, 2), (12, 6), (100, 8)):
        few = module._choose_photos(np.array([False] * 8 + [True] * 8), most, 0)
        assert len(few) == min(most, 16)
        assert sum(index >= 8 for index in few) == healthy
    assert len(module._choose_photos(np.array([True] * 2 + [False] * 20), 10, 0)) == 10
    with pytest.raises(InputError, match="at least 2 photos, but got 1"):
        audit_run(red_run, photos, most=1)
