"""The guide to exporting does what it says."""

import re
import shutil
from pathlib import Path

import pytest
from typer.main import get_command

import leafscout
from leafscout.cli import app

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "export.md"
TEXT = GUIDE.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_its_program_says_what_the_package_says(
    exported_run: Path,
    used_photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (program,) = blocks("python")
    shutil.copytree(exported_run / "exports", tmp_path / "RUN" / "exports")
    monkeypatch.chdir(tmp_path)
    model = leafscout.load(exported_run / "exports" / "onnx", threads=1)
    for index in range(3):
        # PNG bytes under this name: what a photo is, its bytes say.
        shutil.copy(used_photos / f"{index}.png", "photo.jpg")
        values: dict[str, object] = {}
        exec(compile(program, str(GUIDE), "exec"), values)  # noqa: S102
        expected = model.diagnose(tmp_path / "photo.jpg").diagnosis
        assert tuple(values["found"]) == expected.present  # type: ignore[arg-type]
        assert list(values["probs"]) == pytest.approx(list(expected.label_probs), abs=1e-6)  # type: ignore[call-overload]
        said = capsys.readouterr().out
        assert f"after reading {int(expected.read.sum())} of {len(expected.read)} tiles" in said
    assert len([line for line in program.splitlines() if line.strip()]) < 40


def test_its_commands_and_options_exist() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    named = re.findall(r"`(leafscout [^`]*)`", TEXT)
    for line in lines + named:
        words = line.partition("#")[0].split()
        command = commands[words[1]]
        known = {option for one in command.params for option in one.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_what_it_says_of_the_files_is_so(exported_run: Path) -> None:
    import onnxruntime

    for name in ("scout", "expert"):
        session = onnxruntime.InferenceSession(
            str(exported_run / "exports" / "onnx" / f"{name}.onnx"),
            providers=["CPUExecutionProvider"],
        )
        (row,) = [line for line in TEXT.splitlines() if line.startswith(f"| `{name}.onnx`")]
        given, found = row.split("→")
        assert f"`{session.get_inputs()[0].name}`" in given
        assert [f"`{one.name}`" for one in session.get_outputs()] == re.findall(r"`\w+`", found)
