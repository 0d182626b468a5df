"""A recogniser's graph rounded to eight bits, until it answers as PyTorch does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from torch import nn

from leafscout.errors import InputError
from leafscout.export.parity import Limits, answer_photo, compare_with_answers
from leafscout.inference.recogniser_runtime import RECOGNISER_FILE
from leafscout.inference.round_graphs import Rounded, describe_size, round_until_alike
from leafscout.model import Core
from leafscout.photos.decode import open_photo
from leafscout.recogniser_model import RecogniserModel
from leafscout.types import Pixels

LEAST_WEIGHTS_FRAC = 0.5
"""Share of a network's weights that convolutions must hold for int8 to be worth anything."""

Squares: TypeAlias = dict[str, tuple[Pixels, ...]]
"""The name of a graph → what it is shown to measure the ranges of its values."""


def gather_inputs(reference: RecogniserModel, network: nn.Module, photos: list[Path]) -> Squares:
    """What the ranges of int8 are measured on.

    Args:
        reference: the model in PyTorch.
        network: its own.
        photos: enough of them, some with a disease.

    Raises:
        InputError: when convolutions hold too little of the network, or the photos are too few.
    """
    from leafscout.export.calibration_set import gather_squares

    frac = weigh_convolutions(network)
    if frac < LEAST_WEIGHTS_FRAC:
        raise InputError(
            f"int8 rounds convolutions, and these hold {frac:.0%} of the weights of this "
            "recogniser: little would be gained. Export it without --int8."
        )
    return gather_squares(reference, photos)


def round_recogniser(
    reference: Core,
    file: Path,
    open_exported: Callable[[], Core],
    inputs: Squares,
    photos: list[Path],
    limits: Limits,
    *,
    threads: int | None,
    say: Callable[[str], None],
    show: Callable[[int, int], None] | None,
) -> tuple[Rounded, tuple[str, ...]]:
    """Round the graph of a recogniser; layers that change its answers too much stay as they are.

    Args:
        reference: the model in PyTorch.
        file: its ONNX graph in single precision; the rounded one takes its place.
        open_exported: the model from what stands at ``file``.
        inputs: of ``gather_inputs``.
        photos: to compare on.
        limits: how much it may differ.
        threads: CPU threads.
        say: told each step.
        show: told the photos compared and all.

    Returns:
        What was rounded and how it compares, and sentences about both.

    Raises:
        InputError: when it differs too much whatever stays in single precision.
    """
    say(f"Comparing with PyTorch on {len(photos)} photos.")
    answers = []
    for done, path in enumerate(photos, start=1):
        answers.append(answer_photo(reference, open_photo(path)))
        if show is not None:
            show(done, len(photos))
    fp32_bytes = file.stat().st_size
    with tempfile.TemporaryDirectory(dir=file.parent) as aside:
        rounded = round_until_alike(
            {RECOGNISER_FILE: file.rename(Path(aside) / file.name)},
            {RECOGNISER_FILE: file},
            inputs,
            lambda: compare_with_answers(answers, open_exported(), photos),
            limits,
            threads=threads,
            say=say,
        )
    size = sum(one.stat().st_size for one in file.parent.iterdir())
    notes = (rounded.sentence(), describe_size(size, fp32_bytes))
    return rounded, tuple(note for note in notes if note)


def weigh_convolutions(network: nn.Module) -> float:
    """Share of a network's weights that convolutions hold, 0..1."""
    inside = sum(one.weight.numel() for one in network.modules() if isinstance(one, nn.Conv2d))
    return inside / sum(one.numel() for one in network.parameters())
