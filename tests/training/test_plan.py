"""Plans: what is chosen and why, how epochs fit into the time, and whether estimates hold."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner, Result

from leafscout.cli import app
from leafscout.errors import InputError
from leafscout.photos.labels import read_labels
from leafscout.training import plan, plan_times
from leafscout.training.plan import make_plan
from leafscout.training.plan_facts import DataFacts, MachineFacts, read_data_facts
from leafscout.training.plan_sizes import choose_glance, choose_tile
from leafscout.training.plan_times import ProbedTimes, TimeEstimate, estimate_times, fit_epochs
from leafscout.training.plan_values import PlanWishes, describe_duration
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import RECIPES, choice_from_dict, choose_recipe
from leafscout.training.run import TrainOptions, train
from leafscout.training.time_probe import probe_times

PROBED = ProbedTimes(
    start_s=5.0, fingerprint_s=0.1, warm_start_s=2.0, expert_learn_s=1.0, expert_look_s=0.5,
    scout_learn_s=0.2, scout_look_s=0.1, glance_s=0.05, rules_s=0.7, memory_bytes=2**30,
    probe_s=12.0, photos=3,
)  # fmt: skip
ESTIMATE = TimeEstimate(
    before_s=100, expert_epoch_s=60, evidence_s=50, scout_epoch_s=10, after_s=30,
    expert_epochs=6, scout_epochs=8,
)  # fmt: skip


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], prog_name="leafscout")


def write_blank_photos(folder: Path, size_px_wh: tuple[int, int], photos: int = 10) -> Path:
    """Photos that hold nothing: a plan reads headers only."""
    folder.mkdir(parents=True)
    rows = ["image,labels"]
    for index in range(photos):
        Image.new("RGB", size_px_wh, (40, 90 + index, 30)).save(folder / f"{index}.jpg")
        rows.append(f"{index}.jpg,{['rust', 'healthy', 'mildew'][index % 3]}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder / "labels.csv"


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    return write_blank_photos(tmp_path / "photos", (2048, 1024))


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, float]], list[str]]:
    """Gives the probe seconds per recipe instead of measuring; lists the recipes probed."""
    from leafscout.training import time_probe

    def install(learn_s: dict[str, float], gpu: str = "") -> list[str]:
        probed: list[str] = []

        def pretend(recipe: object, *_: object, **__: object) -> ProbedTimes:
            probed.append(recipe.name)  # type: ignore[attr-defined]
            return replace(PROBED, expert_learn_s=learn_s[probed[-1]])

        monkeypatch.setattr(time_probe, "probe_times", pretend)
        monkeypatch.setattr(time_probe, "find_gpu", lambda: gpu)
        return probed

    return install


class TestSizes:
    @pytest.mark.parametrize("pretrained", [True, False])
    @pytest.mark.parametrize("side", [64, 300, 640, 1024, 2048, 4000, 6000, 9000, 12000])
    def test_a_photo_has_few_to_a_hundred_tiles_and_recipes_take_them(
        self, side: int, pretrained: bool
    ) -> None:
        tile = choose_tile(side, pretrained=pretrained)
        tiles = int(np.ceil(side / tile.side_px)) * int(np.ceil(0.75 * side / tile.side_px))
        assert tiles <= (110 if pretrained else 450)
        assert tiles >= 4 or side < 640
        choose_recipe("mobile", {"tile_px": tile.side_px, "expert_shrink": tile.shrink})
        glance, reason = choose_glance(side)
        assert 64 <= glance <= 1024
        assert "lesions under about" in reason

    def test_photos_like_the_coffee_leaves_get_the_sizes_of_their_benchmark(self) -> None:
        tile = choose_tile(2048, pretrained=True)
        assert (tile.side_px, tile.shrink, choose_glance(2048)[0]) == (768, 2, 512)

    def test_the_blind_zone_is_two_pixels_of_the_glance(self) -> None:
        assert "under about 16 px" in choose_glance(4096)[1]


class TestFacts:
    def test_splits_sizes_and_rare_labels_are_counted(self, blank: Path) -> None:
        facts = read_data_facts(read_labels(blank), 0.2)
        assert (facts.photos, facts.train, facts.validation, facts.test) == (10, 8, 2, 0)
        assert facts.labels == {"mildew": 3, "rust": 4}
        assert facts.rare == ("mildew", "rust")
        assert facts.healthy == 3
        assert facts.median_px_hw == (1024, 2048)
        assert facts.tiles_per_photo(768) == 6

    def test_given_splits_are_kept_and_the_test_split_is_left_alone(self, tmp_path: Path) -> None:
        path = write_blank_photos(tmp_path / "photos", (300, 200))
        table = read_labels(path).with_splits(["train"] * 5 + ["val"] * 2 + ["test"] * 3)
        facts = read_data_facts(table, 0.2)
        assert (facts.train, facts.validation, facts.test) == (5, 2, 3)
        assert max(facts.indices) < 7

    def test_too_few_photos_are_a_sentence(self, tmp_path: Path) -> None:
        path = write_blank_photos(tmp_path / "photos", (300, 200), photos=1)
        with pytest.raises(InputError, match="leaves 1 photos for training and 0 for validation"):
            read_data_facts(read_labels(path), 0.2)


class TestTimes:
    def test_the_estimate_is_a_sum_that_can_be_done_by_hand(self) -> None:
        facts = DataFacts(100, 80, 20, 0, 50, {"rust": 50}, (), ((600, 800),), (0,))
        found = estimate_times(PROBED, facts, 2, 3)
        assert found.before_s == pytest.approx(5 + 10 + 160)
        assert found.expert_epoch_s == pytest.approx(80 + 10)
        assert found.evidence_s == pytest.approx(50 + 1)
        assert found.scout_epoch_s == pytest.approx(16 + 2)
        assert found.after_s == pytest.approx(14)
        assert found.total_s == pytest.approx(175 + 2 * 90 + 51 + 3 * 18 + 14)

    def test_without_a_bound_the_recipe_decides(self) -> None:
        assert fit_epochs(ESTIMATE, None) == (6, 8)
        assert fit_epochs(ESTIMATE, 1e6) == (6, 8)

    @settings(max_examples=100)
    @given(
        seconds=st.tuples(*[st.floats(0.1, 500)] * 5),
        epochs=st.tuples(st.integers(1, 30), st.integers(1, 30)),
        factor=st.floats(0.3, 10),
    )
    def test_what_fits_fits_and_one_epoch_of_each_always_does_from_the_shortest_time_on(
        self, seconds: tuple[float, ...], epochs: tuple[int, int], factor: float
    ) -> None:
        estimate = TimeEstimate(*seconds, *epochs)
        time_s = factor * estimate.shortest_s
        found = fit_epochs(estimate, time_s)
        if factor < 1:
            assert found is None
            return
        if found is None:
            assert factor < 1 + 1e-9
            return
        assert 1 <= found[0] <= epochs[0]
        assert 1 <= found[1] <= epochs[1]
        planned = replace(estimate, expert_epochs=found[0], scout_epochs=found[1])
        assert planned.total_s <= time_s * (1 + 1e-9)

    def test_durations_are_rounded_up(self) -> None:
        words = [describe_duration(s) for s in (0.2, 40, 99.5, 101, 3599, 3600, 5400.5)]
        assert words == ["1 s", "40 s", "2 min", "2 min", "1 h", "1 h", "1 h 31 min"]


class TestChoosing:
    def test_a_plan_can_be_trained_as_it_is(
        self, blank: Path, probe: Callable[..., object]
    ) -> None:
        probe({"mobile": 1.0})
        made = make_plan(blank)
        recipe = choose_recipe(made.recipe, made.overrides)
        assert (recipe.name, recipe.tile_px, recipe.expert_shrink) == ("mobile", 768, 2)
        assert recipe.expert_stage.epochs == RECIPES["mobile"]().expert_stage.epochs
        assert {one.name for one in made.choices} == {
            "recipe", "tile_px", "expert_shrink", "glance_px", "expert_epochs", "scout_epochs",
            "threads",
        }  # fmt: skip
        assert all(one.reason for one in made.choices)

    def test_a_recipe_that_does_not_fit_gives_way_to_a_smaller_one(
        self, blank: Path, probe: Callable[..., list[str]]
    ) -> None:
        probed = probe({"mobile": 100.0, "tiny": 1.0})
        made = make_plan(blank, PlanWishes(time_s=300))
        assert probed == ["mobile", "tiny"]
        assert made.recipe == "tiny"
        assert made.choices[0].reason.startswith("mobile needs at least")
        assert made.estimate is not None
        assert made.estimate.total_s <= 300

    def test_a_recipe_that_was_named_is_never_exchanged(
        self, blank: Path, probe: Callable[..., list[str]]
    ) -> None:
        probed = probe({"mobile": 100.0, "tiny": 1.0})
        with pytest.raises(
            InputError, match=r"--time 5 min is too short for the recipe mobile .* shortest poss"
        ):
            make_plan(blank, PlanWishes(recipe="mobile", time_s=300))
        assert probed == ["mobile"]

    def test_the_shortest_time_that_is_named_is_enough(
        self, blank: Path, probe: Callable[..., object]
    ) -> None:
        probe({"tiny": 50.0})
        with pytest.raises(InputError, match=r"shortest possible time is about (\d+) min") as error:
            make_plan(blank, PlanWishes(recipe="tiny", time_s=60))
        minutes = int(str(error.value).split("possible time is about ")[1].split()[0])
        made = make_plan(blank, PlanWishes(recipe="tiny", time_s=60 * minutes))
        assert made.overrides["expert_epochs"] == 1
        assert made.estimate is not None
        assert made.estimate.total_s <= 60 * minutes
        assert any("do not fit into the time" in one.reason for one in made.choices)

    def test_a_gpu_and_many_photos_make_it_the_full_recipe(
        self, blank: Path, probe: Callable[..., object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        probe({"mobile": 0.1, "full": 0.1}, gpu="Some GPU")
        assert make_plan(blank).recipe == "mobile"
        monkeypatch.setattr(plan, "MANY_PHOTOS", 8)
        made = make_plan(blank)
        assert made.recipe == "full"
        assert "Some GPU" in made.choices[0].reason

    def test_what_is_given_wins(self, blank: Path, probe: Callable[..., object]) -> None:
        probe({"tiny": 0.1})
        overrides = {"tile_px": 256, "epochs": 3, "pooling": "max", "glance_px": None}
        made = make_plan(blank, PlanWishes(recipe="tiny", overrides=overrides, threads=1))
        recipe = choose_recipe(made.recipe, made.overrides)
        assert (recipe.tile_px, recipe.pooling, recipe.glance_px) == (256, "max", 512)
        assert (recipe.expert_stage.epochs, recipe.scout_stage.epochs) == (3, 3)
        reasons = {one.name: one.reason for one in made.choices}
        assert reasons["tile_px"] == reasons["expert_epochs"] == reasons["threads"] == "given"

    def test_notes_name_rare_labels_missing_healthy_photos_and_memory(
        self, tmp_path: Path, probe: Callable[..., object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        probe({"mobile": 0.1})
        path = write_blank_photos(tmp_path / "photos", (300, 200))
        path.write_text(path.read_text().replace("healthy", "rust"))
        monkeypatch.setattr(plan, "read_machine_facts", lambda gpu: MachineFacts(2, 2**30, gpu))
        notes = " ".join(make_plan(path).notes)
        assert "Rare labels, with fewer than 20 photos: mildew (3), rust (7)" in notes
        assert "No photo is healthy" in notes
        assert "may need 3.0 GiB of memory, but this process may use 1.0 GiB" in notes
        assert "--weights" in notes

    def test_stages_that_the_estimate_does_not_know_are_named(
        self, blank: Path, probe: Callable[..., object]
    ) -> None:
        probe({"tiny": 0.1})
        wishes = PlanWishes(recipe="tiny", overrides={"stages": "expert,scout,joint"}, threads=1)
        notes = " ".join(make_plan(blank, wishes).notes)
        assert "The time does not count the stage joint: that comes on top." in notes
        assert "does not count" not in " ".join(make_plan(blank, PlanWishes(recipe="tiny")).notes)

    def test_a_recipe_comes_back_from_a_stored_plan(self) -> None:
        recipe = choose_recipe("tiny", {"tile_px": 256, "expert_epochs": 3, "exclusive": True})
        assert choose_recipe(*choice_from_dict(recipe.to_dict())) == recipe


class TestCommands:
    def test_without_an_estimate_neither_torch_nor_pixels_are_needed(self, blank: Path) -> None:
        for path in blank.parent.glob("*.jpg"):  # headers only
            path.write_bytes(path.read_bytes()[:700])
        code = (
            "import sys; from leafscout.cli import app\n"
            f"app(['plan', {str(blank)!r}, '--no-estimate', '--json'], standalone_mode=False)\n"
            "assert 'torch' not in sys.modules"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["overrides"]["tile_px"] == 768
        assert found["estimate"] is None

    def test_it_prints_reasons_and_a_time(self, blank: Path, probe: Callable[..., object]) -> None:
        probe({"mobile": 1.0})
        result = run("plan", blank)
        assert result.exit_code == 0, result.output
        said = " ".join(result.output.split())
        assert "Photos of 2048×1024 px: 8 to learn from, 2 to validate" in said
        assert "Time: about" in said
        assert "--auto" in said

    def test_json_holds_the_total(self, blank: Path, probe: Callable[..., object]) -> None:
        probe({"mobile": 1.0})
        found = json.loads(run("plan", blank, "--json").stdout)
        assert found["estimate"]["total_s"] > found["estimate"]["before_s"]
        assert found["estimate"]["uncertainty"] == plan_times.UNCERTAINTY

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (("--time", "10m", "--no-estimate"), "Leave out --no-estimate or --time"),
            (("--recipe", "tinny", "--no-estimate"), "Did you mean tiny"),
        ],
    )
    def test_mistakes_are_sentences(self, blank: Path, args: tuple[str, ...], said: str) -> None:
        result = run("plan", blank, *args)
        assert result.exit_code == 2
        assert said in " ".join(result.stderr.split())

    def test_train_auto_follows_the_plan_and_goes_on_with_it(
        self,
        blank: Path,
        tmp_path: Path,
        probe: Callable[..., list[str]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        probed = probe({"mobile": 1.0})
        seen: dict[str, object] = {}

        def pretend(data: Path, out: Path, **given: object) -> Path:
            seen.update(given)
            raise KeyboardInterrupt

        monkeypatch.setattr("leafscout.training.run.train", pretend)
        out = tmp_path / "run"
        assert run("train", blank, "--out", out, "--auto", "--glance-px", "640").exit_code == 130
        recipe = choose_recipe(seen["recipe"], seen["overrides"])  # type: ignore[arg-type]
        assert (recipe.tile_px, recipe.expert_shrink, recipe.glance_px) == (768, 2, 640)
        assert probed == ["mobile"]

        out.mkdir()
        (out / "plan.json").write_text(json.dumps({"recipe": recipe.to_dict()}))
        run("train", blank, "--out", out, "--auto", "--resume")
        assert choose_recipe(seen["recipe"], seen["overrides"]) == recipe  # type: ignore[arg-type]
        assert probed == ["mobile"]  # not measured again


def test_the_estimate_holds_within_a_factor_of_two(
    spot_writer: Callable[..., Path], tmp_path: Path, progress: TrainingProgress
) -> None:
    """In processor time, which other work on the machine does not stretch."""
    path = spot_writer(tmp_path / "spots", 12)
    table = read_labels(path)
    facts = read_data_facts(table, 0.2)
    sizes = {"tile_px": 64, "glance_px": 128, "epochs": 6}
    recipe = choose_recipe("tiny", sizes)
    # The first probe warms the process up, as a training before would.
    for _ in range(2):
        probed = probe_times(
            recipe, table, facts, cores=1, threads=1, progress=progress, clock=time.process_time
        )
    estimate = estimate_times(probed, facts, 6, 6)
    began_s = time.process_time()
    train(
        path, tmp_path / "run", recipe="tiny", overrides=sizes,
        options=TrainOptions(threads=1, workers=1), progress=progress,
    )  # fmt: skip
    spent_s = time.process_time() - began_s
    assert spent_s / 2 < estimate.total_s < spent_s * 2
    assert probed.photos == 3
