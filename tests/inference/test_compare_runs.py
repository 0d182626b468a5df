"""leafscout compare, on tables made by hand."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from leafscout.cli import app
from leafscout.errors import InputError
from leafscout.inference.compare_runs import compare_runs

PHOTOS = 90
LABELS = ("rust", "mildew")


def write_run(
    folder: Path, *, noise: float, seed: int, photos: int = PHOTOS, macs: float = 0.2
) -> Path:
    """A run folder with nothing but the table that an evaluation writes."""
    truth = np.random.default_rng(0).random((photos, 2)) < 0.4
    rng = np.random.default_rng(seed)
    probs = np.clip(0.25 + 0.5 * truth + noise * rng.normal(size=truth.shape), 0, 1)
    rows = []
    for index in range(photos):
        row: dict[str, object] = {"image": f"photos/{index:03d}.jpg"}
        for column, label in enumerate(LABELS):
            row[f"truth_{label}"] = int(truth[index, column])
            row[f"prob_{label}"] = round(float(probs[index, column]), 6)
            row[f"found_{label}"] = int(probs[index, column] >= 0.5)
            row[f"fusion_off_prob_{label}"] = 0.5
        row |= {"tiles_read": 3, "tiles_total": 18, "macs_share": macs, "seconds": 0.1}
        rows.append(row)
    write_table(folder, rows)
    return folder


def write_table(run: Path, rows: list[dict[str, object]]) -> None:
    path = run / "evaluation" / "per_photo.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read_table(run: Path) -> list[dict[str, object]]:
    with (run / "evaluation" / "per_photo.csv").open(newline="") as file:
        return [dict(row) for row in csv.DictReader(file)]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_run(tmp_path / "good", noise=0.05, seed=1)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return write_run(tmp_path / "bad", noise=0.6, seed=2, macs=0.5)


def run_cli(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], prog_name="leafscout")


class TestWords:
    def test_a_better_run_is_called_better(self, good: Path, bad: Path) -> None:
        found = compare_runs([bad, good])
        (other,) = found.others
        assert other.name == "good"
        assert other.sentences[0] == "good is better than bad."
        assert any(line.startswith("macro-AP: better, +0.") for line in other.sentences)
        assert any("multiply-adds: less, -0.300" in line for line in other.sentences)
        assert found.photos == PHOTOS

    def test_a_worse_run_is_called_worse(self, good: Path, bad: Path) -> None:
        assert compare_runs([good, bad]).others[0].sentences[0] == "bad is worse than good."

    def test_the_same_answers_are_equally_good(self, good: Path, tmp_path: Path) -> None:
        twin = write_run(tmp_path / "twin", noise=0.05, seed=1)
        (other,) = compare_runs([good, twin]).others
        assert "equally good" in other.sentences[0]
        assert all(one.difference.value == 0 for one in other.figures)

    def test_noise_cannot_be_told_from_noise(self, tmp_path: Path) -> None:
        runs = [write_run(tmp_path / str(seed), noise=0.3, seed=seed) for seed in (3, 4)]
        (other,) = compare_runs(runs).others
        assert other.sentences[0].startswith("No difference can be shown between 4 and 3 on 90")
        assert any("macro-AP: no difference can be shown, " in line for line in other.sentences)

    def test_the_first_of_several_is_the_reference_and_the_correction_is_told(
        self, good: Path, bad: Path, tmp_path: Path
    ) -> None:
        third = write_run(tmp_path / "third", noise=0.3, seed=5)
        found = compare_runs([good, bad, third])
        assert found.reference == "good"
        assert [one.name for one in found.others] == ["bad", "third"]
        assert any("Holm" in note and "4 of averages" in note for note in found.notes)

    def test_rows_may_stand_in_another_order(self, good: Path, tmp_path: Path) -> None:
        twin = write_run(tmp_path / "twin", noise=0.05, seed=1)
        write_table(twin, read_table(twin)[::-1])
        assert "equally good" in compare_runs([good, twin]).others[0].sentences[0]

    def test_notes_of_an_evaluation_are_passed_on(self, good: Path, bad: Path) -> None:
        note = "These photos were trained on."
        (bad / "evaluation.json").write_text(json.dumps({"notes": [note]}))
        assert f"bad: {note}" in compare_runs([good, bad]).notes

    def test_groups_of_the_runs_own_test_split_stay_together(self, good: Path, bad: Path) -> None:
        assert not compare_runs([good, bad]).grouped
        lines = ["image,split,group"]
        lines += [f"photos/{index:03d}.jpg,test,{index // 5}" for index in range(PHOTOS)]
        (good / "splits.csv").write_text("\n".join(lines))
        found = compare_runs([good, bad])
        assert found.grouped
        assert "groups of photos" in found.notes[0]

    def test_runs_of_one_name_are_told_apart(self, tmp_path: Path) -> None:
        one = write_run(tmp_path / "a" / "run", noise=0.1, seed=1)
        two = write_run(tmp_path / "b" / "run", noise=0.1, seed=2)
        found = compare_runs([one, two])
        assert found.reference == str(one)
        assert found.others[0].name == str(two)


class TestMistakes:
    def test_a_run_without_evaluation_is_sent_there_first(self, good: Path, tmp_path: Path) -> None:
        (tmp_path / "new").mkdir()
        with pytest.raises(InputError, match=r"new has not been evaluated.*leafscout evaluate"):
            compare_runs([good, tmp_path / "new"])

    def test_a_missing_folder_is_named(self, good: Path) -> None:
        with pytest.raises(InputError, match="no run folder nowhere"):
            compare_runs([good, Path("nowhere")])

    def test_one_run_is_too_few(self, good: Path) -> None:
        with pytest.raises(InputError, match="at least two runs to compare, but got 1"):
            compare_runs([good])

    def test_other_photos_are_counted_and_named(self, good: Path, tmp_path: Path) -> None:
        fewer = write_run(tmp_path / "fewer", noise=0.1, seed=1, photos=PHOTOS - 2)
        with pytest.raises(
            InputError, match=r"same photos: 2 only in .*good \(such as photos/088.jpg\)\."
        ):
            compare_runs([good, fewer])

    def test_other_truth_is_named(self, good: Path, bad: Path) -> None:
        rows = read_table(bad)
        rows[7]["truth_rust"] = 1 - int(str(rows[7]["truth_rust"]))
        write_table(bad, rows)
        with pytest.raises(InputError, match=r"labels of 1 photos, such as rust of photos/007.jpg"):
            compare_runs([good, bad])

    def test_other_labels_are_named(self, good: Path, bad: Path) -> None:
        rows = [
            {key.replace("mildew", "blight"): value for key, value in row.items()}
            for row in read_table(bad)
        ]
        write_table(bad, rows)
        with pytest.raises(InputError, match=r"mildew, rust, but .*bad knows blight, rust"):
            compare_runs([good, bad])

    @pytest.mark.parametrize(
        ("column", "value", "said"),
        [
            ("prob_rust", "high", "expected a number in column prob_rust .* but got 'high'"),
            ("prob_rust", "1.5", "Expected probabilities from 0 to 1"),
            ("macs_share", "nan", "expected a number in column macs_share"),
            ("image", "photos/001.jpg", "'photos/001.jpg' twice"),
        ],
    )
    def test_damaged_tables_are_refused(
        self, good: Path, bad: Path, column: str, value: str, said: str
    ) -> None:
        rows = read_table(bad)
        rows[0][column] = value
        write_table(bad, rows)
        with pytest.raises(InputError, match=said):
            compare_runs([good, bad])

    @pytest.mark.parametrize("text", ["", "image,tiles_read\na.jpg,3\n"])
    def test_a_table_without_answers_is_refused(self, good: Path, bad: Path, text: str) -> None:
        (bad / "evaluation" / "per_photo.csv").write_text(text)
        with pytest.raises(InputError, match=r"holds no answers. Evaluate .*bad again"):
            compare_runs([good, bad])


class TestCommand:
    def test_it_prints_a_table_and_writes_a_page_that_needs_nothing_else(
        self, good: Path, bad: Path, tmp_path: Path
    ) -> None:
        page = tmp_path / "page.html"
        result = run_cli("compare", bad, good, "--html", page)
        assert result.exit_code == 0, result.output
        assert "good is better than bad." in result.stdout
        text = page.read_text()
        assert "good is better than bad." in text
        assert text.count("data:image/png;base64,") == 1
        assert "http" not in text.replace("http-equiv", "")

    def test_json_holds_every_figure(self, good: Path, bad: Path) -> None:
        result = run_cli("compare", good, bad, "--json")
        found = json.loads(result.stdout)
        figures = {(one["figure"], one["label"]) for one in found["others"][0]["figures"]}
        assert {("macro_ap", ""), ("f1", "rust"), ("tiles_read", "")} <= figures

    def test_labels_are_text_and_no_markup(self, tmp_path: Path) -> None:
        runs = [write_run(tmp_path / name, noise=0.1, seed=1) for name in ("a", "b")]
        for run in runs:
            rows = [
                {key.replace("rust", "<b>[red]$x"): value for key, value in row.items()}
                for row in read_table(run)
            ]
            write_table(run, rows)
        page = tmp_path / "page.html"
        result = run_cli("compare", *runs, "--html", page)
        assert result.exit_code == 0, result.output
        assert "[red]$x" in result.stdout.replace("\n", "")
        assert "<b>" not in page.read_text()

    def test_a_mistake_is_a_sentence(self, good: Path, tmp_path: Path) -> None:
        (tmp_path / "new").mkdir()
        result = run_cli("compare", good, tmp_path / "new")
        assert result.exit_code == 2
        assert "has not been evaluated" in result.stderr

    def test_the_forest_plot_is_a_picture_with_something_on_it(
        self, good: Path, bad: Path, tmp_path: Path
    ) -> None:
        from leafscout.reports.comparison_page import draw_comparison

        path = tmp_path / "forest.png"
        path.write_bytes(draw_comparison(compare_runs([bad, good]).to_dict()))
        with Image.open(path) as image:
            assert np.asarray(image.convert("L")).std() > 10
