"""``leafscout diagnose`` on many photos: stopped and resumed, it ends with the same files."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from leafscout.cli import app
from leafscout.inference import many
from leafscout.reports.journal import journal_path


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], prog_name="leafscout")


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def stop_after(monkeypatch: pytest.MonkeyPatch, photos: int) -> None:
    answer, given = many._answer, 0

    def stop(*args: object) -> object:
        nonlocal given
        given += 1
        if given > photos:
            raise KeyboardInterrupt
        return answer(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(many, "_answer", stop)


def test_stopped_and_resumed_ends_the_same(
    untrained_run: Path, used_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    results = []
    for folder in (whole, parts):
        folder.mkdir()
    given = [used_photos, tmp_path / "gone.jpg"]

    def command(folder: Path, *more: str) -> Result:
        return run(
            "diagnose", untrained_run, *given, "--json", "--workers", "1",
            "--csv", folder / "a.csv", "--jsonl", folder / "a.jsonl",
            "--overlay", folder / "pictures", *more,
        )  # fmt: skip

    results.append(command(whole))
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        stopped = command(parts)
    assert stopped.exit_code == 130
    assert len(stopped.stdout.splitlines()) == 3
    assert journal_path(parts / "a.jsonl").exists()
    assert not (parts / "a.csv").exists()
    assert not (parts / "a.jsonl").exists()

    refused = command(parts)
    assert refused.exit_code == 2
    assert "--resume" in refused.stderr

    results.append(command(parts, "--resume"))
    assert "3 of 9 photos were diagnosed before" in results[1].stderr
    assert len(results[1].stdout.splitlines()) == 6
    for result, folder in zip(results, (whole, parts), strict=True):
        assert result.exit_code == 1, "one photo is missing"
        assert "1 of 9 photos could not be diagnosed" in result.stderr
        assert not journal_path(folder / "a.jsonl").exists()
    assert read_rows(parts / "a.csv") == read_rows(whole / "a.csv")
    assert len(read_rows(whole / "a.csv")) == 9
    sources = [
        [json.loads(line)["source"] for line in (folder / "a.jsonl").read_text().splitlines()]
        for folder in (whole, parts)
    ]
    assert (
        sources[0] == sources[1] == [str(p) for p in [*sorted(used_photos.glob("*.png")), given[1]]]
    )
    pictures = [
        sorted(p.name for p in (folder / "pictures").iterdir()) for folder in (whole, parts)
    ]
    assert pictures[0] == pictures[1]
    assert len(pictures[0]) == 8


def test_resume_needs_a_file_and_no_page(untrained_run: Path, used_photos: Path) -> None:
    alone = run("diagnose", untrained_run, used_photos, "--resume")
    assert alone.exit_code == 2
    assert "name it with --csv or --jsonl" in alone.stderr
    page = run(
        "diagnose", untrained_run, used_photos, "--resume", "--csv", used_photos / "a.csv",
        "--html", used_photos / "a.html",
    )  # fmt: skip
    assert page.exit_code == 2
    assert "Leave out --html or --resume" in page.stderr
    assert not journal_path(used_photos / "a.csv").exists()


def test_answers_of_another_model_are_not_mixed(
    untrained_run: Path, used_photos: Path, tmp_path: Path
) -> None:
    target = tmp_path / "a.csv"
    journal_path(target).write_text('{"journal": 1, "depends_on": "another"}\n')
    result = run("diagnose", untrained_run, used_photos, "--csv", target, "--resume")
    assert result.exit_code == 2
    assert "answers of another model" in result.stderr
