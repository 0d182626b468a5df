"""Checkpoints: safetensors and JSON in one file, written so that a crash never leaves half of one.

Network, optimiser and bookkeeping of a stage go into one safetensors file: tensors by name, the
rest as JSON in its header. Nothing is ever pickled.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from leafscout.errors import InputError

CHECKPOINT_VERSION = 1


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that the path holds either the old content or the new, whole.

    The data goes to a temporary file in the same folder, is flushed to disk, and is renamed.

    Raises:
        OSError: when the folder cannot be written or the disk is full; the old file stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def save_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors and a JSON header as one safetensors file, atomically."""
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(flat, metadata={"leafscout": json.dumps(header)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save_tensors`` wrote.

    Raises:
        InputError: when the file is missing, damaged, or was not written by LeafScout.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}. The run is incomplete: train it again.")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["leafscout"])
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError, RecursionError) as error:
        raise InputError(
            f"{path} is not a LeafScout file or is damaged ({type(error).__name__}). "
            "Restore it from a copy, or train again."
        ) from error


def save_checkpoint(
    path: Path, network: nn.Module, optimizer: Optimizer, progress: dict[str, Any]
) -> None:
    """Write network, optimiser and progress.

    Args:
        path: the file.
        network: saved by its state dict.
        optimizer: saved by its per-parameter tensors.
        progress: JSON-safe bookkeeping.
    """
    tensors = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    state = optimizer.state_dict()["state"]
    for index, values in state.items():
        for key, value in values.items():
            tensors[f"optimizer/{index}/{key}"] = value
    save_tensors(path, tensors, {"version": CHECKPOINT_VERSION, "progress": progress})


def load_checkpoint(path: Path, network: nn.Module, optimizer: Optimizer | None) -> dict[str, Any]:
    """Fill network and optimiser from a checkpoint.

    Returns:
        The progress that was saved.

    Raises:
        InputError: when the file is damaged, of another version, or of another network.
    """
    tensors, header = load_tensors(path)
    if header.get("version") != CHECKPOINT_VERSION:
        raise InputError(
            f"{path} is a checkpoint of version {header.get('version')}, but this LeafScout reads "
            f"version {CHECKPOINT_VERSION}. Use the LeafScout that wrote it, or train again."
        )
    weights = _below("network/", tensors)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"{path} holds the weights of another network or of other labels. "
            "Resume with the settings that the run was started with."
        ) from error
    if optimizer is not None:
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _below("optimizer/", tensors).items():
            index, key = name.split("/", 1)
            state.setdefault(int(index), {})[key] = tensor
        whole = optimizer.state_dict()
        optimizer.load_state_dict({**whole, "state": state})
    progress: dict[str, Any] = header["progress"]
    return progress


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
