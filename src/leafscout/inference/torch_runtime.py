"""The torch runtime: networks from a model folder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from leafscout.errors import InputError
from leafscout.manifest import Manifest
from leafscout.networks import TorchNetworks, build_expert, build_scout, choose_device, set_threads
from leafscout.training.checkpoint import load_tensors


def load_networks(
    model_folder: Path, manifest: Manifest, threads: int | None = None
) -> TorchNetworks:
    """Build scout and expert and fill them with the weights of a model folder.

    Args:
        model_folder: holds ``expert.safetensors`` and ``scout.safetensors``.
        manifest: of that folder, already checked.
        threads: CPU threads of PyTorch; None takes every core that this process may use.

    Raises:
        InputError: when the weights do not fit the manifest, or are those of one network for the
            whole photo.
    """
    if manifest.family != "glance_and_focus":
        raise InputError(
            f"{model_folder} holds one network without scout and expert, and this needs both. "
            "Train another recipe for it, for example tiny."
        )
    set_threads(threads)
    device = choose_device()
    labels = len(manifest.labels)
    expert = build_expert(manifest.expert, labels, place_stride=manifest.place_stride)
    scout = build_scout(manifest.scout, labels, stride=manifest.scout_stride)
    for name, network in (("expert", expert), ("scout", scout)):
        fill(network, model_folder / f"{name}.safetensors")
    return TorchNetworks(scout.to(device).eval(), expert.to(device).eval(), device)


def fill(network: nn.Module, path: Path) -> None:
    """Fill a network with the weights of a file.

    Raises:
        InputError: when they are not its weights.
    """
    try:
        weights = load_tensors(path)[0]
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"{path} does not hold the weights that the manifest describes. "
            "Restore the model folder from a copy, or train again."
        ) from error
    # With such a weight no probability is a number, and every photo would count as healthy.
    if not all(torch.isfinite(tensor).all() for tensor in weights.values()):
        raise InputError(f"{path} holds weights that are no numbers. Train again.")
