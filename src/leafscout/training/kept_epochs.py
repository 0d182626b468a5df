"""The weights of every epoch of a stage, where wanted: then how a network learnt can be seen."""

from __future__ import annotations

import re
from pathlib import Path

from torch import nn

from leafscout.errors import InputError
from leafscout.losses.distillation import PROJECTION
from leafscout.training.checkpoint import load_tensors, save_tensors

EPOCHS = "epochs"
"""Folder below that of a stage's checkpoints."""

_NAME = re.compile(r"\d{4,}")


def keep_epoch(stage_folder: Path, epoch: int, network: nn.Module) -> None:
    """Keep a network's weights as they are after an epoch, without what only learning needs.

    Args:
        stage_folder: of the stage's checkpoints.
        epoch: from 1.
        network: its state is written.
    """
    folder = stage_folder / EPOCHS
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: value
        for name, value in network.state_dict().items()
        if not name.startswith(f"{PROJECTION}.")
    }
    save_tensors(folder / f"{epoch:04d}.safetensors", state, {"epoch": epoch})


def list_epochs(stage_folder: Path) -> dict[int, Path]:
    """Epoch → its weights, in order; empty where none were kept."""
    paths = sorted((stage_folder / EPOCHS).glob("*.safetensors"))
    found = {int(path.stem): path for path in paths if _NAME.fullmatch(path.stem)}
    return dict(sorted(found.items()))


def load_epoch(path: Path, network: nn.Module) -> None:
    """Fill a network with the weights of an epoch.

    Raises:
        InputError: when the file is damaged or of another network.
    """
    tensors, _ = load_tensors(path)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(
            f"{path} holds the weights of another network. Train again with --keep-epochs."
        ) from error
