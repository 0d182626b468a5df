"""ONNX Runtime: exported ONNX graphs on the CPU."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from leafscout.errors import InputError
from leafscout.inference.graph_networks import GraphNetworks, RunGraph
from leafscout.model import GlanceEvidence, TileEvidence
from leafscout.types import FloatArray, Pixels

_ERRORS_ALONE = 3


def open_onnx_networks(folder: Path, threads: int) -> GraphNetworks:
    """Open ``scout.onnx`` and ``expert.onnx``.

    Args:
        folder: of an exported model.
        threads: threads inside one operation; operations run one after another.

    Raises:
        InputError: when ONNX Runtime cannot run a graph.
    """
    return GraphNetworks(
        scout=open_onnx_graph(folder / "scout.onnx", GlanceEvidence._fields, threads),
        expert=open_onnx_graph(folder / "expert.onnx", TileEvidence._fields, threads),
    )


def open_onnx_graph(path: Path, outputs: tuple[str, ...], threads: int) -> RunGraph:
    """Open one graph of one input.

    Args:
        path: of the ONNX file.
        outputs: names of what is wanted of it, in order.
        threads: see ``open_onnx_networks``.

    Raises:
        InputError: when ONNX Runtime cannot run it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ALONE
    # Threads that wait must not keep cores busy: decoding and other processes need them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        (given,) = (one.name for one in session.get_inputs())
    except Exception as error:  # its errors share no base class
        raise InputError(
            f"{path} cannot be run by ONNX Runtime {onnxruntime.__version__} "
            f"({type(error).__name__}). Update onnxruntime, or export the model again."
        ) from error

    def run(values: Pixels | FloatArray) -> list[FloatArray]:
        found: list[FloatArray] = session.run(list(outputs), {given: values})
        return found

    return run
