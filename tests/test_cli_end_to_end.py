"""The commands one after another, on a small rendered field: train, diagnose, evaluate, report."""

import csv
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from leafscout.cli import app
from leafscout.cli.demo_command import pointing_chance

pytestmark = pytest.mark.slow


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], prog_name="leafscout")


def render(out: Path, seed: int) -> Path:
    result = run(
        "synth", out, "--preset", "demo", "--size", "400x300",
        "--photos", "32", "--seed", str(seed), "--workers", "1",
    )  # fmt: skip
    assert result.exit_code == 0, result.output + result.stderr
    return out


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("fields") / "field", 1)


@pytest.fixture(scope="module")
def trained(field: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    result = run(
        "train", field, "--out", out, "--recipe", "tiny", "--epochs", "1",
        "--threads", "1", "--workers", "1",
    )  # fmt: skip
    assert result.exit_code == 0, result.output + result.stderr
    assert str(out / "report.html") in result.stdout
    return out


def test_a_run_is_not_written_over(field: Path, trained: Path) -> None:
    before = (trained / "plan.json").read_bytes()
    result = run("train", field, "--out", trained, "--recipe", "tiny")
    assert result.exit_code == 2
    assert "--resume" in result.stderr
    assert (trained / "plan.json").read_bytes() == before


def test_diagnose_writes_everything_and_goes_on_past_a_broken_photo(
    field: Path, trained: Path, tmp_path: Path
) -> None:
    photos = sorted((field / "photos").iterdir())[:3]
    broken = tmp_path / "broken.jpg"
    broken.write_text("no photo")
    files = {name: tmp_path / f"answers.{name}" for name in ("csv", "html")}
    result = run(
        "diagnose", trained, photos[0], broken, *photos[1:], "--json",
        "--csv", files["csv"], "--html", files["html"], "--overlay", tmp_path / "pictures",
    )  # fmt: skip
    assert result.exit_code == 1, result.output + result.stderr
    assert "broken.jpg" in result.stderr
    assert "1 of 4 photos could not be diagnosed" in result.stderr

    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(record["source"]).name for record in records] == [
        photos[0].name, "broken.jpg", *(photo.name for photo in photos[1:]),
    ]  # fmt: skip
    assert ["error" in record for record in records] == [False, True, False, False]
    assert all(0 <= record["healthy_prob"] <= 1 for record in records if "error" not in record)

    with files["csv"].open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 4
    page = files["html"].read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["']https?:""", page)
    assert all(photo.name in page for photo in photos)
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [path.name for path in pictures] == [f"{photo.stem}_diagnosis.jpg" for photo in photos]
    with Image.open(pictures[0]) as picture:
        assert min(picture.size) > 200


def test_diagnose_says_in_a_line_what_it_found(field: Path, trained: Path) -> None:
    photo = min((field / "photos").iterdir())
    result = run("diagnose", trained, photo)
    assert result.exit_code == 0, result.output + result.stderr
    assert re.search(rf"{photo.name}: .*\d+ of \d+ tiles looked at", result.stdout)


def test_diagnose_tells_of_a_missing_folder_before_it_works(
    field: Path, trained: Path, tmp_path: Path
) -> None:
    photo = min((field / "photos").iterdir())
    result = run("diagnose", trained, photo, "--csv", tmp_path / "no" / "answers.csv")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr
    assert result.stdout == ""


def test_evaluate_refuses_training_photos_and_marks_them_if_forced(
    field: Path, trained: Path
) -> None:
    refused = run("evaluate", trained, field)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    forced = run("evaluate", trained, field, "--force", "--json")
    assert forced.exit_code == 0, forced.output + forced.stderr
    notes = json.loads(forced.stdout)["notes"]
    assert any(note.startswith("FORCED") for note in notes)


def test_evaluate_on_new_photos_scores_places_and_fills_the_report(
    trained: Path, tmp_path: Path
) -> None:
    other = render(tmp_path / "other", 2)
    result = run("evaluate", trained, other, "--boxes", other / "truth" / "boxes.csv")
    assert result.exit_code == 0, result.output + result.stderr
    assert "macro" in result.stdout
    assert "Pointing game" in result.stdout
    assert "of the tiles never read" in result.stdout
    report = trained / "report.html"
    assert "data:image/" in report.read_text(encoding="utf-8")
    report.unlink()
    assert run("report", trained).exit_code == 0
    assert report.is_file()


def test_chance_of_pointing_is_the_share_of_the_area(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (400, 200), "green").save(tmp_path / "photos" / f"{name}.jpg")
    (tmp_path / "labels.csv").write_text("image,labels\nphotos/a.jpg,rust\nphotos/b.jpg,healthy\n")
    boxes = tmp_path / "boxes.csv"
    # A box that covers the left half: with the tolerance of 15 px, 215 of 400 columns are hits.
    boxes.write_text("image,x_px,y_px,width_px,height_px\nphotos/a.jpg,0,0,200,200\n")
    chance = pointing_chance(tmp_path, boxes, 0, points=4000)
    assert chance == pytest.approx(215 / 400, abs=0.03)
