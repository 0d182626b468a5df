"""An integrated model from its folder."""

from __future__ import annotations

from leafscout.errors import InputError
from leafscout.gated_model import GatedModel
from leafscout.inference.runtimes import StoredModel, check_installed


def open_gated_model(stored: StoredModel, threads: int | None = None) -> GatedModel:
    """Build the network of a model folder and fill it with its weights.

    Args:
        stored: a folder whose manifest describes an integrated model.
        threads: CPU threads of PyTorch; None takes every core that this process may use.

    Raises:
        InputError: when PyTorch is not installed, or the weights do not fit the manifest.
    """
    check_installed(stored.runtime)
    from leafscout.gated_networks import TorchTokenNetwork, build_gated_transformer
    from leafscout.inference.torch_runtime import fill
    from leafscout.networks import choose_device, set_threads

    manifest = stored.manifest
    if manifest.gate is None:
        raise InputError(f"{stored.folder} does not hold an integrated model.")
    set_threads(threads)
    network = build_gated_transformer(
        manifest.expert,
        len(manifest.labels),
        token_px=manifest.tile_px,
        **manifest.gate.model_dump(),
    )
    fill(network, stored.folder / next(iter(manifest.files)))
    device = choose_device()
    return GatedModel(TorchTokenNetwork(network.to(device).eval(), device), manifest.rules())
