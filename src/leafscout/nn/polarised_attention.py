"""Polarised self-attention: weights for channels and for places that keep one axis at full detail.

Liu et al. 2021, "Polarized self-attention: towards high-quality pixel-wise mapping".
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Arrangement = Literal["sequential", "parallel"]


class ChannelAttention(nn.Module):
    """A weight for each channel, from all places together (Liu et al. 2021, eq. 2).

    Args:
        channels: of the map, even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = _half(channels)
        self.query = nn.Conv2d(channels, 1, 1)
        self.value = nn.Conv2d(channels, half, 1)
        self.widen = nn.Conv2d(half, channels, 1)
        self.normalise = nn.LayerNorm(channels)

    def weights(self, maps: Tensor) -> Tensor:
        """(batch, channels, rows, columns) → (batch, channels, 1, 1) weights, 0..1."""
        places = self.query(maps).flatten(2).softmax(dim=2)  # (batch, 1, places)
        values = self.value(maps).flatten(2)  # (batch, half, places)
        seen = torch.einsum("bqp,bcp->bc", places, values)[:, :, None, None]
        widened = self.normalise(self.widen(seen).flatten(1))
        return torch.sigmoid(widened)[:, :, None, None]

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, rows, columns) → the same, channels weighted."""
        return maps * self.weights(maps)


class PlaceAttention(nn.Module):
    """A weight for each place, from all channels together (Liu et al. 2021, eq. 3).

    Args:
        channels: of the map, even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = _half(channels)
        self.query = nn.Conv2d(channels, half, 1)
        self.value = nn.Conv2d(channels, half, 1)

    def weights(self, maps: Tensor) -> Tensor:
        """(batch, channels, rows, columns) → (batch, 1, rows, columns) weights, 0..1."""
        channels = self.query(maps).mean(dim=(2, 3)).softmax(dim=1)  # (batch, half)
        return torch.sigmoid(torch.einsum("bc,bcrw->brw", channels, self.value(maps)))[:, None]

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, rows, columns) → the same, places weighted."""
        return maps * self.weights(maps)


class PolarisedAttention(nn.Module):
    """Channel and place attention, one after the other or added.

    Args:
        channels: of the map, even.
        arrangement: ``sequential`` weighs channels, then places; ``parallel`` adds both results.
    """

    def __init__(self, channels: int, arrangement: Arrangement = "sequential") -> None:
        super().__init__()
        if arrangement not in ("sequential", "parallel"):
            raise ValueError(
                f"Expected the arrangement sequential or parallel, but got {arrangement!r}."
            )
        self.arrangement = arrangement
        self.channel = ChannelAttention(channels)
        self.place = PlaceAttention(channels)

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, rows, columns) → the same shape."""
        weighted: Tensor = self.channel(maps)
        if self.arrangement == "parallel":
            return weighted + self.place(maps)  # type: ignore[no-any-return]
        return self.place(weighted)  # type: ignore[no-any-return]


class PolarisedFeatures(nn.Module):
    """From a feature map to one vector a photo, with polarised attention in between.

    Convolution, attention, convolution, then the mean of all places through two linear layers.
    Pooling before the linear layers is what makes them fit a map at all. Batch statistics need at
    least two photos in training.

    Args:
        channels: of the map, even.
        features: length of the vector.
        hidden: width between the linear layers.
        arrangement: see ``PolarisedAttention``.
    """

    def __init__(
        self,
        channels: int,
        features: int = 512,
        hidden: int = 768,
        arrangement: Arrangement = "sequential",
    ) -> None:
        super().__init__()
        self.features = features
        self.to_map = nn.Sequential(
            *_convolve(channels), PolarisedAttention(channels, arrangement), *_convolve(channels)
        )
        self.to_vector = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            *_connect(channels, hidden),
            *_connect(hidden, features),
        )
        self.apply(_initialise)

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, rows, columns) → (batch, features)."""
        return self.to_vector(self.to_map(maps))  # type: ignore[no-any-return]


def _half(channels: int) -> int:
    if channels < 2 or channels % 2:
        raise ValueError(f"Expected an even number of channels, but got {channels}.")
    return channels // 2


def _convolve(channels: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.PReLU()]


def _connect(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.PReLU()]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
