"""Real photos, from files to figures. What is asserted is that it works, not how well."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from painted_field import run, said
from PIL import Image

import leafscout
from leafscout.inference.lesion_truth import read_lesion_truth, read_mask
from leafscout.inference.load import Model
from leafscout.photos.check import check_data
from leafscout.photos.decode import decode_photo, read_photo_size
from leafscout.photos.labels import LabelTable, read_labels

pytestmark = pytest.mark.real_photos


def count(table: LabelTable) -> dict[str, int]:
    found = dict(zip(table.labels, table.truth.sum(axis=0).tolist(), strict=True))
    return {**found, "healthy": int(table.healthy.sum())}


def test_labels_of_coffee(real_data: Path) -> None:
    table = read_labels(real_data / "coffee")
    assert count(table) == {"cercospora": 56, "miner": 113, "phoma": 96, "rust": 117, "healthy": 80}
    assert len(table) == 400
    assert not table.exclusive
    assert table.truth.sum(axis=1).max() == 2


def test_labels_of_rice(real_data: Path) -> None:
    table = read_labels(real_data / "rice")
    assert count(table) == {
        "bacterial_blight": 25, "blast": 33, "brown_spot": 20, "leaf_smut": 15, "healthy": 0,
    }  # fmt: skip
    assert len(table) == 93
    assert table.exclusive


def test_labels_of_apple(real_data: Path) -> None:
    table = read_labels(real_data / "apple")
    assert len(table) == 3601
    diseases = [
        " ".join(sorted(name for name, shows in zip(table.labels, row, strict=True) if shows))
        for row in table.truth
    ]
    published = Counter(diseases)
    assert len(published) == 12
    assert published["scab"] == 934
    assert published[""] == 912
    assert published["complex frog_eye_leaf_spot scab"] == 40
    assert set(table.labels) == {
        "complex", "frog_eye_leaf_spot", "powdery_mildew", "rust", "scab",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "photos"), [("coffee", 400), ("rice", 93)])
def test_check_finds_no_errors(real_data: Path, name: str, photos: int) -> None:
    report = check_data(real_data / name, workers=2)
    errors = [one.message for one in report.findings if one.severity == "error"]
    assert errors == []
    assert not report.refuses_training
    assert report.counts["photos"] == photos


def test_masks_of_coffee_are_red_on_the_leaf(real_data: Path) -> None:
    truth = read_lesion_truth(None, real_data / "coffee" / "masks")
    table = read_labels(real_data / "coffee")
    shares = []
    for name, healthy in list(zip(table.names, table.healthy, strict=True))[:12]:
        mask = truth.lesions(name, (1024, 2048))
        assert mask is not None
        leaf = np.asarray(Image.open(real_data / "coffee" / "masks" / f"{Path(name).stem}.png"))
        assert not mask[leaf[..., 1] == 176].any(), "the leaf itself is no lesion"
        assert mask.any() != healthy
        shares.append(mask.mean())
    assert 0 < np.median([share for share in shares if share]) < 0.2


def test_boxes_and_masks_of_rice_lie_in_their_photos(real_data: Path) -> None:
    rice = real_data / "rice"
    truth = read_lesion_truth(rice / "boxes.csv", rice / "masks")
    table = read_labels(rice)
    truth.check_names(table.names)
    assert len(truth.boxes) == 78
    assert len(truth.masks) == 8
    for path, name, row in zip(table.paths, table.names, table.truth, strict=True):
        boxes = truth.boxes.get(name)
        if boxes is None:
            continue
        height, width = read_photo_size(path)
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2] <= width).all()
        assert (boxes[:, 3] <= height).all()
        assert set(truth.box_labels[name]) == {
            label for label, shows in zip(table.labels, row, strict=True) if shows
        }
    for stem, path in truth.masks.items():
        mask = read_mask(path)
        photo = next(one for one in table.paths if one.stem == stem)
        assert mask.shape == read_photo_size(photo)
        assert 0 < mask.mean() < 0.5


@pytest.fixture(scope="module")
def coffee_model(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """An epoch of the ``mobile`` recipe on fifteen photos of coffee, by the command line."""
    folder = tmp_path_factory.mktemp("coffee")
    table = read_labels(real_data / "coffee")
    rows = ["image,labels"]
    wanted = Counter(dict.fromkeys(("cercospora", "miner", "phoma", "rust", "healthy"), 3))
    for name, row in zip(table.names, table.truth, strict=True):
        diseases = [label for label, shows in zip(table.labels, row, strict=True) if shows]
        kind = (diseases or ["healthy"])[0]
        if len(diseases) < 2 and wanted[kind]:
            wanted[kind] -= 1
            rows.append(f"{name},{' '.join(diseases) or 'healthy'}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    args = [
        "train", folder / "labels.csv", "--photos", real_data / "coffee" / "images",
        "--out", folder / "run", "--recipe", "mobile", "--epochs", "1", "--glance-px", "384",
        "--weights", real_data / "weights" / "mobilenetv2_100.safetensors",
        "--threads", "1", "--workers", "1",
    ]  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "leafscout", *map(str, args)],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return leafscout.load(folder / "run")


@pytest.mark.slow
def test_a_model_of_coffee_diagnoses_coffee_and_rice(
    coffee_model: Model, real_data: Path, tmp_path: Path
) -> None:
    assert set(coffee_model.labels) == {"cercospora", "miner", "phoma", "rust"}
    rice = read_labels(real_data / "rice")
    wide = next(path for path in rice.paths if read_photo_size(path) == (897, 3081))
    coffee = real_data / "coffee" / "images" / "1002.jpg"
    for path, tiles in ((coffee, 3 * 6), (wide, 3 * 9)):
        answer = coffee_model.diagnose(path)
        assert answer.diagnosis.photo_size_px_hw == decode_photo(path).size_px_hw
        assert answer.diagnosis.cost.tiles_total == tiles
        assert all(0 <= prob <= 1 for prob in answer.probs.values())
        assert np.isfinite(answer.diagnosis.lesion_map).all()
        picture = answer.draw()
        assert picture.shape[1] == 1600
        assert picture.std() > 10
    result = run(
        "diagnose", coffee_model.run, coffee, wide,
        "--html", tmp_path / "page.html", "--overlay", tmp_path / "pictures",
    )  # fmt: skip
    assert result.exit_code == 0, said(result)
    assert len(list((tmp_path / "pictures").iterdir())) == 2
    assert wide.name in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_model_of_coffee_is_scored_with_masks(coffee_model: Model, real_data: Path) -> None:
    """On eight photos that it was not trained on."""
    table = read_labels(real_data / "coffee")
    used = (coffee_model.run / "splits.csv").read_text()
    rows = [
        f"{name},{' '.join(np.array(table.labels)[row]) or 'healthy'}"
        for name, row in zip(table.names, table.truth, strict=True)
        if f"{name}," not in used
    ]
    labels = coffee_model.run.parent / "new.csv"
    labels.write_text("\n".join(["image,labels", *rows[:: len(rows) // 8][:8]]) + "\n")
    result = run(
        "evaluate", coffee_model.run, labels, "--photos", real_data / "coffee" / "images",
        "--masks", real_data / "coffee" / "masks",
    )  # fmt: skip
    assert result.exit_code == 0, said(result)
    assert "Pointing game" in said(result)
