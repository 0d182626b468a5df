"""A recogniser as one graph, compared with PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from leafscout.errors import InputError
from leafscout.export.folder import describe_parity
from leafscout.export.parity import Limits, Parity, compare_models
from leafscout.inference.recogniser_runtime import (
    RECOGNISER_FILE,
    open_photo_graph,
    open_recogniser,
)
from leafscout.inference.runtimes import StoredModel
from leafscout.manifest import ExportEntry
from leafscout.recogniser_model import RecogniserModel
from leafscout.recogniser_networks import TorchPhotoNetwork


def export_recogniser(
    source: StoredModel,
    folder: Path,
    photos: list[Path],
    runtime: Literal["onnxruntime", "openvino"],
    limits: Limits,
    *,
    threads: int | None,
    say: Callable[[str], None],
    show: Callable[[int, int], None] | None,
) -> tuple[ExportEntry, Parity]:
    """Write the graph of a recogniser and compare it with PyTorch on photos.

    Args:
        source: of a run.
        folder: empty; the graph goes there.
        photos: to compare on.
        runtime: that the graph is for.
        limits: how much it may differ.
        threads: CPU threads of both.
        say: told each step.
        show: told the photos compared and all.

    Raises:
        InputError: a network that cannot be exported, or that differs too much.
    """
    from leafscout.export.graphs import write_recogniser_graph

    model = open_recogniser(source, threads)
    if not isinstance(model.network, TorchPhotoNetwork):
        raise InputError(f"{source.folder} is an exported model already.")
    # In plain single precision: GPUs round products to fewer digits.
    network = model.network.network.cpu()
    say("Writing the graph of the recogniser.")
    file = folder / f"{RECOGNISER_FILE}.onnx"
    write_recogniser_graph(network, file)
    if runtime == "openvino":
        from leafscout.export.openvino_graphs import convert_graph

        convert_graph(file, file.with_suffix(".xml"))
        file.unlink()
    say(f"Comparing with PyTorch on {len(photos)} photos.")
    parity = compare_models(
        RecogniserModel(TorchPhotoNetwork(network, torch.device("cpu")), model.rules),
        RecogniserModel(open_photo_graph(folder, runtime, threads), model.rules),
        photos,
        show=show,
    )
    parity.check(limits)
    return (
        ExportEntry(
            runtime=runtime,
            precision="fp32",
            source_files=source.manifest.files,
            calibration_photos=0,
            calibration_tiles=0,
            parity=describe_parity(parity),
        ),
        parity,
    )
