"""A scout for each glance size, on a run whose networks were never trained."""

import json
from pathlib import Path

import pytest

from leafscout.errors import InputError
from leafscout.inference.glance_sizes import GlanceWishes, compare_glances, default_sizes
from leafscout.inference.load import load


@pytest.fixture
def run(planned_run: Path) -> Path:
    return planned_run


def test_every_size_gets_a_scout_and_a_cost(run: Path, used_photos: Path) -> None:
    before = (run / "model" / "scout.safetensors").read_bytes()
    choice = compare_glances(run, used_photos, GlanceWishes((160, 96), lesion_px=8))
    assert [one.glance_px for one in choice.trials] == [96, 160]
    assert all(one.macs_share > 0 for one in choice.trials)
    written = json.loads((run / "glances.json").read_text(encoding="utf-8"))
    assert written["sentence"] == choice.sentence
    assert written["in_use"] is False
    assert (run / "model" / "scout.safetensors").read_bytes() == before
    scouts = [run / "glances" / size / "best.safetensors" for size in ("96", "160")]
    assert scouts[0].read_bytes() != scouts[1].read_bytes()
    # What is done is not done again.
    times = [scout.stat().st_mtime_ns for scout in scouts]
    assert compare_glances(run, used_photos, GlanceWishes((160, 96), lesion_px=8)) == choice
    assert [scout.stat().st_mtime_ns for scout in scouts] == times


def test_the_picked_scout_can_become_the_runs_own(
    run: Path, used_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leafscout.evaluation.glance_choice import GlanceTrial
    from leafscout.inference import glance_sizes

    monkeypatch.setattr(
        glance_sizes,
        "describe_trial",
        lambda zone, _macs, tiles: GlanceTrial(zone.glance_px, 0.0, 0.5, tiles, 1),
    )
    choice = compare_glances(run, used_photos, GlanceWishes((96,)), use=True)
    assert choice.picked_px == 96
    model = load(run)
    assert model.core.rules.glance_px == 96
    model.diagnose(used_photos / "1.png")


def test_other_photos_than_the_runs_are_refused(
    run: Path, used_photos: Path, tmp_path: Path
) -> None:
    lines = (used_photos / "labels.csv").read_text(encoding="utf-8").splitlines()
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"does not name the photos that .* was trained on"):
        compare_glances(run, fewer, GlanceWishes((96,)), photos_root=used_photos)


def test_the_sizes_to_try_follow_from_the_runs_own(run: Path) -> None:
    assert default_sizes(run) == (64, 128, 256)


def test_glances_larger_than_every_photo_are_left_out(
    run: Path, used_photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    choice = compare_glances(run, used_photos, GlanceWishes((96, 4096), lesion_px=8))
    assert [one.glance_px for one in choice.trials] == [96]
    said = " ".join(capsys.readouterr().err.split())
    assert "Left out: a glance of 4096 px, since no photo is longer than" in said
    with pytest.raises(InputError, match=r"Expected a glance of at most \d+ px, .*got 4096, 9000"):
        compare_glances(run, used_photos, GlanceWishes((9000, 4096)))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"sizes_px": ()}, "but got none"),
        ({"sizes_px": (32,)}, "at least 64 px"),
        ({"sizes_px": (96, 96)}, "different glance sizes"),
        ({"sizes_px": (96,), "recall": 1.5}, "recall above 0 and up to 1"),
        ({"sizes_px": (96,), "lesion_px": 0.0}, "lesion size"),
    ],
)
def test_wishes_are_checked(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        GlanceWishes(**given)  # type: ignore[arg-type]
