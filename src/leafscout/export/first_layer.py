"""The first convolution of an int8 graph takes bytes as they are: normalisation moves into it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

GREY = 116
"""The level that stands for zero: near the mean of ImageNet's three channels."""


class _Start(NamedTuple):
    """The first nodes of a graph: (pixels − mean) ÷ std, then a convolution."""

    minus: Any
    over: Any
    convolution: Any


def normalise_in_first_convolution(model: Any) -> str | None:
    """Move the subtraction of a mean and the division by a deviation into the first convolution.

    Between int8 layers ONNX Runtime keeps channels last, where subtracting three values took a
    quarter of the time of a small scout, and the normalised pixels were rounded a second time. What
    is left is pixels − ``GREY``, whole numbers that a byte holds exactly. Zeros that pad the photo
    then stand for grey instead of the mean colour; nothing else changes.

    Args:
        model: a ``ModelProto``; changed in place. Left as it is where it does not begin so.

    Returns:
        The name of the tensor that holds pixels − ``GREY``, or None.
    """
    import onnx

    graph = model.graph
    tensors = {one.name: one for one in graph.initializer}
    values = {name: onnx.numpy_helper.to_array(one) for name, one in tensors.items()}
    start = _find_start(graph, values)
    if start is None:
        return None
    minus, over, convolution = start
    mean, std = (values[node.input[1]].astype(np.float64).ravel() for node in (minus, over))
    weight = values[convolution.input[1]].astype(np.float64) / std[:, None, None]
    shift = (weight * (GREY - mean)[:, None, None]).sum(axis=(1, 2, 3))
    named = len(convolution.input) > 2
    bias = values[convolution.input[2]] + shift if named else shift
    del convolution.input[1:]
    for part, array in (("weight", weight), ("bias", bias), ("grey", np.array(float(GREY)))):
        name = f"first_layer.{part}"
        graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
        if part != "grey":
            convolution.input.append(name)
    minus.input[1] = "first_layer.grey"
    convolution.input[0] = minus.output[0]
    graph.node.remove(over)
    used = {name for node in graph.node for name in node.input}
    for name in tensors.keys() - used:
        graph.initializer.remove(tensors[name])
    return str(minus.output[0])


def _find_start(graph: Any, values: dict[str, NDArray[Any]]) -> _Start | None:
    """The nodes that begin the graph, where nothing else uses what passes between them."""
    minus = next((node for node in graph.node if node.op_type == "Sub"), None)
    found = [minus]
    for wanted in ("Div", "Conv"):
        before = found[-1]
        if before is None:
            return None
        users = [node for node in graph.node if before.output[0] in node.input]
        found.append(users[0] if len(users) == 1 and users[0].op_type == wanted else None)
    minus, over, convolution = found
    if minus is None or over is None or convolution is None:
        return None
    weight = values.get(convolution.input[1])
    rest = [values.get(name) for name in (minus.input[1], over.input[1], *convolution.input[2:])]
    if weight is None or any(one is None for one in rest):
        return None
    channels = weight.shape[1]
    if any(one is None or one.shape != (1, channels, 1, 1) for one in rest[:2]):
        return None
    return _Start(minus, over, convolution)
