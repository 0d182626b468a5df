"""The folder of an exported model: whole, or not there."""

import json
from pathlib import Path

import pytest

from leafscout.errors import InputError
from leafscout.export.folder import holds_export, new_folder
from leafscout.manifest import MANIFEST_NAME


def write_export(folder: Path, *, content: str = "graph") -> None:
    (folder / "scout.onnx").write_text(content)
    values = {"files": {"scout.onnx": "0"}, "export": {"runtime": "onnxruntime"}}
    (folder / MANIFEST_NAME).write_text(json.dumps(values))


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_what_is_written_appears_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "onnx"
    with new_folder(out) as folder:
        write_export(folder)
        assert not out.exists()
        assert folder.parent == out.parent, "a rename within one file system"
    assert names(tmp_path) == [
        "deep",
        "deep/onnx",
        "deep/onnx/manifest.json",
        "deep/onnx/scout.onnx",
    ]
    assert holds_export(out)


@pytest.mark.parametrize("error", [InputError, OSError, KeyboardInterrupt])
def test_what_goes_wrong_leaves_nothing(error: type[BaseException], tmp_path: Path) -> None:
    def fail() -> None:
        with new_folder(tmp_path / "deep" / "onnx") as folder:
            write_export(folder)
            raise error("stopped")

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == []


def test_an_earlier_export_is_replaced_as_a_whole(tmp_path: Path) -> None:
    out = tmp_path / "onnx"
    out.mkdir()
    write_export(out, content="old")
    (out / "expert.onnx").write_text("not in the manifest")
    with (
        pytest.raises(InputError, match=r"onnx exists and is not an earlier export"),
        new_folder(out),
    ):
        pass
    (out / "expert.onnx").unlink()
    with new_folder(out) as folder:
        write_export(folder, content="new")
        assert (out / "scout.onnx").read_text() == "old"
    assert (out / "scout.onnx").read_text() == "new"
    assert names(tmp_path) == ["onnx", "onnx/manifest.json", "onnx/scout.onnx"]


@pytest.mark.parametrize("what", ["a file", "other files", "a run", "a broken manifest"])
def test_nothing_else_is_written_over(what: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if what == "a file":
        out.write_text("mine")
    else:
        out.mkdir()
        text = {"a run": '{"files": {}, "export": null}', "a broken manifest": "{"}.get(what, "")
        (out / ("notes.txt" if what == "other files" else MANIFEST_NAME)).write_text(text)
    before = names(tmp_path)
    with pytest.raises(InputError, match=r"out exists and is not an earlier"), new_folder(out):
        pass
    assert names(tmp_path) == before


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "onnx"
    sentence = r"folder .*onnx cannot be written \(.*\)\. Choose another one with --out"
    with pytest.raises(InputError, match=sentence), new_folder(out):
        pass
    assert names(tmp_path) == ["file"]
