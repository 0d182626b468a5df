"""The command line of teacher and student: what it hands on, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from leafscout.cli import app

MISTAKE = 2


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], prog_name="leafscout")


def test_every_option_reaches_the_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def note(data: Path, out: Path, **given: Any) -> Path:
        seen.update(given)
        raise KeyboardInterrupt

    monkeypatch.setattr("leafscout.training.run.train", note)
    run(
        "train", tmp_path, "--out", tmp_path / "run", "--teacher", tmp_path / "teacher",
        "--teacher-kind", "photo", "--distil", "offline", "--soft-labels", "photo+tile",
        "--temperature", "3", "--soft-weight", "0.4", "--features", "mse",
        "--attention-transfer", "5", "--unlabelled", tmp_path / "more",
    )  # fmt: skip
    options, overrides = seen["options"], seen["overrides"]
    assert options.teacher == tmp_path / "teacher"
    assert options.teacher_kind == "photo"
    assert options.unlabelled == tmp_path / "more"
    assert {key: value for key, value in overrides.items() if key.startswith("distil_")} == {
        "distil_mode": "offline",
        "distil_levels": "photo+tile",
        "distil_temperature": 3.0,
        "distil_soft_weight": 0.4,
        "distil_features": "mse",
        "distil_attention_weight": 5.0,
    }


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--teacher", "nowhere"), "is not a run folder"),
        (("--distil", "osmosis"), "no distil_mode called 'osmosis'"),
        (("--distil", "mutual", "--soft-labels", "photo"), "need a finished teacher"),
        (("--temperature", "0"), "--temperature to be above 0"),
        (("--soft-weight", "2"), "--soft-weight from 0 to 1"),
    ],
)
def test_mistakes_are_sentences(args: tuple[str, ...], said: str, tmp_path: Path) -> None:
    result = run("train", tmp_path, "--out", tmp_path / "run", "--recipe", "tiny", *args)
    heard = " ".join((result.output + result.stderr).replace("│", " ").split())
    assert result.exit_code == MISTAKE
    assert said in heard
    assert "Traceback" not in heard
    assert not (tmp_path / "run").exists()
