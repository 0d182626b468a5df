"""The project keeps what its documents promise."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from leafscout.cli import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.fixture(scope="module")
def maps() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_maps", ROOT / "docs" / "write_maps.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("page", "deep"), [("README.md", False), ("docs/architecture.md", True)])
def test_maps_match_the_disk(maps: ModuleType, page: str, deep: bool) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    drawn = maps.draw_map(deep=deep)
    assert drawn in text, f"The map in {page} is old: run `make docs`."
    if deep:
        shown = re.findall(r"^ +(\S+?)/? ", drawn, flags=re.MULTILINE)
        modules = [
            path
            for path in (ROOT / "src" / "leafscout").rglob("*.py")
            if path.name != "__init__.py"
        ]
        assert sorted(name for name in shown if name.endswith(".py")) == sorted(
            path.name for path in modules
        )


def test_every_module_has_a_line_in_the_map(maps: ModuleType) -> None:
    for line in maps.draw_map(deep=True).splitlines()[2:-1]:
        assert len(line.split()) > 2, f"No docstring: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_paths_that_contributing_names_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = [line for line in text.splitlines() if line.startswith("| ")]
    named = {name for line in table for name in re.findall(r"`([a-z_]+/[a-z_./]*)`", line)}
    assert named
    for name in named:
        assert (ROOT / "src" / "leafscout" / name).exists(), name


def test_the_readme_lists_exactly_the_commands_there_are() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `leafscout (\w+)", text, flags=re.MULTILINE)
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert sorted(listed) == sorted(names)


def test_the_makefile_lists_its_targets_and_the_readme_names_some_of_them() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*##", makefile, flags=re.MULTILINE))
    assert targets >= {"setup", "demo", "test", "check", "bench", "docs", "help"}
    for page in PAGES:
        for target in re.findall(r"`?make ([a-z-]+)\b(?=`|   )", page.read_text(encoding="utf-8")):
            assert target in targets, f"{page.name} names make {target}"


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
class TestRequirements:
    def test_every_package_is_pinned_with_hashes_and_no_host(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert "://" not in text
        entries = re.split(r"\n(?=\S)", text.strip())
        for entry in entries:
            assert re.match(r"[a-z0-9._-]+==[^\s;]+", entry), entry[:80]
            assert "--hash=sha256:" in entry, entry[:80]
            assert not re.search(r"--(?!hash=)", entry), entry[:80]

    def test_it_holds_what_the_project_declares(self, path: Path) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        wanted = list(project["project"]["dependencies"])
        if path.stem in {"train", "dev"}:
            wanted += project["project"]["optional-dependencies"]["train"]
        if path.stem == "dev":
            wanted += project["dependency-groups"]["dev"]
        pinned = set(re.findall(r"^([a-z0-9._-]+)==", path.read_text(), flags=re.MULTILINE))
        assert {re.split(r"[<>=\[]", name)[0].lower() for name in wanted} <= pinned
        assert ("torch" in pinned) == (path.stem != "base")


def test_three_requirement_files() -> None:
    assert [path.stem for path in REQUIREMENTS] == ["base", "dev", "train"]


SKIPPING = """
import pytest

@pytest.mark.real_photos
def test_marked():
    pytest.skip("none here")

def test_by_fixture(real_data):
    pass

def test_other_reason():
    pytest.skip("another reason")

@pytest.mark.real_photos
@pytest.mark.xfail(reason="known")
def test_known():
    raise ValueError
"""


@pytest.mark.parametrize(("required", "failed", "skipped"), [("1", 1, 1), ("", 0, 3)])
def test_a_skipped_real_photo_test_fails_where_data_are_required(
    required: str, failed: int, skipped: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_skipping.py").write_text(SKIPPING)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = real_photos: photos\n")
    monkeypatch.setenv("LEAFSCOUT_REQUIRE_DATA", required)
    monkeypatch.delenv("LEAFSCOUT_DATA", raising=False)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    summary = done.stdout.splitlines()[-1]
    assert f"{skipped} skipped" in summary
    assert "1 xfailed" in summary
    assert (f"{failed} failed" in summary) == bool(failed)
    # The fixture skips before its test begins, which pytest counts as an error.
    assert ("1 error" in summary) == bool(failed)
    assert bool(done.returncode) == bool(failed)


def test_imports_go_down() -> None:
    pytest.importorskip("importlinter")
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_ci_is_executable() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o100
    subprocess.run(["bash", "-n", script], check=True)


def test_tables_of_figures_match_the_results() -> None:
    done = subprocess.run(
        [sys.executable, "docs/write_tables.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
