"""Looking again: the mean of what is said about a photo turned, mirrored and resized."""

import numpy as np
import pytest

from leafscout.errors import InputError
from leafscout.inference.test_time_augmentation import (
    CHANGES,
    Change,
    choose_changes,
    look_again,
    measure_gain,
)


def _photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)


def _corner(pixels: np.ndarray) -> np.ndarray:
    return np.array([pixels[0, 0, 0] / 256 + 0.001], dtype=np.float32)


def test_every_list_starts_with_the_photo_as_it_is() -> None:
    for changes in CHANGES.values():
        assert np.array_equal(changes[0].apply(_photo()), _photo())
        assert len({change.name for change in changes}) == len(changes)


def test_the_eight_symmetries_are_eight() -> None:
    shown = {change.apply(_photo()).tobytes() for change in CHANGES["symmetries"]}
    assert len(shown) == 8
    assert {change.apply(_photo()).tobytes() for change in CHANGES["flips"]} <= shown


def test_upside_down_is_upside_down() -> None:
    photo = _photo()
    assert np.array_equal(CHANGES["flips"][2].apply(photo), photo[::-1])
    assert Change("small", scale=0.5).apply(photo).shape == (3, 4, 3)


def test_one_look_is_one_look_and_a_symmetric_model_is_not_changed() -> None:
    assert look_again(_corner, _photo(), CHANGES["none"]) == pytest.approx(
        _corner(_photo()), abs=1e-5
    )

    def mean(pixels: np.ndarray) -> np.ndarray:
        return np.array([pixels.mean() / 255])

    assert look_again(mean, _photo(), CHANGES["symmetries"]) == pytest.approx(
        mean(_photo()), abs=1e-5
    )


def test_the_mean_is_that_of_log_odds() -> None:
    answers = iter([0.9, 0.5])
    found = look_again(lambda _: np.array([next(answers)]), _photo(), [Change("a"), Change("b")])
    assert found == pytest.approx([3 / 4])  # odds 9 and 1: their geometric mean is 3


def test_certain_answers_stay_finite() -> None:
    found = look_again(lambda _: np.array([0.0, 1.0]), _photo(), CHANGES["mirror"])
    assert np.isfinite(found).all()


def test_the_gain_comes_with_an_interval_and_its_cost() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((80, 2)) < 0.5
    once = np.clip(0.5 + 0.2 * (truth - 0.5) + 0.25 * rng.normal(size=truth.shape), 0, 1)
    again = np.clip(0.5 + 0.2 * (truth - 0.5) + 0.1 * rng.normal(size=truth.shape), 0, 1)
    half = np.full(2, 0.5)
    found = measure_gain(
        truth, ["a", "b"], once, again, thresholds_once=half, thresholds_again=half, looks=4
    )
    by_name = {(one.figure, one.label): one for one in found}
    f1 = by_name["macro_f1", ""]
    assert f1.difference.low > 0
    assert f1.verdict == "better"
    assert by_name["tiles_read", ""].difference.value == 3


def test_nothing_to_look_at_is_refused() -> None:
    with pytest.raises(InputError, match="at least one change"):
        look_again(_corner, _photo(), [])
    with pytest.raises(InputError, match=r"no changes called 'magic'.*flips"):
        choose_changes("magic")
