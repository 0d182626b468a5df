"""Rounding goes on with fewer layers until the decisions hold, and says what it kept."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from leafscout.diagnosis.calibrate import Calibration
from leafscout.errors import InputError
from leafscout.export.calibration_set import (
    LEAST_TILES,
    MOST_TILES,
    CalibrationSet,
    gather_squares,
)
from leafscout.export.graphs import write_recogniser_graph
from leafscout.export.parity import Limits, Parity, PhotoParity
from leafscout.export.sensitivity import LayerHarm
from leafscout.glance.choose import ChoiceRule
from leafscout.inference.round_graphs import (
    KEPT_ALONE,
    KEPT_FRACS,
    Rounded,
    describe_size,
    round_until_alike,
)
from leafscout.model import Rules
from leafscout.recogniser_model import PhotoAnswer, RecogniserModel
from leafscout.recognisers.shapes import RECOGNISERS
from leafscout.recognisers.whole_photo import Recogniser

RULES = Rules(
    labels=("mildew", "rust"),
    tile_px=64,
    glance_px=64,
    pooling="max",
    choice=ChoiceRule(threshold_prob=0.0, max_tiles=1),
    glance_weights=(0.0, 0.0),
    calibration=Calibration((1.0, 1.0), (0.0, 0.0)),
    thresholds=(0.5, 0.5),
    expert_macs=1,
    scout_macs_per_px=0.0,
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
        return round_until_alike(sources, targets, seen.inputs(), judge, LIMITS, threads=1), sizes

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


@pytest.mark.parametrize("attempts", [KEPT_FRACS, KEPT_ALONE])
def test_attempts_keep_more_and_more(attempts: tuple[dict[str, float], ...]) -> None:
    for one, other in itertools.pairwise(attempts):
        assert sum(one.values()) < sum(other.values())
    assert sum(attempts[0].values()) == 0


@pytest.fixture(scope="module")
def recogniser_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    shape = replace(RECOGNISERS["small_efficientnet"], photo_px=64)
    file = tmp_path_factory.mktemp("graph") / "recogniser.onnx"
    write_recogniser_graph(Recogniser(shape, 2).eval(), file)
    return file


@pytest.mark.parametrize("bad", [0, 2, len(KEPT_ALONE)])
def test_one_network_keeps_layers_of_its_own(
    recogniser_graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    monkeypatch.setattr(
        "leafscout.inference.round_graphs.rank_layers",
        lambda graph, *_, **__: tuple(LayerHarm(layer, 0.1) for layer in graph.layers),
    )
    rng = np.random.default_rng(0)
    inputs = {"recogniser": tuple(rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8))}
    answers = iter([*[BAD] * bad, GOOD])

    def work() -> Rounded:
        return round_until_alike(
            {"recogniser": recogniser_graph}, {"recogniser": tmp_path / "recogniser.onnx"}, inputs,
            lambda: next(answers), LIMITS, threads=1,
        )  # fmt: skip

    if bad == len(KEPT_ALONE):
        with pytest.raises(InputError, match="Keeping up to 50% of the recogniser's layers in fp3"):
            work()
        return
    rounded = work()
    layers = rounded.layers["recogniser"]
    kept = math.ceil(KEPT_ALONE[bad]["recogniser"] * layers)
    assert len(rounded.fp32_layers["recogniser"]) == kept
    sentence = rounded.sentence()
    assert (
        sentence is None if bad == 0 else f"{kept} of {layers} layers of the rec" in str(sentence)
    )


def test_healthy_photos_alone_do_not_calibrate_a_recogniser(tmp_path: Path) -> None:
    class Healthy:
        def run(self, _: np.ndarray) -> PhotoAnswer:
            return PhotoAnswer(np.full(2, -9, np.float32), np.empty((2, 0, 0), np.float32))

    model, path = RecogniserModel(Healthy(), RULES), tmp_path / "leaf.png"
    Image.fromarray(np.zeros((128, 128, 3), dtype=np.uint8)).save(path)
    with pytest.raises(InputError, match="finds no disease in any of the 30 photos given to cal"):
        gather_squares(model, [path] * LEAST_TILES)
    with pytest.raises(InputError, match="at least 30 photos to calibrate int8 on, but got 29"):
        gather_squares(model, [path] * (LEAST_TILES - 1))
    model = RecogniserModel(Healthy(), replace(RULES, thresholds=(0.0, 0.0)))
    squares = gather_squares(model, [path] * (MOST_TILES + 5))["recogniser"]
    assert len(squares) == MOST_TILES
    assert squares[0].shape == (64, 64, 3)


def test_a_model_that_stayed_large_comes_with_advice() -> None:
    assert describe_size(5_300_000, 17_800_000) == "The graphs take 5.3 MB, 30% of fp32's."
    assert "86% of fp32's. Little is left" in describe_size(15_400_000, 17_900_000)
