"""A whole photo at a fixed size → one feature map, for convolutions and transformers alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leafscout.errors import InputError
from leafscout.nn.backbones import build_efficientnet, create_timm_network
from leafscout.nn.grouped_convolution import EfficientNetShape, read_efficientnet_name

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class _Small:
    """A small relative of a timm network.

    Attributes:
        name: timm's name.
        options: what makes it small.
    """

    name: str
    options: dict[str, Any]


SMALL_ENCODERS: dict[str, EfficientNetShape | _Small] = {
    "small_efficientnet": EfficientNetShape(width=0.25, depth=0.5),
    "small_efficientnet_g16_e4": EfficientNetShape(0.25, 0.5, group_size=16, expansion=4),
    "small_swin": _Small(
        "swin_tiny_patch4_window7_224",
        {"embed_dim": 24, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 4, 8), "window_size": 4},
    ),
    "small_vit": _Small("vit_tiny_patch16_224", {"embed_dim": 96, "depth": 4, "num_heads": 3}),
    "small_eva": _Small(
        "eva02_base_patch16_clip_224", {"embed_dim": 96, "depth": 4, "num_heads": 3}
    ),
}
"""Relatives that learn from nothing on a CPU: a tenth to a hundredth of the original's weights."""


class ImageEncoder(nn.Module):
    """The last feature map of a network, normalisation of the pixels included.

    Args:
        name: a key of ``SMALL_ENCODERS``, ``efficientnet_b0_g16_e4`` and its like, or timm's name.
        photo_px: side of the photos; networks with codes of places take no other.
        pretrained: load timm's pretrained weights from the Hugging Face hub.
        weights: a local safetensors or PyTorch file to load instead.

    Attributes:
        name: as given.
        photo_px: as given.
        channels: of the map.
        stride: pixels of the photo per cell; the last cell may reach beyond the photo.

    Raises:
        InputError: a side that is not made of whole patches; see also
            ``leafscout.nn.backbones.create_timm_network``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        photo_px: int,
        *,
        pretrained: bool = False,
        weights: Path | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.photo_px = photo_px
        self.network = _build(name, photo_px, pretrained=pretrained, weights=weights)
        _check_patches(name, photo_px, self.network)
        config: dict[str, Any] = getattr(self.network, "pretrained_cfg", None) or {}
        for key, usual in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            values = 255.0 * torch.tensor(config.get(key, usual)).view(1, 3, 1, 1)
            self.register_buffer(key, values, persistent=False)
        was_training = self.network.training
        self.network.eval()
        with torch.no_grad():
            seen = self(torch.zeros(1, 3, photo_px, photo_px))
        self.network.train(was_training)
        self.channels = int(seen.shape[1])
        cells = int(seen.shape[3])
        grid = getattr(getattr(self.network, "patch_embed", None), "grid_size", (0, 0))
        patches = grid[1] == cells  # they fill the photo, whatever their side
        self.stride = photo_px // cells if patches else find_stride(photo_px, cells)

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, 3, photo_px, photo_px) pixels 0..255 → (batch, channels, rows, columns)."""
        network: Any = self.network
        features = network.forward_features((pixels.float() - self.mean) / self.std)
        return lay_out_features(features, network)


def find_stride(photo_px: int, cells: int) -> int:
    """Pixels per cell of a map that begins where the photo does.

    Networks halve a side again and again and round up, so 300 px become 10 cells of 32, the last of
    which reaches beyond the photo.

    Args:
        photo_px: side of the photo, from 1.
        cells: along it, from 1.
    """
    halved: int = 2 ** math.ceil(math.log2(photo_px / cells))
    return halved if (cells - 1) * halved < photo_px else -(-photo_px // cells)


def lay_out_features(features: Tensor, network: Any) -> Tensor:
    """Features of a timm network, in whatever order it keeps them, as a map.

    Args:
        features: (batch, channels, rows, columns), (batch, rows, columns, channels) or
            (batch, tokens, channels) with class tokens first.
        network: where they come from; it says which.

    Returns:
        (batch, channels, rows, columns).
    """
    if features.dim() == 3:
        prefix = int(getattr(network, "num_prefix_tokens", 0))
        rows, columns = network.patch_embed.grid_size
        places = features[:, prefix:].transpose(1, 2)
        return places.reshape(*places.shape[:2], rows, columns)
    if getattr(network, "output_fmt", "NCHW") == "NHWC":
        return features.permute(0, 3, 1, 2)
    return features


def _build(name: str, photo_px: int, *, pretrained: bool, weights: Path | None) -> nn.Module:
    small = SMALL_ENCODERS.get(name)
    if isinstance(small, EfficientNetShape):
        return build_efficientnet(small)  # type: ignore[no-any-return]
    options: dict[str, Any] = {}
    if read_efficientnet_name(name) is None and _takes_size(small.name if small else name):
        options["img_size"] = photo_px
    if small is not None:
        options |= small.options
        name = small.name
    return create_timm_network(  # type: ignore[no-any-return]
        name, options, pretrained=pretrained, weights=weights
    )


def _check_patches(name: str, photo_px: int, network: nn.Module) -> None:
    """Transformers of timm leave out what does not fill a patch; no lesion may be lost so."""
    size = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    patch_px = size[0] if isinstance(size, tuple) else size
    if not patch_px or photo_px % patch_px == 0:
        return
    near = -(-photo_px // patch_px) * patch_px
    raise InputError(
        f"{name} reads patches of {patch_px} px and would leave out part of photos of {photo_px} "
        f"px. Expected photo_px to be a multiple of {patch_px}, such as {near}."
    )


def _takes_size(name: str) -> bool:
    """Transformers are built for one size of photo; convolutions take any."""
    return any(part in name for part in ("vit", "eva", "swin", "deit", "beit", "vision"))
