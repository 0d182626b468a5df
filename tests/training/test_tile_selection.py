"""Which tiles the expert learns from, and which are left out now and then."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.training.tile_selection import leave_out_best, rank_for_learning

ABSENT, PRESENT = np.array([False]), np.array([True])


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    tiles=st.integers(1, 20),
    prob=st.sampled_from([0.0, 0.3, 1.0]),
    row=st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_only_the_strongest_tiles_of_present_labels_are_left_out(
    seed: int, tiles: int, prob: float, row: list[bool]
) -> None:
    logits = rng(seed).standard_normal((tiles, 3)).astype(np.float32)
    truth = np.array(row)
    stays = leave_out_best(logits, truth, prob, rng(seed))
    assert stays.any()
    favourites = set(logits.argmax(axis=0)[truth].tolist())
    left_out = set(np.flatnonzero(~stays).tolist())
    assert left_out <= favourites
    if prob == 0:
        assert not left_out
    if prob == 1 and tiles > 3:
        assert left_out == favourites


def test_the_chance_is_the_one_asked_for() -> None:
    logits = np.array([[0.0], [5.0], [1.0]], np.float32)
    draws = [leave_out_best(logits, PRESENT, 0.3, rng(seed))[1] for seed in range(2000)]
    assert 1 - np.mean(draws) == pytest.approx(0.3, abs=0.04)


def test_hard_negatives_of_healthy_photos_stay() -> None:
    logits = np.array([[0.0], [5.0]], np.float32)
    assert leave_out_best(logits, ABSENT, 1.0, rng(0)).all()


def test_the_last_tile_stays() -> None:
    assert leave_out_best(np.zeros((1, 1), np.float32), PRESENT, 1.0, rng(0)).all()


def test_without_its_favourite_the_next_lesion_is_learned_from() -> None:
    logits = np.array([[9.0], [8.0], *([[-5.0]] * 30)], np.float32)
    stays = leave_out_best(logits, PRESENT, 1.0, rng(0))
    inside = np.flatnonzero(stays)
    chosen = inside[rank_for_learning(logits[inside], 1, 0, rng(0))]
    assert chosen.tolist() == [1]
