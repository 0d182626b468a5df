"""Which tiles are read, and what fitting the threshold guarantees."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.errors import InputError
from leafscout.glance.choose import (
    ChoiceRule,
    choose_tiles,
    fit_threshold,
    fit_uncertain_spread,
)

CALM = np.zeros(2, np.float32)
ALARMED = np.array([0.1, 0.8], np.float32)


def chosen(scores: list[float], rule: ChoiceRule, glance: np.ndarray = CALM) -> list[int]:
    return np.flatnonzero(choose_tiles(np.array(scores, np.float32), glance, rule)).tolist()


def test_tiles_at_or_above_the_threshold_are_read() -> None:
    assert chosen([0.2, 0.5, 0.9, 0.49], ChoiceRule(0.5, max_tiles=9)) == [1, 2]


def test_the_cap_keeps_the_best_and_between_equals_the_earlier() -> None:
    rule = ChoiceRule(0.1, max_tiles=2)
    assert chosen([0.3, 0.9, 0.8, 0.7], rule) == [1, 2]
    assert chosen([0.7, 0.9, 0.7, 0.7], rule) == [0, 1]


def test_nothing_worth_a_look_is_an_early_exit() -> None:
    assert chosen([0.2, 0.3], ChoiceRule(0.5, max_tiles=5)) == []


def test_there_is_no_early_exit_when_the_glance_suspects_disease() -> None:
    rule = ChoiceRule(0.5, max_tiles=5, suspicion_prob=0.8, suspicion_tiles=2)
    assert chosen([0.1, 0.3, 0.2], rule, ALARMED) == [1, 2]
    assert chosen([0.1, 0.9, 0.2], rule, ALARMED) == [1, 2]
    assert chosen([0.7, 0.9, 0.6], rule, ALARMED) == [0, 1, 2], "suspicion never reads fewer"
    assert chosen([0.1, 0.3, 0.2], rule, ALARMED - np.float32(0.01)) == []


def test_the_cap_holds_even_under_suspicion() -> None:
    rule = ChoiceRule(0.5, max_tiles=1, suspicion_prob=0.5, suspicion_tiles=3)
    assert chosen([0.1, 0.3, 0.2], rule, ALARMED) == [1]
    assert chosen([0.1], ChoiceRule(0.5, 9, 0.5, suspicion_tiles=3), ALARMED) == [0]


def uncertain(spread: list[float], rule: ChoiceRule, scores: list[float]) -> list[int]:
    read = choose_tiles(np.array(scores, np.float32), CALM, rule, np.array(spread, np.float32))
    return np.flatnonzero(read).tolist()


UNSURE = ChoiceRule(0.5, max_tiles=3, mirrored_glances=1, uncertain_tiles=2, uncertain_spread=1.0)


def test_tiles_on_which_glances_disagree_are_read_below_the_threshold() -> None:
    scores = [0.9, 0.1, 0.1, 0.2, 0.1]
    assert uncertain([0.0, 0.5, 1.5, 0.9, 1.0], UNSURE, scores) == [0, 2, 4]
    assert uncertain([0.0] * 5, UNSURE, scores) == [0]
    assert chosen(scores, UNSURE) == [0], "one glance leaves no tile uncertain"


def test_places_are_kept_for_uncertain_tiles_under_the_cap() -> None:
    scores = [0.9, 0.8, 0.7, 0.6, 0.1, 0.2]
    spread = [3.0, 0.0, 0.0, 0.0, 1.2, 1.1]
    assert uncertain(spread, UNSURE, scores) == [0, 4, 5], "the most spread of those below"
    assert uncertain([0.0] * 6, UNSURE, scores) == [0, 1, 2], "none uncertain: all for the best"
    narrow = replace(UNSURE, max_tiles=1)
    assert uncertain(spread, narrow, scores) == [4]


def test_uncertain_tiles_forbid_the_early_exit() -> None:
    assert uncertain([0.0, 2.0], UNSURE, [0.1, 0.1]) == [1]


def test_the_spread_is_one_that_few_healthy_tiles_reach() -> None:
    rng = np.random.default_rng(0)
    spreads = [rng.random(50).astype(np.float32) for _ in range(20)]
    level = fit_uncertain_spread(spreads, 0.02)
    assert np.mean(np.concatenate(spreads) >= level) == pytest.approx(0.02, abs=0.002)
    assert fit_uncertain_spread([], 0.02) > 1e3, "without healthy photos nothing is uncertain"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"mirrored_glances": 4}, "Expected mirrored_glances from 0 to 3, but got 4"),
        ({"uncertain_tiles": 2}, "mirrored_glances is 0. Give 1 to 3"),
        ({"mirrored_glances": 1, "uncertain_tiles": -1}, "Expected uncertain_tiles and"),
        ({"closer_regions": 0}, "Expected closer_glance_px from 0 and closer_regions from 1"),
        ({"border_exponent": 0.5}, "Expected border_exponent from 1 to 64, but got 0.5"),
        ({"border_exponent": float("nan")}, "Expected border_exponent from 1 to 64, but got nan"),
    ],
)
def test_glances_out_of_range_are_refused(values: dict[str, float], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        ChoiceRule(0.5, 3, **values)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30),
    threshold=st.floats(0, 1),
    cap=st.integers(1, 10),
    glance=st.floats(0, 1, width=32),
)
def test_what_is_read_is_never_worse_than_what_is_not(
    scores: list[float], threshold: float, cap: int, glance: float
) -> None:
    array = np.array(scores, np.float32)
    read = choose_tiles(array, np.array([glance], np.float32), ChoiceRule(threshold, cap))
    assert read.sum() <= cap
    assert read.sum() >= min(cap, (array >= np.float32(threshold)).sum())
    if read.any() and not read.all():
        assert array[read].min() >= array[~read].max()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"threshold_prob": 1.2}, r"Expected threshold_prob to be in \[0, 1\], but got 1.2"),
        ({"suspicion_prob": float("nan")}, r"Expected suspicion_prob to be in \[0, 1\]"),
        ({"max_tiles": 0}, "Expected max_tiles to be at least 1, but got 0"),
    ],
)
def test_rules_out_of_range_are_refused(values: dict[str, float], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        ChoiceRule(**{"threshold_prob": 0.5, "max_tiles": 3, **values})  # type: ignore[arg-type]


@st.composite
def photos(draw: st.DrawFn) -> tuple[list[np.ndarray], list[list[int]]]:
    level = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0]) | st.floats(0, 1, width=32)
    scores, decisive = [], []
    for _ in range(draw(st.integers(1, 25))):
        tiles = draw(st.lists(level, min_size=1, max_size=6))
        scores.append(np.array(tiles, np.float32))
        decisive.append(draw(st.lists(st.integers(0, len(tiles) - 1), max_size=3)))
    return scores, decisive


@settings(max_examples=150, deadline=None)
@given(photos(), st.floats(0.01, 1) | st.sampled_from([0.5, 0.9, 0.95, 0.98, 1.0]))
def test_the_threshold_keeps_the_wanted_share_and_no_higher_one_does(
    case: tuple[list[np.ndarray], list[list[int]]], recall: float
) -> None:
    scores, decisive = case
    judged = [(s, d) for s, d in zip(scores, decisive, strict=True) if d]
    threshold = fit_threshold(scores, decisive, recall)
    if not judged:
        assert threshold == 0.5
        return

    def kept(at: float) -> float:
        rule = ChoiceRule(at, max_tiles=100, suspicion_prob=1.0)
        return sum(choose_tiles(s, CALM, rule)[d].all() for s, d in judged) / len(judged)

    assert kept(threshold) >= recall - 1e-12
    higher = sorted({float(v) for s, _ in judged for v in s if v > threshold})
    # One more photo lost would break the promise, but for the rounding of its share.
    assert all(kept(level) < recall + 1e-9 for level in higher)


def test_a_threshold_survives_json_to_the_last_bit() -> None:
    import json

    scores = [np.random.default_rng(i).random(9).astype(np.float32) for i in range(5)]
    threshold = fit_threshold(scores, [[i] for i in range(5)], 1.0)
    again = json.loads(json.dumps(threshold))
    weakest = min(scores[i][i] for i in range(5))
    assert again == threshold == float(weakest)
    assert all(choose_tiles(s, CALM, ChoiceRule(again, 9))[i] for i, s in enumerate(scores))


def test_hopeless_wishes_still_give_a_threshold() -> None:
    assert fit_threshold([np.array([0.3], np.float32)], [[0]], 1e-20) == pytest.approx(0.3)


def test_a_tenth_of_twenty_photos_may_lose_their_tile() -> None:
    scores = [np.array([score / 100], np.float32) for score in range(20)]
    assert fit_threshold(scores, [[0]] * 20, keep_recall=0.9) == pytest.approx(0.02)
