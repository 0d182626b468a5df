"""The synthetic field: it knows its truth, hides no shortcut in colour, and repeats itself."""

import csv
import json
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from leafscout.errors import InputError
from leafscout.photos.synthetic import (
    DEMO_FIELD,
    DISEASES,
    FieldSettings,
    SyntheticPhoto,
    photo_seed,
    render_field,
    render_photo,
)
from leafscout.photos.synthetic.__main__ import main
from leafscout.photos.synthetic.distractors import STAND_INS, draw_stand_in
from leafscout.photos.synthetic.lesions import draw_lesion
from leafscout.photos.synthetic.plants import Leaf
from leafscout.types import FloatArray

SMALL = FieldSettings(
    size_px_hw=(240, 320), lesion_sizes_px=(8, 12, 16), lesions_per_disease=(1, 4), no_leaf_frac=0.2
)


@cache
def small_photos() -> tuple[SyntheticPhoto, ...]:
    return tuple(render_photo(SMALL, photo_seed(3, index)) for index in range(30))


def extent_px(mask: np.ndarray) -> float:
    """Largest distance across a mask, pixels counted to their outer borders."""
    points = np.argwhere(mask)
    turns = np.linspace(0, np.pi, 36, endpoint=False)
    along = points @ np.stack([np.sin(turns), np.cos(turns)])
    return float((along.max(axis=0) - along.min(axis=0)).max()) + 1


@pytest.mark.parametrize("label", DISEASES)
@pytest.mark.parametrize("diameter", [8, 10, 16, 24, 40, 80, 160])
def test_a_lesion_has_the_size_that_was_asked_for(label: str, diameter: int) -> None:
    found = [
        extent_px(draw_lesion(label, diameter, 0.7, np.random.default_rng(seed)).mask)
        for seed in range(12)
    ]
    assert np.median(found) == pytest.approx(diameter, rel=0.12, abs=1.5)
    assert max(found) <= diameter * 1.25 + 2


def test_a_blast_lesion_lies_along_the_veins() -> None:
    for angle in (0.0, 0.8, 2.0):
        mask = draw_lesion("blast", 80, angle, np.random.default_rng(1)).mask
        points = np.argwhere(mask) - np.argwhere(mask).mean(axis=0)
        down, right = np.linalg.svd(points, full_matrices=False)[2][0]
        assert abs(right * np.cos(angle) + down * np.sin(angle)) > 0.97


@settings(max_examples=25, deadline=None)
@given(
    label=st.sampled_from(DISEASES),
    kind=st.sampled_from(STAND_INS),
    diameter=st.sampled_from([8, 16, 40]),
    seed=st.integers(0, 10_000),
)
def test_a_stand_in_has_exactly_the_pixels_of_a_lesion(
    label: str, kind: str, diameter: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    lesion = draw_lesion(label, diameter, 0.3, rng)
    stand_in = draw_stand_in(kind, lesion, 0.3, rng)

    def pixels(alpha: FloatArray, colours: FloatArray) -> np.ndarray:
        seen = alpha > 0.04
        rows = np.column_stack([alpha[seen], colours[seen]])
        return rows[np.lexsort(rows.T)]

    np.testing.assert_array_equal(
        pixels(lesion.alpha, lesion.colours), pixels(stand_in.alpha, stand_in.colours)
    )
    # and yet it is another shape
    side = min(lesion.mask.shape[0], stand_in.mask.shape[0])

    def middle(mask: np.ndarray) -> np.ndarray:
        cut = (mask.shape[0] - side) // 2
        return mask[cut : cut + side, cut : cut + side]

    ours, theirs = middle(lesion.mask), middle(stand_in.mask)
    assert (ours != theirs).sum() > 0.05 * ours.sum()


def test_boxes_cover_the_masks_exactly() -> None:
    lesions = distractors = 0
    for photo in small_photos():
        for items, mask in (
            (photo.lesions, photo.lesion_mask),
            (photo.distractors, photo.distractor_mask),
        ):
            rest = mask.copy()
            for item in items:
                left, top, right, bottom = item.box_px_xyxy
                inside = mask[top:bottom, left:right] > 0
                assert inside[0].any()
                assert inside[-1].any()
                assert inside[:, 0].any()
                assert inside[:, -1].any()
                rest[top:bottom, left:right] = 0
            assert not rest.any()
        lesions += len(photo.lesions)
        distractors += len(photo.distractors)
        assert not (photo.lesion_mask.astype(bool) & photo.distractor_mask.astype(bool)).any()
        for lesion in photo.lesions:
            left, top, right, bottom = lesion.box_px_xyxy
            values = set(np.unique(photo.lesion_mask[top:bottom, left:right])) - {0}
            assert values == {1 + DISEASES.index(lesion.label)}
    assert lesions > 30
    assert distractors > 200


def test_labels_say_which_lesions_are_there() -> None:
    for photo in small_photos():
        assert {lesion.label for lesion in photo.lesions} == set(photo.labels)
        assert photo.pixels.shape == (240, 320, 3)
        assert photo.pixels.dtype == np.uint8
    share = np.mean([not photo.labels for photo in small_photos()])
    assert 0.2 < share < 0.6
    assert any(len(photo.labels) == 2 for photo in small_photos())


def test_lesions_can_be_seen_where_the_truth_says() -> None:
    clear = replace(SMALL, contrast_range=(1.0, 1.0), diseases=("powdery_mildew",), healthy_frac=0)
    gains = []
    for seed in range(6):
        photo = render_photo(clear, seed)
        for lesion in photo.lesions:
            left, top, right, bottom = lesion.box_px_xyxy
            around = photo.pixels[max(top - 4, 0) : bottom + 4, max(left - 4, 0) : right + 4]
            mask = photo.lesion_mask[max(top - 4, 0) : bottom + 4, max(left - 4, 0) : right + 4] > 0
            gains.append(around[mask].mean() - around[~mask].mean())
    assert np.mean(gains) > 25


def test_every_class_carries_the_same_paint_in_the_same_numbers_and_sizes() -> None:
    counts: dict[bool, list[int]] = {True: [], False: []}
    areas: dict[bool, list[float]] = {True: [], False: []}
    extras: dict[bool, list[int]] = {True: [], False: []}
    for photo in small_photos():
        stand_ins = [item for item in photo.distractors if item.kind in STAND_INS]
        for label in SMALL.diseases:
            present = label in photo.labels
            marks = [item for item in (*photo.lesions, *stand_ins) if item.label == label]
            counts[present].append(len(marks))
            areas[present].append(marks[0].diameter_px)
        extras[bool(photo.labels)].append(len(photo.distractors) - len(stand_ins))
        kinds = {lesion.label for lesion in photo.lesions} & {item.label for item in stand_ins}
        assert not kinds
    assert min(counts[True] + counts[False]) >= 1
    for samples in (counts, areas, extras):
        first, second = np.array(samples[True], float), np.array(samples[False], float)
        spread = np.sqrt(first.var() / len(first) + second.var() / len(second))
        assert abs(first.mean() - second.mean()) < 3.5 * spread


def test_without_stand_ins_the_colours_differ() -> None:
    bare = replace(SMALL, stand_in_frac=0.0, distractors_per_photo=(0, 0))
    photos = [render_photo(bare, seed) for seed in range(8)]
    assert all(not photo.distractors for photo in photos)


def test_some_healthy_photos_show_no_crop_leaf_and_still_have_stand_ins() -> None:
    leafless = replace(SMALL, healthy_frac=1.0, no_leaf_frac=1.0)
    with_leaf = replace(leafless, no_leaf_frac=0.0)
    green = {}
    for name, wanted in (("bare", leafless), ("grown", with_leaf)):
        photos = [render_photo(wanted, photo_seed(1, index)) for index in range(6)]
        for photo in photos:
            assert not photo.labels
            stand_ins = [item for item in photo.distractors if item.kind in STAND_INS]
            assert {item.label for item in stand_ins} == set(DISEASES)
        seen = np.stack([photo.pixels for photo in photos]).astype(int)
        green[name] = (seen[..., 1] > seen[..., 0] + 8).mean()
    assert green["bare"] < 0.6 * green["grown"]


@settings(max_examples=40, deadline=None)
@given(
    along=st.floats(0, 900),
    across=st.floats(-60, 60),
    angle=st.floats(0, 6.3),
    bend=st.floats(-200, 200),
)
def test_a_leaf_maps_to_the_photo_and_back(
    along: float, across: float, angle: float, bend: float
) -> None:
    leaf = Leaf((50.0, -20.0), angle, 900.0, 120.0, bend, weed=False)
    x, y = leaf.to_photo(along, across)
    back = leaf.to_leaf(np.array([x], np.float64), np.array([y], np.float64))
    assert back[0][0] == pytest.approx(along, abs=1e-2)
    assert back[1][0] == pytest.approx(across, abs=1e-2)


def test_a_photo_depends_on_its_seed_only() -> None:
    first, again, other = (render_photo(SMALL, seed) for seed in (5, 5, 6))
    assert np.array_equal(first.pixels, again.pixels)
    assert first.lesions == again.lesions
    assert not np.array_equal(first.pixels, other.pixels)
    assert len({photo_seed(0, 1), photo_seed(1, 0), photo_seed(0, 0), photo_seed(1, 1)}) == 4


@pytest.mark.parametrize("size", [(200, 200), (200, 517), (611, 233)])
def test_any_size_works(size: tuple[int, int]) -> None:
    photo = render_photo(replace(SMALL, size_px_hw=size), 2)
    assert photo.pixels.shape == (*size, 3)
    assert photo.lesion_mask.shape == photo.distractor_mask.shape == size


def test_the_demo_field_renders() -> None:
    photo = render_photo(DEMO_FIELD, photo_seed(0, 0))
    assert photo.pixels.shape == (750, 1000, 3)
    assert set(photo.labels) <= set(DEMO_FIELD.diseases)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_field_on_disk_holds_photos_labels_and_the_truth(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    out = render_field(
        tmp_path / "new" / "field",
        photos=4,
        settings=SMALL,
        seed=9,
        workers=1,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert sorted(path.name for path in out.iterdir()) == ["labels.csv", "photos", "truth"]
    labels = read_rows(out / "labels.csv")
    assert [row["image"] for row in labels] == [f"photos/{index:04d}.jpg" for index in range(4)]
    boxes = read_rows(out / "truth" / "boxes.csv")
    distractors = read_rows(out / "truth" / "distractors.csv")
    for index, row in enumerate(labels):
        photo = render_photo(SMALL, photo_seed(9, index))
        assert row["labels"] == (" ".join(photo.labels) or "healthy")
        picture = Image.open(out / row["image"])
        assert not picture.getexif()
        assert np.abs(np.asarray(picture, float) - photo.pixels).mean() < 8
        mine = [box for box in boxes if box["image"] == row["image"]]
        wanted = [item.box_px_xyxy for item in photo.lesions]
        got = [
            (int(b["x_px"]), int(b["y_px"]), int(b["width_px"]), int(b["height_px"])) for b in mine
        ]
        assert [(x, y, x + w, y + h) for x, y, w, h in got] == wanted
        assert [box["label"] for box in mine] == [item.label for item in photo.lesions]
        for folder, mask in (
            ("masks", photo.lesion_mask),
            ("distractor_masks", photo.distractor_mask),
        ):
            stored = np.asarray(Image.open(out / "truth" / folder / f"{index:04d}.png"))
            assert np.array_equal(stored, mask)
        kinds = Counter(item["kind"] for item in distractors if item["image"] == row["image"])
        assert kinds == Counter(item.kind for item in photo.distractors)
    about = json.loads((out / "truth" / "settings.json").read_text(encoding="utf-8"))
    assert about["seed"] == 9
    assert FieldSettings(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in about["settings"].items()}
    ) == (SMALL)


def test_one_and_two_workers_write_the_same_bytes(tmp_path: Path) -> None:
    folders = [
        render_field(tmp_path / str(workers), photos=3, settings=SMALL, seed=4, workers=workers)
        for workers in (1, 2)
    ]
    files = [sorted(p.relative_to(f) for p in f.rglob("*") if p.is_file()) for f in folders]
    assert files[0] == files[1]
    assert len(files[0]) == 3 * 3 + 4
    for name in files[0]:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_a_field_is_never_written_over_something(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="something is there already"):
        render_field(tmp_path, photos=1, settings=SMALL, seed=0, workers=1)
    with pytest.raises(InputError, match="something is there already"):
        render_field(tmp_path / "mine.txt", photos=1, settings=SMALL, seed=0, workers=1)
    with pytest.raises(InputError, match="it failed"):
        render_field(tmp_path / "mine.txt" / "sub", photos=1, settings=SMALL, seed=0, workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt"]


def test_a_broken_off_field_leaves_nothing_behind(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_field(tmp_path / "field", photos=2, settings=SMALL, seed=0, workers=1, progress=stop)
    assert not list(tmp_path.iterdir())
    empty = tmp_path / "empty"
    empty.mkdir()
    assert render_field(empty, photos=1, settings=SMALL, seed=0, workers=1) == empty
    assert (empty / "labels.csv").is_file()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"size_px_hw": (199, 400)}, "at least 200 px a side"),
        ({"lesion_sizes_px": (61,)}, "a quarter of the photo's short side"),
        ({"lesion_sizes_px": ()}, "but got none"),
        ({"diseases": ("blast", "scab")}, "different names out of"),
        ({"diseases": ("blast", "blast")}, "different names out of"),
        ({"healthy_frac": 1.2}, "healthy_frac to be between 0 and 1, but got 1.2"),
        ({"contrast_range": (0.0, 0.5)}, "contrast_range"),
        ({"lesions_per_disease": (0, 3)}, "whole numbers from 1 up"),
        ({"distractors_per_photo": (5, 3)}, "distractors_per_photo"),
    ],
)
def test_settings_out_of_range_are_named(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        replace(SMALL, **change)  # type: ignore[arg-type]


def test_numbers_out_of_range_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="seed of 0 or more"):
        render_photo(SMALL, -1)
    with pytest.raises(InputError, match="at least 1 photo"):
        render_field(tmp_path / "a", photos=0, settings=SMALL, seed=0)
    with pytest.raises(InputError, match="at least 1 worker"):
        render_field(tmp_path / "a", photos=1, settings=SMALL, seed=0, workers=0)
    with pytest.raises(InputError, match="seed of 0 or more"):
        render_field(tmp_path / "a", photos=1, settings=SMALL, seed=-2)


def test_the_contact_sheet_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "sheet.jpg"
    assert main(["--contact-sheet", str(sheet), "--demo"]) == 0
    assert Image.open(sheet).width == 1600
    assert sheet.stat().st_size < 400_000
    assert main(["--contact-sheet", str(tmp_path / "sheet.nonsense"), "--demo"]) == 2
    assert "Expected a contact sheet named .jpg" in capsys.readouterr().err
