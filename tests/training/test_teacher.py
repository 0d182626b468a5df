"""A finished run as a teacher: which runs may teach which students, and what a run says of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from leafscout.diagnosis.pooling import pool_tiles
from leafscout.errors import InputError
from leafscout.focus.expert import EXPERT_STRIDE
from leafscout.manifest import Manifest
from leafscout.networks import TorchNetworks, build_expert, build_scout, count_macs
from leafscout.nn.backbones import build_backbone
from leafscout.photos.decode import decode_photo
from leafscout.photos.fingerprint import fingerprint_many
from leafscout.photos.labels import read_labels
from leafscout.photos.tiles import cut_tiles, lay_tiles
from leafscout.training.checkpoint import load_tensors, save_checkpoint
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import choose_recipe
from leafscout.training.resized_baseline import ResizedPhotoNetwork
from leafscout.training.run import TrainOptions, train
from leafscout.training.run_folder import read_plan
from leafscout.training.teacher import (
    Teacher,
    find_unlabelled,
    hire_tutor,
    load_teacher,
    take_sizes,
)
from leafscout.training.teacher_checks import check_cost, check_photos, check_teacher

CPU = torch.device("cpu")
OPTIONS = TrainOptions(threads=1, workers=1)
SETTINGS: dict[str, Any] = {"glance_px": 128, "tiles_best": 3, "tiles_random": 2, "epochs": 1}
STUDENT: dict[str, Any] = {**SETTINGS, "expert": "tiny_narrow", "scout": "tiny_narrow"}


@pytest.fixture(scope="module")
def data(spot_writer: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spot_writer(tmp_path_factory.mktemp("photos"), 16)


@pytest.fixture(scope="module")
def teacher_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "teacher"
    return train(data, out, recipe="tiny", overrides={**SETTINGS, "tile_px": 64}, options=OPTIONS)


@pytest.fixture(scope="module")
def teacher(teacher_run: Path) -> Teacher:
    return load_teacher(teacher_run, "expert", CPU)


def student_recipe(**settings: Any) -> Any:
    return choose_recipe("tiny", {**STUDENT, "tile_px": 64, "distil_mode": "offline", **settings})


def test_a_student_is_trained_and_its_plan_names_the_teacher(
    data: Path, teacher_run: Path, tmp_path: Path
) -> None:
    options = replace(OPTIONS, teacher=teacher_run)
    out = train(data, tmp_path / "student", recipe="tiny", overrides=STUDENT, options=options)
    plan = read_plan(out)
    assert plan["recipe"]["tile_px"] == 64, "the teacher's tiles"
    assert plan["recipe"]["distil_mode"] == "offline"
    assert plan["teacher"]["kind"] == "expert"
    assert plan["teacher"]["run"] == "teacher"
    assert len(plan["teacher"]["weights_sha256"]) == 64
    again = replace(options, resume=True)
    assert train(data, out, recipe="tiny", overrides=STUDENT, options=again) == out
    path = out / "plan.json"
    path.write_text(path.read_text().replace(plan["teacher"]["weights_sha256"], "0" * 64))
    with pytest.raises(InputError, match="begun with another teacher"):
        train(data, out, recipe="tiny", overrides=STUDENT, options=again)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"expert": "tiny_wide"}, "would be dearer than its teacher"),
        ({"tile_px": 96}, "reads tiles of 64 px, but the student is to read tiles of 96 px"),
        ({"distil_mode": "self"}, "distil_mode is 'self', which needs none"),
    ],
)
def test_mistakes_are_found_before_the_run_folder_is_made(
    data: Path, teacher_run: Path, tmp_path: Path, overrides: dict[str, Any], message: str
) -> None:
    out = tmp_path / "student"
    options = replace(OPTIONS, teacher=teacher_run)
    with pytest.raises(InputError, match=message):
        train(data, out, recipe="tiny", overrides={**STUDENT, **overrides}, options=options)
    assert not out.exists()


def test_whoever_learns_from_a_run_needs_one(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "student"
    for options, overrides, message in (
        (OPTIONS, {"distil_mode": "offline"}, "add --teacher RUN"),
        (replace(OPTIONS, unlabelled=tmp_path), {}, "teach nothing by themselves"),
        (replace(OPTIONS, teacher=tmp_path / "no"), {}, "is not a run folder"),
        (replace(OPTIONS, teacher=tmp_path, teacher_kind="book"), {}, "kind called 'book'"),
    ):
        with pytest.raises(InputError, match=message):
            train(data, out, recipe="tiny", overrides={**STUDENT, **overrides}, options=options)
        assert not out.exists()


def test_a_network_without_an_expert_cannot_teach_one(
    teacher_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Manifest, "family", "gated")
    with pytest.raises(InputError, match="not an expert that reads tiles"):
        load_teacher(teacher_run, "expert", CPU)


def test_labels_must_be_the_teachers(teacher: Teacher) -> None:
    check_teacher(teacher, student_recipe(), teacher.labels)
    with pytest.raises(InputError, match=r"knows blue, red, but the photos show blue, green"):
        check_teacher(teacher, student_recipe(), ("blue", "green"))
    with pytest.raises(InputError, match="same labels in the same order"):
        check_teacher(teacher, student_recipe(), ("red", "blue"))
    with pytest.raises(InputError, match="exclusive=False, but the student"):
        check_teacher(teacher, student_recipe(exclusive=True), teacher.labels)


def test_attention_pooling_keeps_no_soft_labels_of_photos(teacher: Teacher) -> None:
    attentive = replace(teacher, pooling="gated_attention")
    check_teacher(attentive, student_recipe(), teacher.labels)
    with pytest.raises(InputError, match="Use --soft-labels tile"):
        check_teacher(attentive, student_recipe(distil_levels="photo+tile"), teacher.labels)


def test_costs_are_those_of_the_whole_way(teacher: Teacher) -> None:
    size = (300, 400)
    expert, scout = build_expert("tiny_narrow", 2), build_scout("tiny_narrow", 2)
    recipe = student_recipe()
    tiles = len(lay_tiles(size, 64))
    assert teacher.expert is not None
    whole = tiles * count_macs(teacher.expert, 64, 64)
    assert teacher.count_macs(size) == whole
    most = tiles // 2 * count_macs(expert, 64, 64) + count_macs(scout, 96, 128)
    assert f"{most / whole:.0%}" in check_cost(teacher, recipe, expert, scout, size)
    with pytest.raises(InputError, match="multiply-adds a tile"):
        check_cost(teacher, recipe, build_expert("tiny_wide", 2), scout, size)
    dear = build_scout("tiny_wide", 2)
    with pytest.raises(InputError, match="scout and tiles together"):
        check_cost(teacher, student_recipe(glance_px=384), expert, dear, size)
    same = build_expert("tiny", 2)
    check_cost(teacher, recipe, same, scout, size)  # it drops tiles: the same expert is cheaper


def test_a_teacher_that_knows_the_test_photos_is_refused(teacher: Teacher, data: Path) -> None:
    table = read_labels(data)
    prints = fingerprint_many(table.paths, workers=1)
    plan = (teacher.run / "splits.csv").read_text().splitlines()[1:]
    splits = np.array([row.split(",")[1] for row in plan])
    assert check_photos(teacher, prints, splits) == []
    turned = np.where(splits == "val", "train", "val")
    notes = check_photos(teacher, prints, turned)
    assert len(notes) == 1
    assert f"trained on {(splits == 'train').sum()} of the" in notes[0]
    with pytest.raises(InputError, match="figures would flatter"):
        check_photos(teacher, prints, np.where(splits == "train", "test", "train"))


def test_soft_labels_of_photos_are_the_experts_on_all_tiles(
    teacher: Teacher, data: Path, tmp_path: Path, progress: TrainingProgress
) -> None:
    paths = read_labels(data).paths[:3]
    recipe = student_recipe(distil_levels="photo+tile")
    store = tmp_path / "checkpoints" / "teacher.safetensors"
    with progress:
        tutor = hire_tutor(
            teacher, recipe, paths, store, CPU, mixed_precision=False, progress=progress
        )
    assert tutor.photo_logits is not None
    assert teacher.expert is not None
    photo = decode_photo(paths[1])
    tiles = lay_tiles(photo.size_px_hw, 64)
    networks = TorchNetworks(build_scout("tiny", 2), teacher.expert, CPU)
    found = networks.run_expert(cut_tiles(photo.pixels, tiles, range(len(tiles)))).tile_logits
    everything = np.ones(len(tiles), dtype=np.bool_)
    expected = pool_tiles(teacher.pooling, found, np.zeros_like(found), everything)
    np.testing.assert_allclose(tutor.photo_logits[1], expected, atol=1e-4)
    assert store.is_file()


def test_a_network_on_the_resized_photo_teaches_photos_alone(
    data: Path, teacher_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="--baselines"):
        load_teacher(teacher_run, "photo", CPU)
    torch.manual_seed(0)
    network = ResizedPhotoNetwork(build_backbone("tiny", stride=EXPERT_STRIDE), 2)
    for side in (64, 128):
        folder = teacher_run / "checkpoints" / f"resized_photo_{side}px"
        folder.mkdir()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        save_checkpoint(folder / "best.safetensors", network, optimizer, {})
    photo_teacher = load_teacher(teacher_run, "photo", CPU)
    assert photo_teacher.side_px == 128
    with pytest.raises(InputError, match="only give soft labels of photos"):
        check_teacher(photo_teacher, student_recipe(), photo_teacher.labels)
    options = replace(OPTIONS, teacher=teacher_run, teacher_kind="photo")
    overrides = {**STUDENT, "tile_px": 96}
    out = train(data, tmp_path / "student", recipe="tiny", overrides=overrides, options=options)
    assert read_plan(out)["recipe"]["distil_levels"] == "photo"
    assert (out / "checkpoints" / "teacher.safetensors").is_file()


def test_photos_without_labels_are_none_that_the_run_knows(
    data: Path, teacher_run: Path, tmp_path: Path, spot_writer: Callable[..., Path]
) -> None:
    others = spot_writer(tmp_path / "others", 2, seed=9).parent
    for name in ("03.jpg", "04.jpg"):
        (others / f"copy_of_{name}").write_bytes((data.parent / name).read_bytes())
    found = find_unlabelled(others, teacher_run, 1)
    assert [path.name for path in found] == ["00.jpg", "01.jpg"]
    assert find_unlabelled(None, teacher_run, 1) == ()
    with pytest.raises(InputError, match="holds no photos beside"):
        find_unlabelled(data.parent, teacher_run, 1)
    with pytest.raises(InputError, match="not a folder"):
        find_unlabelled(tmp_path / "nowhere", teacher_run, 1)


def test_a_student_learns_from_photos_without_labels(
    data: Path, teacher_run: Path, tmp_path: Path, spot_writer: Callable[..., Path]
) -> None:
    others = spot_writer(tmp_path / "others", 4, seed=9).parent
    options = replace(OPTIONS, teacher=teacher_run, unlabelled=others)
    overrides = {**STUDENT, "distil_levels": "photo+tile"}
    out = train(data, tmp_path / "student", recipe="tiny", overrides=overrides, options=options)
    assert read_plan(out)["unlabelled"] == str(others)
    kept = load_tensors(out / "checkpoints" / "teacher.safetensors")[0]
    assert len(kept) == read_plan(out)["photos"]["train"] + 4, "soft labels of them too"


def test_a_student_takes_its_teachers_tiles_unless_told_otherwise(teacher: Teacher) -> None:
    assert take_sizes({"tile_px": None, "epochs": 3}, None) == {"epochs": 3}
    taken = take_sizes({"tile_px": None, "epochs": 3}, teacher)
    assert taken == {"epochs": 3, "tile_px": 64, "distil_mode": "offline"}
    assert take_sizes({"tile_px": 96}, teacher)["tile_px"] == 96
