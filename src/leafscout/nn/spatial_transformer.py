"""A spatial transformer: the network turns and frames its photo itself before looking closer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


class SpatialTransformer(nn.Module):
    """Predicts an affine map for each photo and resamples the photo by it (Jaderberg et al. 2015).

    Two convolutions see the photo, their map is averaged to a few cells whatever the photo's
    size, and two linear layers name the six numbers of the map. It starts as the identity.

    The map acts on distances in pixels from the photo's middle, measured in half of its shorter
    side, so that a rotation stays a rotation on photos that are not square. Pixels lie in the
    middle of their cells (``align_corners=False``); what comes from outside is black.

    Args:
        channels: of the photo.
        cells: side of the averaged map; 8 keeps where things are and makes the size irrelevant.
        hidden: width between the two linear layers.
        slope: of the rectifiers below 0. With 0, all hidden units may be dead from the start, and
            what is predicted never depends on the photo.
    """

    def __init__(
        self, channels: int = 3, cells: int = 8, hidden: int = 32, slope: float = 0.1
    ) -> None:
        super().__init__()
        self.localisation = nn.Sequential(
            nn.Conv2d(channels, 8, kernel_size=7),
            nn.MaxPool2d(2),
            nn.LeakyReLU(slope),
            nn.Conv2d(8, 10, kernel_size=5),
            nn.MaxPool2d(2),
            nn.LeakyReLU(slope),
            nn.AdaptiveAvgPool2d(cells),
            nn.Flatten(),
            nn.Linear(10 * cells * cells, hidden),
            nn.LeakyReLU(slope),
        )
        self.to_affine = nn.Linear(hidden, 6)
        nn.init.zeros_(self.to_affine.weight)
        with torch.no_grad():
            self.to_affine.bias.copy_(torch.tensor(IDENTITY))

    def affine(self, images: Tensor) -> Tensor:
        """(batch, 2, 3) where each pixel of the result is taken from.

        Args:
            images: (batch, channels, height, width), at least 20 px on a side.
        """
        found: Tensor = self.to_affine(self.localisation(images))
        return found.view(-1, 2, 3)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) → the same shape, resampled."""
        return apply_affine(images, self.affine(images))


def apply_affine(images: Tensor, affine: Tensor) -> Tensor:
    """Resample images by an affine map of pixel distances.

    Args:
        images: (batch, channels, height, width).
        affine: (batch, 2, 3) place in the result → place in the image; see ``SpatialTransformer``.

    Returns:
        (batch, channels, height, width).
    """
    height, width = images.shape[2:]
    shorter = min(height, width)
    # torch measures x in half widths and y in half heights; ours are both in half shorter sides.
    # In double precision: rounded places on a large photo would blur what is not to be changed.
    wide = affine.double()
    scale = wide.new_tensor([shorter / width, shorter / height])
    unscale = torch.cat([1 / scale, wide.new_ones(1)])
    grid = F.affine_grid(scale[:, None] * wide * unscale, list(images.shape), align_corners=False)
    sampled = F.grid_sample(
        images.double(), grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return sampled.to(images.dtype)


def invert_affine(affine: Tensor) -> Tensor:
    """(batch, 2, 3) the maps that undo others, of which none folds the photo flat.

    Args:
        affine: (batch, 2, 3); see ``SpatialTransformer``.
    """
    a, b, x = affine[:, 0].unbind(dim=1)
    c, d, y = affine[:, 1].unbind(dim=1)
    turned = torch.stack([d, -b, b * y - d * x, -c, a, c * x - a * y], dim=1)
    return (turned / (a * d - b * c)[:, None]).view(-1, 2, 3)


def turn_back(maps: Tensor, affine: Tensor, outside: float = 0.0) -> Tensor:
    """Maps of places of photos as a transformer framed them → of places of the photos themselves.

    Args:
        maps: (batch, channels, rows, columns).
        affine: (batch, 2, 3) how each photo was framed.
        outside: value of what was framed out.

    Returns:
        (batch, channels, rows, columns).
    """
    return apply_affine(maps - outside, invert_affine(affine)) + outside


def rotation_affine(degrees: Tensor) -> Tensor:
    """(batch, 2, 3) maps that turn an image clockwise, as seen, by so many degrees.

    Args:
        degrees: (batch,).
    """
    angle = torch.deg2rad(degrees)
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    # A pixel of the result is fetched from where it was before the turn: the inverse rotation.
    return torch.stack(
        [torch.stack([cos, sin, zero], dim=1), torch.stack([-sin, cos, zero], dim=1)], dim=1
    )


def rotation_degrees(affine: Tensor) -> Tensor:
    """(batch,) by how many degrees, clockwise as seen, an affine map turns an image.

    The rotation nearest to the map (its polar factor); stretch and shear do not count.

    Args:
        affine: (batch, 2, 3).
    """
    turn = torch.atan2(affine[:, 0, 1] - affine[:, 1, 0], affine[:, 0, 0] + affine[:, 1, 1])
    return torch.rad2deg(turn)
