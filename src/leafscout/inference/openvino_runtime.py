"""OpenVINO: exported graphs of its own format on the CPU."""

from __future__ import annotations

from pathlib import Path

from leafscout.errors import InputError
from leafscout.inference.graph_networks import GraphNetworks, RunGraph
from leafscout.model import GlanceEvidence, TileEvidence
from leafscout.openvino_core import share_core
from leafscout.types import FloatArray, Pixels


def open_openvino_networks(folder: Path, threads: int) -> GraphNetworks:
    """Open ``scout.xml`` and ``expert.xml``.

    Args:
        folder: of an exported model.
        threads: threads of one inference.

    Raises:
        InputError: when OpenVINO cannot run a graph.
    """
    return GraphNetworks(
        scout=open_openvino_graph(folder / "scout.xml", GlanceEvidence._fields, threads),
        expert=open_openvino_graph(folder / "expert.xml", TileEvidence._fields, threads),
    )


def open_openvino_graph(path: Path, outputs: tuple[str, ...], threads: int) -> RunGraph:
    """Open one graph of one input.

    Args:
        path: of the XML file.
        outputs: names of what is wanted of it, in order.
        threads: of one inference.

    Raises:
        InputError: when OpenVINO cannot run it.
    """
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        # Left alone, it computes in bfloat16 wherever the processor can, and answers change.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    try:
        request = share_core().compile_model(str(path), "CPU", settings).create_infer_request()
    except RuntimeError as error:
        raise InputError(
            f"{path} cannot be run by the OpenVINO that is installed ({_first_line(error)}). "
            "Update openvino, or export the model again."
        ) from error

    def run(values: Pixels | FloatArray) -> list[FloatArray]:
        request.infer([values])
        return [request.get_tensor(name).data for name in outputs]

    return run


def _first_line(error: RuntimeError) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]
