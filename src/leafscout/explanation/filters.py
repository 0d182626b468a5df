"""What the first layer of a network looks for: its filters as small pictures."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import nn

from leafscout.errors import InputError
from leafscout.types import Pixels


def first_filters(network: nn.Module) -> NDArray[np.float32]:
    """The filters of the first convolution that sees colours.

    Args:
        network: with a convolution over three channels.

    Returns:
        (filters, rows, columns, 3).

    Raises:
        InputError: when there is none.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 3 and module.groups == 1:
            weight = module.weight.detach().float().cpu().numpy()
            filters: NDArray[np.float32] = weight.transpose(0, 2, 3, 1)
            return filters
    raise InputError("This network has no first layer over colours to be shown.")


def draw_filters(filters: NDArray[np.float32], *, cell_px: int = 28, most: int = 256) -> Pixels:
    """Filters side by side, each around grey and at its own contrast.

    Args:
        filters: (filters, rows, columns, 3).
        cell_px: about the side of a filter.
        most: filters shown.

    Returns:
        (height, width, 3).
    """
    shown = filters[:most]
    largest = np.abs(shown).max(axis=(1, 2, 3), keepdims=True)
    scaled = 127.5 + 127.5 * np.divide(shown, largest, out=np.zeros_like(shown), where=largest > 0)
    times = max(1, cell_px // shown.shape[1])
    large = np.round(scaled).astype(np.uint8).repeat(times, axis=1).repeat(times, axis=2)
    height, width = large.shape[1] + 1, large.shape[2] + 1
    columns = math.ceil(math.sqrt(len(shown)))
    rows = math.ceil(len(shown) / columns)
    sheet = np.full((rows * height + 1, columns * width + 1, 3), 255, dtype=np.uint8)
    for index, one in enumerate(large):
        top, left = (index // columns) * height + 1, (index % columns) * width + 1
        sheet[top : top + height - 1, left : left + width - 1] = one
    return sheet
