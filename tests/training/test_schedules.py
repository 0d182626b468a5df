"""Learning rates: the closed forms, PyTorch's own schedules, and going on from a checkpoint."""

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from leafscout.errors import InputError
from leafscout.training.schedules import PlateauRate, cosine_share


def make_optimiser(rate: float) -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_the_cosine_is_that_of_torch(floor: float) -> None:
    optimiser = make_optimiser(1e-4)
    schedule = CosineAnnealingLR(optimiser, T_max=30, eta_min=floor * 1e-4)
    for epoch in range(31):
        ours = 1e-4 * cosine_share(epoch / 30, floor=floor)
        assert ours == pytest.approx(optimiser.param_groups[0]["lr"], abs=1e-17, rel=1e-9)
        closed = floor + (1 - floor) * (1 + math.cos(math.pi * epoch / 30)) / 2
        assert ours == pytest.approx(1e-4 * closed, rel=1e-12, abs=1e-20)
        optimiser.step()
        schedule.step()


def test_a_warm_up_rises_in_a_line_and_meets_the_cosine_at_its_peak() -> None:
    assert cosine_share(0.0, 0.1) == pytest.approx(0.05)
    assert cosine_share(0.05, 0.1) == pytest.approx(0.525)
    assert cosine_share(0.1, 0.1) == 1.0
    assert cosine_share(0.55, 0.1) == pytest.approx(0.5)
    assert cosine_share(1.0, 0.1) == pytest.approx(0.0)
    assert cosine_share(1.7, 0.1) == cosine_share(1.0, 0.1), "a time that ran over"


@settings(max_examples=80, deadline=None)
@given(
    scores=st.lists(st.floats(0.05, 1.0), min_size=1, max_size=40),
    factor=st.sampled_from([0.1, 0.5]),
    patience=st.integers(0, 3),
    cooldown=st.integers(0, 2),
    threshold=st.sampled_from([0.0, 1e-4, 0.05]),
    threshold_mode=st.sampled_from(["relative", "absolute"]),
    mode=st.sampled_from(["max", "min"]),
    least_rate=st.sampled_from([0.0, 1e-5]),
)
def test_a_plateau_is_that_of_torch(
    scores: list[float], threshold_mode: Any, mode: Any, least_rate: float, **values: Any
) -> None:
    optimiser = make_optimiser(1e-3)
    names = {"relative": "rel", "absolute": "abs"}
    schedule = ReduceLROnPlateau(
        optimiser, mode=mode, threshold_mode=names[threshold_mode], min_lr=least_rate, **values
    )
    ours = PlateauRate(
        1e-3, mode=mode, threshold_mode=threshold_mode, least_rate=least_rate, **values
    )
    for score in scores:
        before = ours.rate
        assert ours.update(score) == (ours.rate < before)
        schedule.step(score)
        assert ours.rate == optimiser.param_groups[0]["lr"]


def test_a_plateau_goes_on_from_its_state() -> None:
    scores = [0.1, 0.3, 0.2, 0.2, 0.2, 0.31, 0.3, 0.3, 0.3, 0.3]
    for cut in range(len(scores)):
        whole, first, second = (PlateauRate(1.0, patience=1, cooldown=1) for _ in range(3))
        rates = [(whole.update(score), whole.rate) for score in scores]
        resumed = [(first.update(score), first.rate) for score in scores[:cut]]
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        resumed += [(second.update(score), second.rate) for score in scores[cut:]]
        assert resumed == rates
        assert second.reductions == 2


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"factor": 1.0}, "factor above 0 and below 1"),
        ({"rate": 0.0}, "learning rate above 0"),
        ({"patience": -1}, "0 or more epochs"),
    ],
)
def test_a_plateau_refuses_values_that_make_no_sense(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        PlateauRate(**{"rate": 1.0, **values})
