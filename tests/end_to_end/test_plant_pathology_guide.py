"""Every command of the guide to Plant Pathology 2021, on a miniature of the data."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from leafscout.cli import app
from leafscout.photos.plant_pathology import STRINGS
from leafscout.training.history import TrainingLog, read_history, write_log

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "plant-pathology-2021.md"
SMALL = ["--set", "batch=8", "--threads", "1", "--workers", "1", "--set", "photo_px=64"]


def read_commands() -> list[list[str]]:
    """The commands of the guide, in order."""
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    assert all(line.startswith("leafscout ") for line in lines)
    return [shlex.split(line)[1:] for line in lines]


def shrink(command: list[str]) -> list[str]:
    """The same command with a network and a training that take seconds."""
    if command[0] != "train":
        return command
    small = list(command)
    small[small.index("--recipe") + 1] = f"small_{small[small.index('--recipe') + 1]}"
    if "--epochs" in small:
        del small[small.index("--epochs") : small.index("--epochs") + 2]
    return [*small, "--epochs", "1", *SMALL]


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((96, 72), Image.Resampling.BICUBIC).save(path, quality=95)


def write_data(folder: Path) -> None:
    """Both folders in the layout of the competitions."""
    data = folder / "plant-pathology-2021-fgvc8"
    rows = ["image,labels"]
    for index, text in enumerate(STRINGS * 4):
        draw(data / "train_images" / f"{index:016x}.jpg", index)
        rows.append(f"{index:016x}.jpg,{text}")
    (data / "train.csv").write_text("\n".join(rows) + "\n")
    (data / "sample_submission.csv").write_text("image,labels\nff.jpg,healthy\n")
    draw(data / "test_images" / "ff.jpg", 999)
    older = folder / "plant-pathology-2020-fgvc7"
    names = ("healthy", "multiple_diseases", "rust", "scab")
    lines = ["image_id," + ",".join(names)]
    for index in range(24):
        draw(older / "images" / f"Train_{index}.jpg", 2000 + index)
        lines.append(f"Train_{index}," + ",".join(str(int(index % 4 == at)) for at in range(4)))
    (older / "train.csv").write_text("\n".join(lines) + "\n")
    (older / "test.csv").write_text("image_id\nTest_0\n")


def test_the_guide_trains_with_the_settings_of_the_experiment() -> None:
    trained = {command[4 + command[4:].index("--recipe") + 1]: command for command in
               (one for one in read_commands() if one[0] == "train")}  # fmt: skip
    assert set(trained) == {"efficientnet", "eva_stn", "arc_psa_swin"}
    assert all("oversample=complex:6" in command for command in trained.values())
    assert "schedule=plateau" in trained["eva_stn"]
    assert "loss=focal" in trained["arc_psa_swin"]
    for command in read_commands():
        if command[0] == "evaluate":
            assert command[2] == "tables"


@pytest.mark.slow
def test_every_command_of_the_guide_runs_on_a_miniature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    for command in read_commands():
        result = CliRunner().invoke(app, shrink(command))
        assert result.exit_code == 0, f"{shlex.join(command)}\n{result.output}"
    tables = (tmp_path / "tables" / "train.csv").read_text().splitlines()
    assert tables[0] == "images,scab,healthy,frog_eye_leaf_spot,rust,complex,powdery_mildew"
    for name in ("efficientnet", "eva_stn", "arc_psa_swin"):
        run = tmp_path / "runs" / name
        found = json.loads((run / "evaluation.json").read_text())
        assert set(found["alternatives"]) == {"f1", "looks=flips", "looks=flips, f1"}
        assert {row["count"] for row in found["by_count"]} <= {0, 1, 2, 3}
        assert (run / "report.html").is_file()
        assert list((tmp_path / "why" / name).glob("*_explanation.json"))
    log = write_log(TrainingLog(read_history(run / "history.csv"), planned=1))
    assert re.search(r"Val Loss: .* \| Val F1: .* \| Val mAP: .* \| Val Acc: ", log)
    test_photos = len((tmp_path / "tables" / "test.csv").read_text().splitlines()) - 1
    assert found["labels"]["photos"] == test_photos
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 2
