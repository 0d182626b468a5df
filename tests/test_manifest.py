"""The manifest: it comes back as it went in, and nothing else is accepted for it."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from leafscout.errors import InputError
from leafscout.glance.familiarity import FEATURES, Familiarity, fit_familiarity
from leafscout.manifest import (
    MANIFEST_NAME,
    MANIFEST_VERSION,
    ChoiceEntry,
    FamiliarityEntry,
    Manifest,
    read_manifest,
    seal_manifest,
    sha256_of,
)

WEIGHTS = bytes(range(256)) * 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "expert.safetensors").write_bytes(WEIGHTS)
    manifest = make_manifest(tmp_path)
    (tmp_path / MANIFEST_NAME).write_bytes(seal_manifest(manifest))
    return tmp_path


def make_manifest(folder: Path) -> Manifest:
    return Manifest(
        version=MANIFEST_VERSION,
        leafscout="0.1.0",
        labels=("rust", "mehltau_ä"),
        expert="tiny",
        scout="tiny",
        tile_px=128,
        glance_px=384,
        pooling="log_sum_exp",
        choice=ChoiceEntry(
            threshold_prob=0.1 + 0.2, max_tiles=7, suspicion_prob=0.5, suspicion_tiles=2
        ),
        glance_weights=(0.3, 0.3),
        calibration_scale=(1.1, 0.9),
        calibration_shift=(0.0, -0.1),
        thresholds=(0.5, 1 / 3),
        thresholds_fitted=(True, False),
        expert_macs=10,
        scout_macs_per_px=1.5,
        scout_stride=16,
        place_stride=32,
        place_offset_px=-15.5,
        data_fingerprint="00",
        files={"expert.safetensors": sha256_of(folder / "expert.safetensors")},
    )


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder / MANIFEST_NAME
    values = json.loads(path.read_text(encoding="utf-8"))
    edit(values)
    path.write_text(json.dumps(values), encoding="utf-8")
    if values["version"] == MANIFEST_VERSION:
        with contextlib.suppress(ValidationError):  # what is invalid can be written all the same
            path.write_bytes(seal_manifest(Manifest.model_validate(values)))


def test_it_comes_back_as_it_went_in(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest.model_copy(update={"digest": ""}) == make_manifest(folder)
    rules = manifest.rules()
    assert rules.choice.threshold_prob == 0.1 + 0.2
    assert rules.thresholds == (0.5, 1 / 3)
    assert rules.calibration.scale == (1.1, 0.9)
    assert rules.labels == ("rust", "mehltau_ä")


def test_a_changed_byte_in_the_weights_is_refused(folder: Path) -> None:
    changed = bytearray(WEIGHTS)
    changed[500] ^= 1
    (folder / "expert.safetensors").write_bytes(changed)
    with pytest.raises(InputError, match=r"expert\.safetensors is missing or was changed"):
        read_manifest(folder)


def test_missing_weights_are_refused(folder: Path) -> None:
    (folder / "expert.safetensors").unlink()
    with pytest.raises(InputError, match=r"expert\.safetensors is missing or was changed"):
        read_manifest(folder)


def test_no_manifest_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no trained model in .*--resume"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("version", [0, MANIFEST_VERSION + 1, "1", None])
def test_another_version_is_refused(folder: Path, version: object) -> None:
    change(folder, lambda values: values.update(version=version))
    with pytest.raises(InputError, match=f"has version {version}, but this LeafScout reads"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "name", ["../expert.safetensors", "/etc/hostname", "sub/expert.safetensors", "..", ""]
)
def test_files_outside_the_folder_are_refused(folder: Path, name: str) -> None:
    digest = sha256_of(folder / "expert.safetensors")
    (folder.parent / "expert.safetensors").write_bytes(WEIGHTS)
    change(folder, lambda values: values.update(files={name: digest}))
    with pytest.raises(InputError, match=r"outside its folder|is missing or was changed"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        ({"tile_px": "wide"}, "is damaged: tile_px: .*integer"),
        ({"surprise": 1}, "is damaged: surprise: Extra inputs"),
        ({"thresholds": [0.5]}, "is damaged: .*one value a label in thresholds"),
        ({"pooling": "median"}, "is damaged: .*no pooling called 'median'"),
    ],
)
def test_damaged_values_are_named(folder: Path, edit: dict[str, Any], sentence: str) -> None:
    change(folder, lambda values: values.update(edit))
    with pytest.raises(InputError, match=sentence):
        read_manifest(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b"[1]"])
def test_what_is_not_a_manifest_is_refused(folder: Path, content: bytes) -> None:
    (folder / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(InputError, match=r"is damaged|has version None"):
        read_manifest(folder)


def test_labels_that_exclude_each_other_come_back_so(folder: Path) -> None:
    assert not read_manifest(folder).rules().calibration.exclusive
    change(folder, lambda values: values.update(exclusive=True))
    assert read_manifest(folder).rules().calibration.exclusive


def test_a_promise_comes_back_and_binds_the_choice_it_was_made_for(folder: Path) -> None:
    choice = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))["choice"]
    promise = {
        "loss_frac": 0.05, "confidence": 0.95, "per_label": False, "words": "It is promised.",
        "choice": choice, "choice_before": {**choice, "max_tiles": 9},
    }  # fmt: skip
    change(folder, lambda values: values.update(promise=promise))
    read = read_manifest(folder).promise
    assert read is not None
    assert (read.words, read.choice_before.max_tiles) == ("It is promised.", 9)
    change(folder, lambda values: values["choice"].update(threshold_prob=0.9))
    with pytest.raises(InputError, match="the promise was made for another choice of tiles"):
        read_manifest(folder)


def look_of_photos(labels: int = 2) -> FamiliarityEntry:
    rng = np.random.default_rng(0)
    found = fit_familiarity(
        rng.standard_normal((30, FEATURES)), rng.standard_normal((10, FEATURES)),
        np.full(labels, 0.25), view_px=384,
    )  # fmt: skip
    assert found is not None
    return FamiliarityEntry(**vars(found))


def test_what_photos_look_like_comes_back_to_the_bit_and_may_be_missing(folder: Path) -> None:
    assert read_manifest(folder).rules().familiarity is None
    entry = look_of_photos()
    sealed = seal_manifest(make_manifest(folder).model_copy(update={"familiarity": entry}))
    (folder / MANIFEST_NAME).write_bytes(sealed)
    rules = read_manifest(folder).rules()
    assert rules.familiarity == Familiarity(**entry.model_dump())
    view = np.random.default_rng(1).integers(0, 256, (256, 384, 3), dtype=np.uint8)
    assert rules.measure_strangeness(view) == Familiarity(**entry.model_dump()).measure(view) > 0


@pytest.mark.parametrize(
    "edit",
    [
        {"prior": (0.25,)},
        {"prior": (0.25, 1.25)},
        {"limit": 0.0},
        {"spread": (0.0,) * FEATURES},
        {"centre": (0.0,)},
        {"precision": (1.0,) * FEATURES},
    ],
)
def test_a_look_of_photos_that_makes_no_sense_is_refused(
    folder: Path, edit: dict[str, Any]
) -> None:
    values = {**look_of_photos().model_dump(), **edit}
    change(folder, lambda manifest: manifest.update({"familiarity": values}))
    with pytest.raises(InputError, match=r"is damaged: .*(familiarity|Value error)"):
        read_manifest(folder)
