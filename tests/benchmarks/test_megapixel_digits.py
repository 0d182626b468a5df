"""Megapixel digits: the generator keeps its word, and the questions have the right answers."""

import gzip
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from megapixel_canvases import (
    DIGIT_PX,
    PARTS,
    Canvas,
    DigitPool,
    Sheet,
    draw_canvas,
    draw_canvases,
    draw_strokes,
    load_pools,
    make_sheets,
    render_canvas,
    render_region,
)
from megapixel_tasks import Answers, answer_truly, digits_inside, score_answers

SIDE = 220


@pytest.fixture(scope="module")
def sheet() -> Sheet:
    """Digits that can be told apart by their ink: a class in its tens, a number in its ones."""
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, (40, DIGIT_PX, DIGIT_PX)).astype(np.uint8)
    images[rng.random(images.shape) < 0.6] = 0
    return Sheet(DigitPool(images, np.arange(40) % 10), draw_strokes(32, seed=1))


def _draw(sheet: Sheet, seed: int, *, empty: bool = False, strokes: int = 50) -> Canvas:
    return draw_canvas(sheet, SIDE, strokes, empty=empty, rng=np.random.default_rng(seed))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_three_of_one_class_and_two_of_others(sheet: Sheet, seed: int) -> None:
    canvas = _draw(sheet, seed)
    assert sorted(Counter(canvas.digit_classes.tolist()).values()) == [1, 1, 3]
    assert (sheet.digits.classes[canvas.digit_rows] == canvas.digit_classes).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_digits_lie_on_the_canvas_and_apart(sheet: Sheet, seed: int) -> None:
    covered = np.zeros((SIDE, SIDE), dtype=int)
    for top, left in _draw(sheet, seed).digit_corners_px:
        covered[top : top + DIGIT_PX, left : left + DIGIT_PX] += 1
    assert covered.max() == 1
    assert covered.sum() == 5 * DIGIT_PX**2


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_strokes_lie_beneath_the_digits(sheet: Sheet, seed: int) -> None:
    canvas = _draw(sheet, seed, strokes=400)
    pixels = render_canvas(canvas, sheet)
    touched = 0
    for row, (top, left) in zip(canvas.digit_rows, canvas.digit_corners_px, strict=True):
        image = sheet.digits.images[row]
        there = pixels[top : top + DIGIT_PX, left : left + DIGIT_PX]
        assert (there[image > 0] == image[image > 0]).all()
        touched += int((there[image == 0] > 0).sum())
    assert touched > 0, "so many strokes must show between the lines of a digit"


def test_an_empty_canvas_is_strokes_alone(sheet: Sheet) -> None:
    canvas = _draw(sheet, 3, empty=True)
    no_strokes = Sheet(sheet.digits, np.zeros_like(sheet.strokes))
    assert canvas.is_empty
    assert render_canvas(canvas, sheet).any()
    assert not render_canvas(canvas, no_strokes).any()


def test_without_strokes_only_digits_are_left(sheet: Sheet) -> None:
    canvas = _draw(sheet, 3, strokes=0)
    ink = sum(int(sheet.digits.images[row].sum()) for row in canvas.digit_rows)
    assert int(render_canvas(canvas, sheet).sum()) == ink


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    top=st.integers(-40, SIDE),
    left=st.integers(-40, SIDE),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
)
def test_a_region_is_that_part_of_the_canvas(
    sheet: Sheet, seed: int, top: int, left: int, height: int, width: int
) -> None:
    canvas = _draw(sheet, seed)
    around = np.pad(render_canvas(canvas, sheet), 200)
    expected = around[200 + top : 200 + top + height, 200 + left : 200 + left + width]
    found = render_region(canvas, sheet, (top, left), (height, width))
    assert (found == expected).all()


def test_the_seed_decides_everything(sheet: Sheet) -> None:
    once, again, other = (
        [
            render_canvas(one, sheet)
            for one in draw_canvases(sheet, SIDE, 20, full=2, empty=1, seed=seed)
        ]
        for seed in (5, 5, 6)
    )
    assert all((first == second).all() for first, second in zip(once, again, strict=True))
    assert any((first != second).any() for first, second in zip(once, other, strict=True))
    # More canvases of the same seed begin with the same ones.
    more = draw_canvases(sheet, SIDE, 20, full=4, empty=0, seed=5)
    assert (render_canvas(more[1], sheet) == once[1]).all()


def test_no_digit_is_in_two_parts() -> None:
    pytest.importorskip("sklearn")
    sheets = make_sheets(None)
    assert tuple(sheets) == PARTS
    assert sum(len(one.digits.images) for one in sheets.values()) == 1797
    # Scikit-learn's digits hold a few identical pictures; rows are what must differ.
    pools = load_pools(None)
    sums = [one.images.reshape(len(one.images), -1).sum(axis=1) for one in pools.values()]
    assert all(len(np.unique(one.classes)) == 10 for one in pools.values())
    assert len(np.concatenate(sums)) == 1797
    strokes = [one.strokes for one in sheets.values()]
    assert (strokes[0] != strokes[2]).any()


def _write_idx(folder: Path, name: str, values: np.ndarray, *, packed: bool = True) -> None:
    head = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    data = head + values.astype(np.uint8).tobytes()
    if packed:
        (folder / f"{name}.gz").write_bytes(gzip.compress(data))
    else:
        (folder / name).write_bytes(data)


def _write_mnist(folder: Path) -> np.ndarray:
    numbered = np.zeros((90, 28, 28), dtype=np.uint8)
    numbered[:, 0, 0] = np.arange(90)
    _write_idx(folder, "train-images-idx3-ubyte", numbered[:60])
    _write_idx(folder, "train-labels-idx1-ubyte", np.arange(60) % 10, packed=False)
    _write_idx(folder, "t10k-images-idx3-ubyte", numbered[60:])
    _write_idx(folder, "t10k-labels-idx1-ubyte", np.arange(30) % 10)
    return numbered


def test_idx_files_are_read_and_kept_apart(tmp_path: Path) -> None:
    numbered = _write_mnist(tmp_path)
    pools = load_pools(tmp_path)
    seen = [pools[part].images[:, 0, 0].tolist() for part in PARTS]
    assert [len(one) for one in seen] == [50, 10, 30]
    assert sorted([one for part in seen for one in part]) == numbered[:, 0, 0].tolist()
    assert pools["validation"].classes.tolist() == list(range(10))


def test_what_is_not_an_idx_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no train-images-idx3-ubyte or .* Give MNIST's"):
        load_pools(tmp_path)
    _write_mnist(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"PNG and something else"))
    with pytest.raises(ValueError, match="is not an idx file of bytes"):
        load_pools(tmp_path)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_answers_agree_with_counting_by_hand(sheet: Sheet, seed: int) -> None:
    canvas = _draw(sheet, seed)
    answers = answer_truly([canvas, _draw(sheet, seed, empty=True)])
    placed = sorted(zip(canvas.digit_corners_px.tolist(), canvas.digit_classes.tolist(),
                        strict=True))  # fmt: skip
    most_common, count = Counter(canvas.digit_classes.tolist()).most_common(1)[0]
    assert count == 3
    topmost = {one for (top, _), one in placed if top == placed[0][0][0]}
    assert answers.choices[0, 0] == most_common
    assert answers.choices[0, 1] == max(canvas.digit_classes)
    assert answers.choices[0, 2] in topmost
    assert set(np.flatnonzero(answers.present[0])) == {one for _, one in placed}
    assert answers.choices[1].tolist() == [-1, -1, -1]
    assert not answers.present[1].any()


def test_scores_count_each_task_where_it_has_an_answer() -> None:
    present = np.zeros((3, 10), dtype=bool)
    present[0, [1, 2, 3]] = present[1, [4, 5, 6]] = True
    truth = Answers(np.array([[1, 3, 2], [4, 6, 5], [-1, -1, -1]]), present)
    said = present.copy()
    said[1, 9] = said[2, 0] = True
    scores = score_answers(Answers(np.array([[1, 3, 9], [4, 9, 9], [0, 0, 0]]), said), truth)
    assert scores == {"majority": 1.0, "max": 0.5, "top": 0.0, "multi": 0.5, "quiet": 0.0}


def test_a_digit_is_inside_where_its_middle_is(sheet: Sheet) -> None:
    canvas = _draw(sheet, 8)
    middle = canvas.digit_centres_px[2]
    holds = np.floor(middle - 63).astype(np.int64)[None]
    beside = np.ceil(middle + 0.1).astype(np.int64)[None]
    assert digits_inside(canvas, holds, 64)[2]
    assert not digits_inside(canvas, beside, 64)[2]
    assert not digits_inside(canvas, np.zeros((0, 2), dtype=np.int64), 64).any()


@pytest.mark.real_photos
def test_mnist_makes_canvases(real_data: Path) -> None:
    sheets = make_sheets(real_data / "mnist")
    assert [len(sheets[part].digits.images) for part in PARTS] == [50_000, 10_000, 10_000]
    canvas = _draw(sheets["test"], 1)
    assert render_canvas(canvas, sheets["test"]).max() > 200
