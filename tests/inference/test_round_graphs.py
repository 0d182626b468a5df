"""Rounding goes on with fewer layers until the decisions hold, and says what it kept."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from leafscout.errors import InputError
from leafscout.export.calibration_set import CalibrationSet
from leafscout.export.parity import Limits, Parity, PhotoParity
from leafscout.inference.round_graphs import (
    KEPT_FRACS,
    Rounded,
    describe_size,
    round_until_alike,
)

LIMITS = Limits(None, 0.0)
GOOD = Parity((PhotoParity("leaf.png", 0.01, 0.01, False, False, False),))
BAD = Parity((PhotoParity("leaf.png", 0.4, 0.01, True, False, False),))
LAYERS = 4


@pytest.fixture(scope="module")
def seen() -> CalibrationSet:
    rng = np.random.default_rng(0)
    glances = tuple(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8) for _ in range(2))
    return CalibrationSet(glances, rng.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8))


@pytest.fixture
def round_with(
    exported_run: Path, seen: CalibrationSet, tmp_path: Path
) -> Callable[..., tuple[Rounded, list[int]]]:
    def work(*answers: Parity) -> tuple[Rounded, list[int]]:
        left = iter(answers)
        sizes: list[int] = []
        targets = {name: tmp_path / f"{name}.onnx" for name in ("scout", "expert")}

        def judge() -> Parity:
            sizes.append(sum(path.stat().st_size for path in targets.values()))
            return next(left)

        sources = {name: exported_run / "exports" / "onnx" / f"{name}.onnx" for name in targets}
        return round_until_alike(sources, targets, seen, judge, LIMITS, threads=1), sizes

    return work


def test_everything_is_rounded_where_the_decisions_hold(
    round_with: Callable[..., tuple[Rounded, list[int]]],
) -> None:
    rounded, _ = round_with(GOOD)
    assert rounded.attempts == 1
    assert rounded.fp32_layers == {"scout": (), "expert": ()}
    assert rounded.sentence() is None
    assert min(rounded.layers.values()) >= LAYERS


def test_more_and_more_is_kept_until_they_hold(
    round_with: Callable[..., tuple[Rounded, list[int]]],
) -> None:
    rounded, sizes = round_with(BAD, BAD, BAD, BAD, GOOD)
    assert rounded.attempts == 5
    assert rounded.parity is GOOD
    assert len(rounded.fp32_layers["scout"]) == rounded.layers["scout"], "the whole scout"
    assert rounded.fp32_layers["expert"] == ()
    assert sizes[1] > sizes[0], "a layer in fp32 takes more bytes"
    assert sizes[4] > sizes[1]
    sentence = rounded.sentence()
    assert sentence == "Kept in fp32, as rounding it changed too many decisions: the scout."


def test_the_first_difference_is_told_when_nothing_helps(
    round_with: Callable[..., tuple[Rounded, list[int]]],
) -> None:
    with pytest.raises(InputError) as refusal:
        round_with(*[BAD] * len(KEPT_FRACS))
    said = str(refusal.value)
    assert "decides otherwise than the PyTorch model on 1 of 1 photos (leaf.png)" in said
    assert "up to 50% of the expert's layers in fp32 did not help either." in said


def test_attempts_keep_more_and_more() -> None:
    for one, other in itertools.pairwise(KEPT_FRACS):
        assert sum(one.values()) < sum(other.values())
    assert sum(KEPT_FRACS[0].values()) == 0


def test_a_model_that_stayed_large_comes_with_advice() -> None:
    assert describe_size(5_300_000, 17_800_000) == "The graphs take 5.3 MB, 30% of fp32's."
    assert "86% of fp32's. Little is left" in describe_size(15_400_000, 17_900_000)
