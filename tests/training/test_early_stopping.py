"""Early stopping: the best epoch, the end of patience, and going on from a checkpoint."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.errors import InputError
from leafscout.training.early_stopping import EarlyStopping

SCORES = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5]), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(SCORES, st.integers(1, 6))
def test_it_stops_where_the_best_is_so_many_epochs_ago(scores: list[float], patience: int) -> None:
    stopping = EarlyStopping(patience)
    for epoch, score in enumerate(scores, start=1):
        stop = stopping.update(epoch, score)
        seen = scores[:epoch]
        assert stopping.best_score == max(seen)
        assert stopping.best_epoch == 1 + seen.index(max(seen)), "the first of equal ones"
        assert stop == (epoch - stopping.best_epoch >= patience)
        assert stopping.is_best == (stopping.best_epoch == epoch)
        if stop:
            break


def test_a_gain_that_is_too_small_does_not_count() -> None:
    stopping = EarlyStopping(patience=2, min_gain=0.01)
    assert not stopping.update(1, 0.500)
    assert not stopping.update(2, 0.509)
    assert stopping.update(3, 0.510, loss=-1.0), "exactly the least gain is not more than it"
    assert stopping.best_epoch == 1


def test_of_equal_scores_the_lower_loss_is_better() -> None:
    stopping = EarlyStopping(patience=2)
    for epoch, loss in enumerate((1.0, 0.5, 0.7), start=1):
        stopping.update(epoch, 0.5, loss)
    assert (stopping.best_epoch, stopping.best_loss, stopping.waited) == (2, 0.5, 1)


def test_a_score_that_is_no_number_is_never_the_best() -> None:
    stopping = EarlyStopping(patience=2)
    assert not stopping.update(1, math.nan)
    assert not stopping.is_best
    assert stopping.best_epoch is None
    assert not stopping.update(2, 0.1)
    assert stopping.best_epoch == 2


@settings(max_examples=30, deadline=None)
@given(SCORES, st.data())
def test_it_goes_on_from_its_state_as_if_it_had_not_stopped(
    scores: list[float], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(scores)))
    whole, first, second = (EarlyStopping(3) for _ in range(3))
    answers = [whole.update(epoch, score) for epoch, score in enumerate(scores)]
    resumed = [first.update(epoch, score) for epoch, score in enumerate(scores[:cut])]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    resumed += [second.update(cut + more, score) for more, score in enumerate(scores[cut:])]
    assert resumed == answers
    assert second.state_dict() == whole.state_dict()


def test_it_refuses_values_that_make_no_sense() -> None:
    with pytest.raises(InputError, match="patience of at least 1"):
        EarlyStopping(0)
    with pytest.raises(InputError, match="gain of 0 or more"):
        EarlyStopping(3, min_gain=-0.1)
