"""ONNX graphs in OpenVINO's own format."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from leafscout.errors import InputError
from leafscout.openvino_core import share_core


def convert_graph(onnx_file: Path, xml_file: Path) -> None:
    """Write an ONNX graph, fp32 or int8, in OpenVINO's format.

    It is read by the runtime itself: OpenVINO's converter and NNCF would report each use to a
    server.

    Args:
        onnx_file: the graph.
        xml_file: where it goes; its weights go beside it, with the ending ``.bin``.

    Raises:
        InputError: when OpenVINO does not know one of its operators.
    """
    openvino: Any = importlib.import_module("openvino")
    try:
        model = share_core().read_model(str(onnx_file))
        # By default the weights would be rounded to fp16.
        openvino.save_model(model, str(xml_file), compress_to_fp16=False)
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise InputError(
            f"OpenVINO cannot take over {onnx_file.name}: {reason}. "
            "Export with --to onnx, or train with another backbone."
        ) from error
