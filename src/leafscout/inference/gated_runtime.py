"""An integrated model from its folder, in whatever runtime that holds."""

from __future__ import annotations

from pathlib import Path

from leafscout.errors import InputError
from leafscout.gated_model import EarlyAnswer, GatedModel, LaterAnswer, TokenMacs, TokenNetwork
from leafscout.inference.graph_networks import GraphTokenNetwork
from leafscout.inference.runtimes import StoredModel, check_installed, open_graph
from leafscout.manifest import GateEntry, Manifest

EARLY_FILE, LATER_FILE = "early", "later"
"""Its graphs, without the ending: early layers with the gate, and later layers."""


def open_gated_model(stored: StoredModel, threads: int | None = None) -> GatedModel:
    """The integrated model of a model folder, ready to run.

    Args:
        stored: a folder whose manifest describes an integrated model.
        threads: CPU threads of the runtime; None takes every core that this process may use.

    Raises:
        InputError: when the runtime is not installed, or the weights do not fit the manifest.
    """
    check_installed(stored.runtime)
    manifest = stored.manifest
    if manifest.gate is None:
        raise InputError(f"{stored.folder} does not hold an integrated model.")
    export = manifest.export
    if export is None:
        return GatedModel(_open_torch(stored, manifest.gate, threads), manifest.rules())
    if export.token_macs is None:
        raise InputError(
            f"{stored.folder} does not say what its multiply-adds are counted by. "
            "Export the model again."
        )
    macs = TokenMacs(**export.token_macs.model_dump())
    network = open_token_graphs(stored.folder, manifest, macs, export.runtime, threads)
    return GatedModel(network, manifest.rules())


def _open_torch(stored: StoredModel, gate: GateEntry, threads: int | None) -> TokenNetwork:
    from leafscout.gated_networks import TorchTokenNetwork, build_gated_transformer
    from leafscout.inference.torch_runtime import fill
    from leafscout.networks import choose_device, set_threads

    manifest = stored.manifest
    set_threads(threads)
    network = build_gated_transformer(
        manifest.expert, len(manifest.labels), token_px=manifest.tile_px, **gate.model_dump()
    )
    fill(network, stored.folder / next(iter(manifest.files)))
    device = choose_device()
    return TorchTokenNetwork(network.to(device).eval(), device)


def open_token_graphs(
    folder: Path, manifest: Manifest, macs: TokenMacs, runtime: str, threads: int | None = None
) -> TokenNetwork:
    """Open the two graphs of an exported integrated model.

    Args:
        folder: holds the graphs.
        manifest: of the model.
        macs: what its multiply-adds are counted by.
        runtime: ``onnxruntime`` or ``openvino``.
        threads: of the runtime; None takes every core that this process may use.

    Raises:
        InputError: when the runtime cannot run them.
    """
    return GraphTokenNetwork(
        early=open_graph(folder / EARLY_FILE, EarlyAnswer._fields, runtime, threads),
        later=open_graph(folder / LATER_FILE, LaterAnswer._fields, runtime, threads),
        labels=len(manifest.labels),
        token_px=manifest.tile_px,
        macs=macs,
    )
