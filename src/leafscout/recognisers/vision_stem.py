"""A vision transformer of timm as early and later layers of the integrated network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from leafscout.errors import InputError
from leafscout.nn.backbones import create_timm_network

VISION_NAMES = ("vit_", "deit_")
"""How timm's names of plain vision transformers begin."""


class VisionStem(nn.Module):
    """Patches with their codes of place; stands where a convolutional stem would.

    The class token is left out: evidence comes from tokens that lie somewhere.

    Args:
        name: timm's name of a plain vision transformer.
        network: that network, without its blocks.

    Attributes:
        channels: width of a token.
        stride: side of a patch in pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, network: Any) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.channels = int(network.embed_dim)
        self.stride = int(network.patch_embed.patch_size[0])
        mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
        self.register_buffer("mean", 255.0 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255.0 * torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(photos, 3, height, width) 0..255 → (photos, channels, rows, columns)."""
        rows, columns = (-(-side // self.stride) for side in pixels.shape[2:])
        pad = (0, columns * self.stride - pixels.shape[3], 0, rows * self.stride - pixels.shape[2])
        filled = nn.functional.pad(pixels.float(), pad, mode="replicate")
        patches = self.network.patch_embed((filled - self.mean) / self.std)
        tokens = self.network.norm_pre(self.network._pos_embed(patches))
        placed: Tensor = tokens[:, self.network.num_prefix_tokens :]
        return placed.transpose(1, 2).reshape(len(placed), self.channels, rows, columns)

    def freeze_statistics(self) -> None:
        """Nothing: there are no running statistics."""


def split_vision_transformer(name: str, early_blocks: int) -> tuple[VisionStem, list[nn.Module]]:
    """Patches and blocks of a vision transformer; weights drawn anew.

    Args:
        name: timm's name, for example ``vit_tiny_patch16_224``.
        early_blocks: blocks before the gate.

    Raises:
        InputError: not a plain vision transformer, or too few blocks to leave one behind the gate.
    """
    if not name.startswith(VISION_NAMES):
        raise InputError(
            f"Expected a plain vision transformer of timm, whose name begins with "
            f"{' or '.join(VISION_NAMES)}, but got {name!r}."
        )
    network = create_timm_network(name, {"dynamic_img_size": True})
    blocks = list(network.blocks)
    if early_blocks >= len(blocks):
        raise InputError(
            f"{name} has {len(blocks)} blocks, so early_blocks can be at most {len(blocks) - 1}, "
            f"but got {early_blocks}."
        )
    network.blocks = nn.Identity()
    return VisionStem(name, network), blocks
