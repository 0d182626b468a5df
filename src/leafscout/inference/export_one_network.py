"""One network for the whole photo as graphs, compared with PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from leafscout.diagnosis.pooling import ATTENTION_POOLINGS
from leafscout.errors import InputError
from leafscout.export.folder import describe_parity
from leafscout.export.parity import Limits, Parity, compare_models
from leafscout.export.token_macs import fit_token_macs
from leafscout.gated_model import GatedModel
from leafscout.gated_networks import TorchTokenNetwork
from leafscout.inference.gated_runtime import EARLY_FILE, LATER_FILE, open_token_graphs
from leafscout.inference.load import open_core
from leafscout.inference.recogniser_runtime import RECOGNISER_FILE, open_photo_graph
from leafscout.inference.runtimes import StoredModel
from leafscout.manifest import ExportEntry, TokenMacsEntry
from leafscout.model import Core
from leafscout.recogniser_model import RecogniserModel
from leafscout.recogniser_networks import TorchPhotoNetwork

GraphRuntime = Literal["onnxruntime", "openvino"]

# In plain single precision: GPUs round products to fewer digits.
CPU = torch.device("cpu")


@dataclass(frozen=True)
class _Written:
    """ONNX graphs of a model.

    Attributes:
        reference: the model in PyTorch, on the CPU.
        files: the graphs.
        open_exported: the model from its graphs, once they are in their runtime's format.
        token_macs: see ``ExportEntry``.
    """

    reference: Core
    files: tuple[Path, ...]
    open_exported: Callable[[], Core]
    token_macs: TokenMacsEntry | None = None


def export_one_network(
    source: StoredModel,
    folder: Path,
    photos: list[Path],
    runtime: GraphRuntime,
    limits: Limits,
    *,
    threads: int | None,
    say: Callable[[str], None],
    show: Callable[[int, int], None] | None,
) -> tuple[ExportEntry, Parity]:
    """Write the graphs of a recogniser or an integrated model, and compare it with PyTorch.

    Args:
        source: of a run.
        folder: empty; the graphs go there.
        photos: to compare on.
        runtime: that the graphs are for.
        limits: how much it may differ.
        threads: CPU threads of both.
        say: told each step.
        show: told the photos compared and all.

    Raises:
        InputError: a network that cannot be exported, or that differs too much.
    """
    model: object = open_core(source, threads)
    if isinstance(model, RecogniserModel):
        say("Writing the graph of the recogniser.")
        written = _write_recogniser(model, folder, runtime, threads)
    elif isinstance(model, GatedModel):
        say("Writing the graphs of early and later layers.")
        written = _write_tokens(model, source, folder, runtime, threads)
    else:
        raise TypeError(f"Expected one network for the photo, but got {type(model).__name__}.")
    if runtime == "openvino":
        from leafscout.export.openvino_graphs import convert_graph

        for file in written.files:
            convert_graph(file, file.with_suffix(".xml"))
            file.unlink()
    say(f"Comparing with PyTorch on {len(photos)} photos.")
    parity = compare_models(written.reference, written.open_exported(), photos, show=show)
    parity.check(limits)
    entry = ExportEntry(
        runtime=runtime,
        precision="fp32",
        source_files=source.manifest.files,
        calibration_photos=0,
        calibration_tiles=0,
        token_macs=written.token_macs,
        parity=describe_parity(parity),
    )
    return entry, parity


def _write_recogniser(
    model: RecogniserModel, folder: Path, runtime: GraphRuntime, threads: int | None
) -> _Written:
    from leafscout.export.graphs import write_recogniser_graph

    if not isinstance(model.network, TorchPhotoNetwork):
        raise InputError(_ALREADY)
    network = model.network.network.cpu()
    file = folder / f"{RECOGNISER_FILE}.onnx"
    write_recogniser_graph(network, file)
    return _Written(
        RecogniserModel(TorchPhotoNetwork(network, CPU), model.rules),
        (file,),
        lambda: RecogniserModel(open_photo_graph(folder, runtime, threads), model.rules),
    )


def _write_tokens(
    model: GatedModel,
    source: StoredModel,
    folder: Path,
    runtime: GraphRuntime,
    threads: int | None,
) -> _Written:
    from leafscout.export.graphs import write_token_graphs

    if not isinstance(model.network, TorchTokenNetwork):
        raise InputError(_ALREADY)
    own = TorchTokenNetwork(model.network.network.cpu(), CPU)
    macs = fit_token_macs(own)
    files = tuple(folder / f"{name}.onnx" for name in (EARLY_FILE, LATER_FILE))
    attention = model.rules.pooling in ATTENTION_POOLINGS
    write_token_graphs(own.network, *files, attention=attention)
    manifest = source.manifest
    return _Written(
        GatedModel(own, model.rules),
        files,
        lambda: GatedModel(
            open_token_graphs(folder, manifest, macs, runtime, threads), model.rules
        ),
        TokenMacsEntry(**vars(macs)),
    )


_ALREADY = "This is an exported model already. Name the run folder that it was made from."
