"""A recogniser of whole photos from its folder, in whatever runtime that holds."""

from __future__ import annotations

from pathlib import Path

from leafscout.errors import InputError
from leafscout.inference.graph_networks import GraphPhotoNetwork
from leafscout.inference.runtimes import TORCH, StoredModel, check_installed, open_graph
from leafscout.manifest import Manifest
from leafscout.recogniser_model import PhotoAnswer, PhotoNetwork, RecogniserModel
from leafscout.recognisers.shapes import RecogniserShape

RECOGNISER_FILE = "recogniser"
"""Its weights and graphs, without the ending."""


def open_recogniser(stored: StoredModel, threads: int | None = None) -> RecogniserModel:
    """A recogniser of a model folder, ready to run.

    Args:
        stored: a folder whose manifest describes a recogniser.
        threads: CPU threads of the runtime; None takes every core that this process may use.

    Raises:
        InputError: when the runtime is not installed, or the weights do not fit the manifest.
    """
    check_installed(stored.runtime)
    if stored.runtime == TORCH:
        network = _open_torch(stored, threads)
    else:
        network = open_photo_graph(stored.folder, stored.runtime, threads)
    return RecogniserModel(network, stored.manifest.rules())


def shape_of(manifest: Manifest) -> RecogniserShape:
    """What the recogniser of a manifest is made of.

    Raises:
        InputError: when it describes none.
    """
    if manifest.recogniser is None:
        raise InputError("This is no recogniser of whole photos.")
    return RecogniserShape(manifest.expert, manifest.glance_px, **manifest.recogniser.model_dump())


def _open_torch(stored: StoredModel, threads: int | None) -> PhotoNetwork:
    from leafscout.inference.torch_runtime import fill
    from leafscout.networks import choose_device, set_threads
    from leafscout.recogniser_networks import TorchPhotoNetwork, build_recogniser_network

    set_threads(threads)
    network = build_recogniser_network(shape_of(stored.manifest), len(stored.manifest.labels))
    fill(network, stored.folder / f"{RECOGNISER_FILE}.safetensors")
    device = choose_device()
    return TorchPhotoNetwork(network.to(device).eval(), device)


def open_photo_graph(folder: Path, runtime: str, threads: int | None = None) -> PhotoNetwork:
    """Open the graph of an exported recogniser.

    Args:
        folder: holds the graph.
        runtime: ``onnxruntime`` or ``openvino``.
        threads: of the runtime; None takes every core that this process may use.

    Raises:
        InputError: when the runtime cannot run it.
    """
    file = folder / RECOGNISER_FILE
    return GraphPhotoNetwork(open_graph(file, PhotoAnswer._fields, runtime, threads))
