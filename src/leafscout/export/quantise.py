"""Static int8: weights and activations of convolutions as bytes, ranges measured on photos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from leafscout.errors import InputError
from leafscout.export.quiet import quiet_logs
from leafscout.types import Pixels

QUANTISED_OPERATORS = ("Conv", "Add", "Clip", "Relu", "Mul", "AveragePool", "GlobalAveragePool")


def quantise_graph(source: Path, target: Path, inputs: Iterable[Pixels]) -> None:
    """Write an int8 twin of an ONNX graph (Jacob et al. 2018, quantise–dequantise form).

    Weights get one symmetric scale a channel, activations one affine range a tensor. What follows
    the last convolution on the way to an output stays in fp32, that convolution included: it is
    the classifier, it costs next to nothing, and its rounding would go straight into the answer.

    Args:
        source: the fp32 graph; one input.
        target: where the int8 graph goes.
        inputs: arrays that set the ranges of activations.

    Raises:
        InputError: when ONNX Runtime cannot quantise the graph.
    """
    import onnx
    from onnxruntime import quantization

    graph = onnx.load(str(source)).graph
    given = graph.input[0].name
    try:
        with quiet_logs():
            quantization.quantize_static(
                str(source),
                str(target),
                _Reader(given, inputs),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTISED_OPERATORS),
                nodes_to_quantize=find_quantised_nodes(graph),
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                # The whole range: what is rare and strong may be the lesion, and is not cut off.
                calibrate_method=quantization.CalibrationMethod.MinMax,
            )
    except (ValueError, RuntimeError, NotImplementedError) as error:
        raise InputError(
            f"The graph {target.name} cannot be rounded to int8 ({error}). "
            "Export it without --int8."
        ) from error


def find_quantised_nodes(graph: Any) -> list[str]:
    """Names of the nodes between the first convolutions and the last ones, the last ones left out.

    Args:
        graph: an ONNX ``GraphProto`` in topological order.
    """
    after, before = set[str](), set[str]()
    for node in graph.node:
        if node.op_type == "Conv" or after.intersection(node.input):
            after.update(node.output)
    found: list[str] = []
    for node in reversed(graph.node):
        leads_on = bool(before.intersection(node.output))
        if leads_on and node.op_type in QUANTISED_OPERATORS and after.intersection(node.output):
            found.append(node.name)
        if leads_on or node.op_type == "Conv":
            before.update(node.input)
    return found[::-1]


class _Reader:
    """Feeds arrays to ONNX Runtime's calibration."""

    def __init__(self, name: str, inputs: Iterable[Pixels]) -> None:
        self._feeds: Iterator[dict[str, Pixels]] = (
            {name: np.ascontiguousarray(one)} for one in inputs
        )

    def get_next(self) -> dict[str, Pixels] | None:
        return next(self._feeds, None)
