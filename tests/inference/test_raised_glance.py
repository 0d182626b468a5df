"""Diagnosing with a larger glance than the model's own."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from leafscout.cli import app
from leafscout.errors import InputError
from leafscout.inference.glance_sizes import GlanceWishes, compare_glances
from leafscout.inference.load import load
from leafscout.inference.raised_glance import raise_glance


@pytest.fixture
def run(planned_run: Path) -> Path:
    return planned_run


def test_the_runs_scout_looks_at_a_larger_glance_and_costs_more(
    run: Path, used_photos: Path
) -> None:
    model = load(run)
    raised, said = raise_glance(model, 192)
    assert "trained for a glance of 128 px and looks at 192 px" in said
    assert raised.manifest.glance_px == 192
    assert model.manifest.glance_px == 128
    photo = used_photos / "1.png"
    before, after = (one.diagnose(photo).diagnosis for one in (model, raised))
    scout_before, scout_after = (
        one.core.count_macs(before.photo_size_px_hw, 0) for one in (model, raised)
    )
    assert scout_after == pytest.approx(1.5**2 * scout_before, rel=0.1)
    assert after.cost.macs - after.cost.tiles_read * model.core.rules.expert_macs == scout_after


def test_the_own_size_changes_nothing(run: Path) -> None:
    model = load(run)
    assert raise_glance(model, 128) == (model, "")


def test_a_scout_trained_for_the_size_is_used_while_it_fits_the_expert(
    run: Path, used_photos: Path
) -> None:
    compare_glances(run, used_photos, GlanceWishes((96,), lesion_px=8))
    raised, said = raise_glance(load(run), 96)
    assert said == "The scout trained for a glance of 96 px looks, not the run's."
    assert raised.run == run / "glances" / "96" / "model"
    assert raised.core.rules.glance_px == 96
    assert raised.core.rules.choice != load(run).core.rules.choice
    # Another expert since: its scouts of before say nothing about it.
    other = load(run)
    other.manifest = other.manifest.model_copy(
        update={"files": {**other.manifest.files, "expert.safetensors": "0" * 64}}
    )
    assert "looks at 96 px now" in raise_glance(other, 96)[1]


def test_too_small_a_glance_is_refused(run: Path) -> None:
    with pytest.raises(InputError, match="at least 64 px, but got 32"):
        raise_glance(load(run), 32)


def test_the_command_says_what_the_larger_glance_means(run: Path, used_photos: Path) -> None:
    asked = ["diagnose", str(run), str(used_photos / "1.png"), "--glance-px", "192", "--json"]
    answered = CliRunner().invoke(app, asked)
    assert answered.exit_code == 0, answered.output
    assert "looks at 192 px now" in answered.stderr
    assert json.loads(answered.stdout)["labels"] is not None
