"""The command line from outside: what it refuses, what it says, and with which exit code."""

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

import leafscout
from leafscout.cli import app, diagnose_command, failures, options
from leafscout.errors import InputError

MISTAKE, STOPPED = 2, 130


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], prog_name="leafscout")


def words(result: Result) -> str:
    """Everything said, without line breaks and frames: the terminal's width does not matter."""
    return " ".join((result.output + result.stderr).replace("│", " ").split())


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """A folder per class with ten photos each."""
    generator = np.random.default_rng(0)
    for label in ("rust", "healthy"):
        folder = tmp_path / "data" / label
        folder.mkdir(parents=True)
        for index in range(10):
            coarse = generator.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse).resize((160, 128), Image.Resampling.BICUBIC)
            picture.save(folder / f"{label}_{index}.jpg", quality=90)
    return tmp_path / "data"


class TestValues:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("90s", 90), ("20m", 1200), ("1h30m", 5400), ("1.5h", 5400), ("1h1m1s", 3661)],
    )
    def test_durations(self, text: str, seconds: float) -> None:
        assert options.parse_duration(text) == seconds

    @pytest.mark.parametrize("text", ["", "20", "m", "0s", "-5m", "30m1h", "1.5.0h", "soon"])
    def test_bad_durations_say_what_is_expected(self, text: str) -> None:
        with pytest.raises(typer.BadParameter, match="such as 90s, 20m or 1h30m, but got"):
            options.parse_duration(text)

    @pytest.mark.parametrize("text", ["4000x3000", "4000X3000", "4000×3000", " 4000 x 3000 "])
    def test_sizes_name_the_width_first(self, text: str) -> None:
        assert options.parse_size(text) == options.PhotoSize(height_px=3000, width_px=4000)

    @pytest.mark.parametrize("text", ["4000", "x", "4000x", "4000x3000x2", "-4x3", "4.5x3"])
    def test_bad_sizes_say_what_is_expected(self, text: str) -> None:
        with pytest.raises(typer.BadParameter, match="such as 4000x3000, but got"):
            options.parse_size(text)


class TestMistakes:
    def test_unknown_command_suggests_the_nearest(self) -> None:
        result = run("chek")
        assert result.exit_code == MISTAKE
        assert "No such command 'chek'" in words(result)
        assert "check" in words(result)

    def test_unknown_option_suggests_the_nearest(self, tmp_path: Path) -> None:
        result = run("train", tmp_path, "--recpe", "tiny")
        assert result.exit_code == MISTAKE
        assert "--recpe" in words(result)
        assert "--recipe" in words(result)

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (("train", "x", "--out", "y", "--time", "20"), "such as 90s, 20m or 1h30m"),
            (("synth", "x", "--size", "4000"), "such as 4000x3000"),
            (("synth", "x", "--preset", "moon"), "moon"),
            (("train", "x"), "--out"),
            (("diagnose", "x"), "photos"),
        ],
    )
    def test_bad_values_exit_with_2(self, args: tuple[str, ...], said: str) -> None:
        result = run(*args)
        assert result.exit_code == MISTAKE
        assert said in words(result).lower()

    @pytest.mark.parametrize(
        "args",
        [
            ("check", "nowhere"),
            ("split", "nowhere", "--out", "parts"),
            ("train", "nowhere", "--out", "run", "--recipe", "tiny"),
            ("evaluate", "nowhere", "nowhere"),
            ("report", "nowhere"),
        ],
    )
    def test_a_missing_folder_is_named(
        self, args: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        result = run(*args)
        # `check` reports what would stop a training instead of stopping itself.
        assert result.exit_code in ({1, MISTAKE} if args[0] == "check" else {MISTAKE})
        assert "nowhere" in words(result)
        assert "Traceback" not in words(result)
        assert list(tmp_path.iterdir()) == []

    def test_an_unknown_recipe_is_refused_with_the_known_ones(
        self, photo_folder: Path, tmp_path: Path
    ) -> None:
        result = run("train", photo_folder, "--out", tmp_path / "run", "--recipe", "tinny")
        assert result.exit_code == MISTAKE
        assert "tinny" in words(result)
        assert "Did you mean tiny" in words(result)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (("--stages", "joint,expert"), "Expected the stages to begin with expert"),
            (("--stages", "expert,scout,jiont"), "no stage called 'jiont'. Did you mean joint?"),
            (("--set", "tiles_bst=8"), "no setting called 'tiles_bst'. Did you mean tiles_best"),
            (("--set", "tiles_best=some"), "tiles_best to be a number, but got 'some'"),
            (("--set", "tiles_best"), "a name and a value such as tiles_best=8"),
            (("--set", "epochs=3", "--set", "epochs=4"), "--set names epochs twice"),
        ],
    )
    def test_wrong_settings_of_a_recipe_are_named(
        self, photo_folder: Path, tmp_path: Path, given: tuple[str, ...], said: str
    ) -> None:
        result = run("train", photo_folder, "--out", tmp_path / "run", "--recipe", "tiny", *given)
        assert result.exit_code == MISTAKE
        assert said in words(result)
        assert not (tmp_path / "run").exists()

    def test_the_demo_renders_nothing_for_a_wrong_setting(self, tmp_path: Path) -> None:
        result = run("demo", "--out", tmp_path / "demo", "--set", "best_tile_dropuot=0.2")
        assert result.exit_code == MISTAKE
        assert "Did you mean best_tile_dropout" in words(result)
        assert not (tmp_path / "demo").exists()

    def test_settings_reach_the_recipe(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: dict[str, Any] = {}

        def note(*_: Any, overrides: dict[str, Any], **__: Any) -> None:
            asked.update(overrides)
            raise KeyboardInterrupt

        monkeypatch.setattr("leafscout.training.run.train", note)
        run(
            "train", tmp_path, "--out", tmp_path / "run", "--exclusive", "--stages",
            "expert,scout,joint", "--set", "tiles_best=8", "--set", "keep_recall = .9", "--set",
            "context_pooling=graph",
        )  # fmt: skip
        assert asked["exclusive"] is True
        assert asked["stages"] == "expert,scout,joint"
        wanted = {"tiles_best": 8, "keep_recall": 0.9, "context_pooling": "graph"}
        assert {name: asked[name] for name in wanted} == wanted

    def test_a_folder_in_use_is_not_rendered_over(self, tmp_path: Path) -> None:
        (tmp_path / "kept.txt").write_text("mine")
        result = run("synth", tmp_path, "--photos", "1", "--size", "200x200")
        assert result.exit_code == MISTAKE
        assert str(tmp_path) in "".join((result.output + result.stderr).split("\n"))
        assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]

    def test_an_unwritable_place_is_a_sentence(self, tmp_path: Path) -> None:
        # Nothing can be made below a file, whoever asks.
        (tmp_path / "file").write_text("")
        out = tmp_path / "file" / "field"
        result = run("synth", out, "--photos", "1", "--size", "200x200", "--workers", "1")
        assert result.exit_code == MISTAKE
        assert str(out) in result.stderr
        assert isinstance(result.exception, SystemExit)


class TestFailures:
    """Whatever a command meets on its way out becomes a sentence and an exit code."""

    def _broken_report(
        self, monkeypatch: pytest.MonkeyPatch, error: BaseException, tmp_path: Path
    ) -> Result:
        def fail(run: Path) -> Path:
            raise error

        monkeypatch.setattr("leafscout.reports.run_report.write_run_report", fail)
        return run("report", tmp_path)

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (InputError("Row 3 of a.csv is empty."), "Row 3 of a.csv is empty."),
            (OSError(errno.ENOSPC, "No space left on device"), "The disk is full"),
            (PermissionError(errno.EACCES, "Permission denied", "run/a"), "run/a cannot be read"),
            (OSError(errno.EROFS, "Read-only file system", "run/a"), "choose another place"),
            (MemoryError(), "There is not enough memory"),
            (ModuleNotFoundError("no", name="torch.nn"), 'pip install "leafscout[train]"'),
        ],
    )
    def test_expected_failures(
        self,
        error: Exception,
        said: str,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        result = self._broken_report(monkeypatch, error, tmp_path)
        assert result.exit_code == MISTAKE
        assert said in result.stderr
        assert result.stderr.startswith("Error: ")
        assert result.stdout == ""

    def test_ctrl_c_exits_with_130(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        result = self._broken_report(monkeypatch, KeyboardInterrupt(), tmp_path)
        assert result.exit_code == STOPPED
        assert "Stopped." in result.stderr

    def test_a_bug_keeps_its_traceback(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        result = self._broken_report(monkeypatch, ZeroDivisionError("a bug"), tmp_path)
        assert isinstance(result.exception, ZeroDivisionError)

    def test_a_missing_package_of_ours_is_no_user_mistake(self) -> None:
        assert failures.explain_failure(ModuleNotFoundError("no", name="leafscout.x")) is None

    @pytest.mark.parametrize(("begun", "said"), [(True, "--resume"), (False, "before anything")])
    def test_a_stopped_training_says_how_to_go_on(
        self, begun: bool, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def stop(data: Path, out: Path, **_: object) -> Path:
            if begun:
                out.mkdir()
                (out / "plan.json").write_text("{}")
            raise KeyboardInterrupt

        monkeypatch.setattr("leafscout.training.run.train", stop)
        result = run("train", tmp_path, "--out", tmp_path / "run")
        assert result.exit_code == STOPPED
        assert said in result.stderr


class TestLooking:
    def test_synth_renders_what_was_asked(self, tmp_path: Path) -> None:
        out = tmp_path / "field"
        result = run(
            "synth", out, "--photos", "3", "--size", "320x240", "--seed", "5", "--workers", "1"
        )
        assert result.exit_code == 0, words(result)
        photos = sorted((out / "photos").iterdir())
        assert len(photos) == 3
        with Image.open(photos[0]) as image:
            assert image.size == (320, 240)
        assert (out / "labels.csv").read_text().splitlines()[0] == "image,labels"

    def test_check_passes_good_photos_and_prints_json(self, photo_folder: Path) -> None:
        result = run("check", photo_folder, "--json")
        assert result.exit_code == 0, words(result)
        assert isinstance(json.loads(result.stdout), dict)

    def test_check_exits_with_1_and_names_the_broken_photo(self, photo_folder: Path) -> None:
        broken = photo_folder / "rust" / "rust_0.jpg"
        broken.write_bytes(broken.read_bytes()[:500])
        result = run("check", photo_folder)
        assert result.exit_code == 1
        assert "rust_0.jpg" in words(result)

    @pytest.mark.parametrize(
        ("recipe", "side"), [("tiny", 156), ("small_vit", 128), ("small_vit", 64)]
    )
    def test_check_draws_what_a_recipe_would_see(
        self, photo_folder: Path, tmp_path: Path, recipe: str, side: int
    ) -> None:
        sheet = tmp_path / "sheet.png"
        settings = ("--set", "photo_px=64") if side == 64 else ()
        result = run("check", photo_folder, "--augmentations", sheet, "--recipe", recipe, *settings)
        assert result.exit_code == 0, words(result)
        with Image.open(sheet) as image:
            assert image.size == (7 * (side + 4), 6 * (side + 4))

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (("--recipe", "small_vit"), "Add --augmentations FILE, or leave --recipe out"),
            (("--set", "light=0.1"), "Name one with --recipe, or leave --set out"),
            (("--augmentations", "s.png", "--set", "light=0.1"), "Name one with --recipe"),
            (("--augmentations", "s.png", "--recipe", "small_vt"), "Did you mean small_vit"),
            (
                ("--augmentations", "s.png", "--recipe", "small_vit", "--set", "colour=1"),
                "no setting called 'colour'",
            ),
        ],
    )
    def test_check_names_what_cannot_be_drawn(
        self, photo_folder: Path, args: tuple[str, ...], said: str
    ) -> None:
        result = run("check", photo_folder, *args)
        assert result.exit_code == MISTAKE
        assert said in words(result)
        assert not Path("s.png").exists()

    def test_split_keeps_copies_together(self, photo_folder: Path, tmp_path: Path) -> None:
        for index in range(10):
            with Image.open(photo_folder / "rust" / f"rust_{index}.jpg") as image:
                image.save(photo_folder / "rust" / f"copy_{index}.jpg", quality=60)
        out = tmp_path / "parts"
        result = run("split", photo_folder, "--out", out, "--val-frac", "0.3")
        assert result.exit_code == 0, words(result)
        sides = {name: (out / f"{name}.csv").read_text() for name in ("train", "val")}
        for index in range(10):
            together = {
                name
                for name, text in sides.items()
                for stem in ("rust", "copy")
                if f"{stem}_{index}.jpg" in text
            }
            assert len(together) == 1

    def test_split_leaves_files_that_are_there(self, photo_folder: Path, tmp_path: Path) -> None:
        (tmp_path / "test.csv").write_text("mine")
        result = run("split", photo_folder, "--out", tmp_path)
        assert result.exit_code == MISTAKE
        assert "test.csv is there already" in words(result)
        assert (tmp_path / "test.csv").read_text() == "mine"
        assert not (tmp_path / "train.csv").exists()


class TestFindingPhotos:
    def test_files_folders_and_patterns_each_photo_once(self, photo_folder: Path) -> None:
        rust = photo_folder / "rust"
        given = [str(rust / "rust_3.jpg"), str(rust), str(photo_folder / "*" / "*_1.jpg")]
        found = diagnose_command.find_photos(given)
        assert found[0] == rust / "rust_3.jpg"
        assert len(found) == len(set(found)) == 11
        assert photo_folder / "healthy" / "healthy_1.jpg" in found

    def test_nothing_found_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="holds no photos"):
            diagnose_command.find_photos([str(tmp_path)])
        with pytest.raises(InputError, match="No file fits the pattern"):
            diagnose_command.find_photos([str(tmp_path / "*.jpg")])

    def test_a_name_with_brackets_is_a_file_where_there_is_one(self, tmp_path: Path) -> None:
        path = tmp_path / "leaf[1].jpg"
        path.write_bytes(b"")
        assert diagnose_command.find_photos([str(path)]) == [path]


LOADED = """
import sys
from typer.testing import CliRunner
from leafscout.cli import app
result = CliRunner().invoke(app, sys.argv[1:])
print(result.exit_code, *sorted({"torch", "timm", "torchvision"} & set(sys.modules)))
"""


@pytest.mark.parametrize("command", ["--help", "check", "synth", "split", "train --help"])
def test_torch_is_not_imported(command: str, photo_folder: Path, tmp_path: Path) -> None:
    more = {
        "check": [str(photo_folder)],
        "split": [str(photo_folder), "--out", str(tmp_path / "parts")],
        "synth": [str(tmp_path / "f"), "--photos", "1", "--size", "200x200", "--workers", "1"],
    }
    args = [*command.split(), *more.get(command, [])]
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *args], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0"]


def test_the_installed_command_is_the_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "leafscout", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"leafscout {leafscout.__version__}"


def test_a_free_folder_is_not_taken_twice(tmp_path: Path) -> None:
    assert leafscout.free_folder(tmp_path / "runs") == tmp_path / "runs"
    for name in ("runs", "runs-2"):
        (tmp_path / name).mkdir()
    assert leafscout.free_folder(tmp_path / "runs") == tmp_path / "runs-3"


@pytest.mark.parametrize(("option", "given"), [("--loss", "1.5"), ("--confidence", "1")])
def test_a_promise_names_the_option_that_is_out_of_range(
    option: str, given: str, photo_folder: Path, tmp_path: Path
) -> None:
    result = run("promise", tmp_path, photo_folder, option, given)
    assert result.exit_code == MISTAKE
    assert f"Expected {option} to be between 0 and 1, both excluded, but got {given}" in words(
        result
    )
