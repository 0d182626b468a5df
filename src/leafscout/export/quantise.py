"""Static int8: weights and activations of convolutions as bytes, ranges measured on photos."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from leafscout.errors import InputError
from leafscout.export.first_layer import GREY, normalise_in_first_convolution
from leafscout.export.quiet import quiet_logs
from leafscout.types import Pixels

QUANTISED_OPERATORS = ("Conv", "Add", "Clip", "Relu", "Mul", "AveragePool", "GlobalAveragePool")

RangeMethod = Literal["whole", "percentile", "entropy"]
"""How the range of an activation follows from its values; see ``measure_ranges``."""

CUT_PERCENTILE = 99.99


class RoundableGraph:
    """An fp32 graph with the measured ranges of its activations: int8 twins of it can be written.

    Args:
        name: of the graph's file.
        model: the ``ModelProto``, with the shapes of its tensors.
        ranges: of its tensors, as ONNX Runtime's calibrators give them.
    """

    def __init__(self, name: str, model: Any, ranges: Any) -> None:
        self.name = name
        self._model = model
        self._ranges = ranges

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the convolutions that are rounded, in the order of the graph."""
        names = set(find_quantised_nodes(self._model.graph))
        return tuple(
            node.name
            for node in self._model.graph.node
            if node.op_type == "Conv" and node.name in names
        )

    def write(self, target: Path, *, keep: Collection[str] = ()) -> None:
        """Write the int8 twin (Jacob et al. 2018, quantise–dequantise form).

        Weights get one symmetric scale a channel, activations one affine range a tensor. What
        follows the last convolution on the way to an output stays in fp32, that convolution
        included: it is the classifier, it costs next to nothing, and its rounding would go
        straight into the answer.

        Args:
            target: where the int8 graph goes.
            keep: layers that stay in fp32 as well.

        Raises:
            InputError: when ONNX Runtime cannot quantise the graph.
        """
        nodes = [name for name in find_quantised_nodes(self._model.graph) if name not in keep]
        self._round(nodes, target.name).save_model_to_file(str(target))

    def serialise(self) -> bytes:
        """The graph in fp32."""
        whole: bytes = self._model.SerializeToString()
        return whole

    def round_alone(self, layer: str) -> bytes:
        """The graph with one convolution in int8 and all else in fp32, serialised."""
        rounded: bytes = self._round([layer], self.name).model.SerializeToString()
        return rounded

    def _round(self, nodes: list[str], name: str) -> Any:
        from onnxruntime import quantization

        try:
            with quiet_logs():
                quantiser = quantization.QDQQuantizer(
                    copy.deepcopy(self._model),
                    per_channel=True,
                    reduce_range=False,
                    weight_qType=quantization.QuantType.QInt8,
                    activation_qType=quantization.QuantType.QUInt8,
                    tensors_range=self._ranges,
                    nodes_to_quantize=nodes,
                    nodes_to_exclude=[],
                    op_types_to_quantize=list(QUANTISED_OPERATORS),
                    extra_options={},
                )
                quantiser.quantize_model()
        except (ValueError, RuntimeError, NotImplementedError) as error:
            raise _refusal(name, error) from error
        return quantiser.model


def measure_ranges(
    source: Path, inputs: Iterable[Pixels], *, method: RangeMethod = "whole"
) -> RoundableGraph:
    """Run a graph and note which values its activations take.

    Args:
        source: the fp32 graph; one input.
        inputs: arrays that set the ranges of activations.
        method: ``whole`` keeps the smallest and largest value: what is rare and strong may be the
            lesion, and is not cut off. ``percentile`` cuts off the rarest values on either side,
            ``entropy`` those whose loss changes the distribution least (Migacz 2017).

    Raises:
        InputError: when ONNX Runtime cannot run or calibrate the graph.
    """
    import onnx

    model = onnx.load(str(source))
    levels = normalise_in_first_convolution(model)
    model = onnx.shape_inference.infer_shapes(model)
    # ONNX Runtime's mark for a graph whose shapes are known.
    onnx.helper.set_model_props(model, {"onnx.infer": "onnxruntime.quant"})
    try:
        with quiet_logs(), tempfile.TemporaryDirectory() as folder:
            prepared = Path(folder) / source.name
            onnx.save(model, str(prepared))
            calibrator = _open_calibrator(prepared, method)
            for one in inputs:  # one at a time: it keeps every activation of what it is given
                calibrator.collect_data(_Reader(model.graph.input[0].name, [one]))
            ranges = calibrator.compute_data()
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise _refusal(source.name, error) from error
    if levels is not None:
        ranges[levels].lowest, ranges[levels].highest = np.float32(-GREY), np.float32(255 - GREY)
    return RoundableGraph(source.name, model, ranges)


def _open_calibrator(source: Path, method: RangeMethod) -> Any:
    from onnxruntime import quantization

    kinds = quantization.CalibrationMethod
    kind, extra = {
        "whole": (kinds.MinMax, {}),
        "percentile": (kinds.Percentile, {"percentile": CUT_PERCENTILE, "symmetric": False}),
        "entropy": (kinds.Entropy, {}),
    }[method]
    return quantization.create_calibrator(
        source,
        list(QUANTISED_OPERATORS),
        augmented_model_path=str(source.with_name("augmented.onnx")),
        calibrate_method=kind,
        extra_options=extra,
    )


def quantise_graph(source: Path, target: Path, inputs: Iterable[Pixels]) -> None:
    """Measure ranges and write an int8 twin of an ONNX graph.

    Args:
        source: the fp32 graph; one input.
        target: where the int8 graph goes.
        inputs: arrays that set the ranges of activations.

    Raises:
        InputError: when ONNX Runtime cannot quantise the graph.
    """
    measure_ranges(source, inputs).write(target)


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


def _refusal(name: str, error: Exception) -> InputError:
    return InputError(
        f"The graph {name} cannot be rounded to int8 ({error}). Export it without --int8."
    )


class _Reader:
    """Feeds arrays to ONNX Runtime's calibration."""

    def __init__(self, name: str, inputs: Iterable[Pixels]) -> None:
        self._feeds: Iterator[dict[str, Pixels]] = (
            {name: np.ascontiguousarray(one)} for one in inputs
        )

    def get_next(self) -> dict[str, Pixels] | None:
        return next(self._feeds, None)
