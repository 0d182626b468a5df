"""Which layers rounding harms most: each in int8 alone, everything else in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from leafscout.export.quantise import RoundableGraph
from leafscout.types import Pixels

_ERRORS_ALONE = 3


@dataclass(frozen=True)
class LayerHarm:
    """What the rounding of one layer does to the outputs.

    Attributes:
        layer: name of the convolution.
        error: mean over the outputs of the squared change ÷ the output's variance; 0 is none.
    """

    layer: str
    error: float


def rank_layers(
    graph: RoundableGraph,
    inputs: Sequence[Pixels],
    *,
    outputs: Sequence[str],
    threads: int | None = None,
) -> tuple[LayerHarm, ...]:
    """Round every layer alone and see what that changes.

    Errors of layers nearly add up, so one pass over the layers tells which to keep in fp32.

    Args:
        graph: with measured ranges.
        inputs: a few arrays to run it on.
        outputs: names of the outputs that matter.
        threads: CPU threads; None leaves it to ONNX Runtime.

    Returns:
        All layers that would be rounded, the most harmful first.
    """
    expected = _run(graph.serialise(), inputs, outputs, threads)
    found = []
    for layer in graph.layers:
        rounded = _run(graph.round_alone(layer), inputs, outputs, threads)
        found.append(LayerHarm(layer, _relative_error(expected, rounded)))
    return tuple(sorted(found, key=lambda one: one.error, reverse=True))


def _run(
    model: bytes, inputs: Sequence[Pixels], outputs: Sequence[str], threads: int | None
) -> list[NDArray[Any]]:
    """Each output over all inputs, flattened."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ALONE
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (given,) = (one.name for one in session.get_inputs())
    rows = [session.run(list(outputs), {given: np.ascontiguousarray(one)}) for one in inputs]
    return [np.concatenate([part.ravel() for part in parts]) for parts in zip(*rows, strict=True)]


def _relative_error(expected: list[NDArray[Any]], found: list[NDArray[Any]]) -> float:
    errors = [
        float(np.mean((one - other) ** 2) / (np.var(one) + np.finfo(np.float32).tiny))
        for one, other in zip(expected, found, strict=True)
    ]
    return float(np.mean(errors))
