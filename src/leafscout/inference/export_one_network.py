"""One network for the whole photo as graphs, rounded where wanted, compared with PyTorch."""

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
from leafscout.inference.round_recogniser import gather_inputs, round_recogniser
from leafscout.inference.runtimes import StoredModel
from leafscout.manifest import ExportEntry, TokenMacsEntry
from leafscout.model import Core
from leafscout.recogniser_model import RecogniserModel
from leafscout.recogniser_networks import TorchPhotoNetwork
from leafscout.recognisers.whole_photo import Recogniser

GraphRuntime = Literal["onnxruntime", "openvino"]

# In plain single precision: GPUs round products to fewer digits.
CPU = torch.device("cpu")


@dataclass(frozen=True)
class _Written:
    """ONNX graphs of a model.

    Attributes:
        reference: the model in PyTorch, on the CPU.
        files: the graphs.
        open_exported: the model from its graphs, which its runtime takes over first.
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
    calibration: list[Path] | None,
    threads: int | None,
    say: Callable[[str], None],
    show: Callable[[int, int], None] | None,
) -> tuple[ExportEntry, Parity, tuple[str, ...]]:
    """Write the graphs of a recogniser or an integrated model, and compare it with PyTorch.

    Args:
        source: of a run.
        folder: empty; the graphs go there.
        photos: to compare on.
        runtime: that the graphs are for.
        limits: how much it may differ.
        calibration: photos that the ranges of int8 are measured on, for a recogniser; None for
            single precision.
        threads: CPU threads of both.
        say: told each step.
        show: told the photos compared and all.

    Returns:
        What the manifest says of it, how it compared, and what a reader must know.

    Raises:
        InputError: a network that cannot be exported or rounded, or that differs too much.
    """
    model: object = open_core(source, threads)
    if isinstance(model, RecogniserModel):
        inputs = None
        if calibration is not None:
            say("Looking at photos that set the ranges of int8.")
            inputs = gather_inputs(model, _own_network(model), calibration)
        say("Writing the graph of the recogniser.")
        written = _write_recogniser(model, folder, runtime, threads)
        if inputs is not None:
            rounded, notes = round_recogniser(
                written.reference, written.files[0], written.open_exported, inputs, photos, limits,
                threads=threads, say=say, show=show,
            )  # fmt: skip
            count = len(inputs[RECOGNISER_FILE])
            entry = _describe(source, runtime, rounded.parity, count, rounded.fp32_layers)
            return entry, rounded.parity, notes
    elif isinstance(model, GatedModel):
        say("Writing the graphs of early and later layers.")
        written = _write_tokens(model, source, folder, runtime, threads)
    else:
        raise TypeError(f"Expected one network for the photo, but got {type(model).__name__}.")
    say(f"Comparing with PyTorch on {len(photos)} photos.")
    parity = compare_models(written.reference, written.open_exported(), photos, show=show)
    parity.check(limits)
    return _describe(source, runtime, parity, token_macs=written.token_macs), parity, ()


def _describe(
    source: StoredModel,
    runtime: GraphRuntime,
    parity: Parity,
    calibrated: int = 0,
    fp32_layers: dict[str, tuple[str, ...]] | None = None,
    token_macs: TokenMacsEntry | None = None,
) -> ExportEntry:
    """What the manifest says; ``calibrated`` photos mean int8, each of them one tile."""
    return ExportEntry(
        runtime=runtime,
        precision="int8" if calibrated else "fp32",
        source_files=source.manifest.files,
        calibration_photos=calibrated,
        calibration_tiles=calibrated,
        fp32_layers=fp32_layers or {},
        token_macs=token_macs,
        parity=describe_parity(parity),
    )


def _convert(files: tuple[Path, ...], runtime: GraphRuntime) -> None:
    """Let a runtime with a format of its own take over what stands there as ONNX."""
    if runtime == "openvino":
        from leafscout.export.openvino_graphs import convert_graph

        for file in files:
            convert_graph(file, file.with_suffix(".xml"))
            file.unlink()


def _own_network(model: RecogniserModel) -> Recogniser:
    if not isinstance(model.network, TorchPhotoNetwork):
        raise InputError(_ALREADY)
    return model.network.network.cpu()


def _write_recogniser(
    model: RecogniserModel, folder: Path, runtime: GraphRuntime, threads: int | None
) -> _Written:
    from leafscout.export.graphs import write_recogniser_graph

    network = _own_network(model)
    file = folder / f"{RECOGNISER_FILE}.onnx"
    write_recogniser_graph(network, file)

    def open_exported() -> Core:
        _convert((file,), runtime)
        return RecogniserModel(open_photo_graph(folder, runtime, threads), model.rules)

    reference = RecogniserModel(TorchPhotoNetwork(network, CPU), model.rules)
    return _Written(reference, (file,), open_exported)


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

    def open_exported() -> Core:
        _convert(files, runtime)
        graphs = open_token_graphs(folder, source.manifest, macs, runtime, threads)
        return GatedModel(graphs, model.rules)

    reference = GatedModel(own, model.rules)
    return _Written(reference, files, open_exported, TokenMacsEntry(**vars(macs)))


_ALREADY = "This is an exported model already. Name the run folder that it was made from."
