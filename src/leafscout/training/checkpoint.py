"""Checkpoints: safetensors and JSON in one file, written so that a crash never leaves half of one.

Network, optimiser and bookkeeping of a stage go into one safetensors file: tensors by name, the
rest as JSON in its header. Nothing is ever pickled. Beside the checkpoints of a folder lie their
SHA-256 in ``hashes.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from leafscout.errors import InputError
from leafscout.manifest import sha256_of

CHECKPOINT_VERSION = 1
HASHES = "hashes.json"
LITTER = ".*.part"
"""What a process that was killed may leave behind beside the file that it was writing."""


def write_atomically(
    path: Path, data: bytes, before_rename: Callable[[], None] | None = None
) -> None:
    """Write a file so that the path holds either the old content or the new, whole.

    The data goes to a temporary file in the same folder, is flushed to disk, and is renamed; then
    the folder is flushed.

    Args:
        path: the file.
        data: its new content.
        before_rename: called when the data is on disk, under its temporary name.

    Raises:
        OSError: when the folder cannot be written or the disk is full; the old file stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if before_rename is not None:
            before_rename()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_litter(folder: Path) -> None:
    """Remove what writers that were killed have left below a folder."""
    for path in folder.rglob(LITTER):
        path.unlink(missing_ok=True)


def _write_noted(path: Path, data: bytes) -> None:
    """Write a file atomically, and its SHA-256 into the folder's list.

    Until it is certain that the new file is there both are named, the old one and the new one: at
    no moment is there a file that the list does not know.
    """
    digest = hashlib.sha256(data).hexdigest()
    known = _read_hashes(path.parent).get(path.name, []) if path.exists() else []
    write_atomically(path, data, before_rename=lambda: _note(path, [digest, *known]))
    _note(path, [digest])


def _note(path: Path, digests: list[str]) -> None:
    hashes = {**_read_hashes(path.parent), path.name: list(dict.fromkeys(digests))}
    kept = {name: hashes[name] for name in sorted(hashes) if hashes[name]}
    text = json.dumps(kept, indent=1) + "\n"
    write_atomically(path.with_name(HASHES), text.encode())


def _read_hashes(folder: Path) -> dict[str, list[str]]:
    path = folder / HASHES
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): [str(one) for one in digests] for name, digests in content.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path} is damaged: it is no list of hashes. Restore it from a copy, or delete it to "
            "go on without."
        ) from error


def _check_hash(path: Path) -> None:
    known = _read_hashes(path.parent).get(path.name)
    if known is not None and sha256_of(path) not in known:
        raise InputError(
            f"{path} was changed since it was saved: its SHA-256 is not the one in {HASHES}. "
            "Restore it from a copy, or train again."
        )


def keep_copy(path: Path, copy: Path) -> None:
    """Let a second name in the same folder hold what a checkpoint holds now.

    The same bytes on disk where the file system can do that: checkpoints are only ever replaced,
    never written into, so the copy stays as it is.
    """
    temporary = copy.with_name(f".{copy.name}.{os.getpid()}.part")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        hashes = _read_hashes(path.parent)
        new = hashes.get(path.name, [sha256_of(path)])
        _note(copy, [*new, *(hashes.get(copy.name, []) if copy.exists() else [])])
        temporary.replace(copy)
    finally:
        temporary.unlink(missing_ok=True)
    _flush_folder(copy.parent)
    _note(copy, new)


def forget(path: Path) -> None:
    """Remove a checkpoint that is no longer needed, and its hash."""
    path.unlink(missing_ok=True)
    if path.name in _read_hashes(path.parent):
        _note(path, [])


def save_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors and a JSON header as one safetensors file, atomically."""
    write_atomically(path, _pack(tensors, header))


def _pack(tensors: dict[str, Tensor], header: dict[str, Any]) -> bytes:
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(flat, metadata={"leafscout": json.dumps(header)})


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
    """Write network, optimiser and progress, and note the file's hash beside it.

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
    header = {"version": CHECKPOINT_VERSION, "progress": progress}
    _write_noted(path, _pack(tensors, header))


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
    _check_hash(path)
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
