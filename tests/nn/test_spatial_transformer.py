"""The spatial transformer: no change at first, any size of photo, and it learns to turn."""

import pytest
import torch
from torch.nn import functional as F

from leafscout.nn.spatial_transformer import (
    SpatialTransformer,
    apply_affine,
    rotation_affine,
    rotation_degrees,
)


@pytest.mark.parametrize(("height", "width"), [(224, 224), (384, 384), (96, 160), (61, 47)])
def test_it_starts_as_the_identity_at_any_size(height: int, width: int) -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, height, width)
    assert torch.allclose(SpatialTransformer()(images), images, atol=1e-5)


def test_a_quarter_turn_is_a_quarter_turn() -> None:
    images = torch.rand(1, 3, 32, 32)
    turned = apply_affine(images, rotation_affine(torch.tensor([90.0])))
    assert torch.allclose(turned, torch.rot90(images, k=-1, dims=(2, 3)), atol=1e-4)


def test_a_rotation_keeps_shapes_on_photos_that_are_not_square() -> None:
    images = torch.zeros(1, 1, 60, 120)
    images[:, :, 28:32, 50:70] = 1.0  # 20 wide, 4 high, in the middle
    turned = apply_affine(images, rotation_affine(torch.tensor([90.0])))
    rows, columns = torch.nonzero(turned[0, 0] > 0.5, as_tuple=True)
    assert (int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1) == (20, 4)


def test_turning_there_and_back_is_no_turn() -> None:
    angles = torch.tensor([-30.0, 0.0, 12.5])
    assert torch.allclose(rotation_degrees(rotation_affine(angles)), angles, atol=1e-4)
    bar = torch.zeros(1, 1, 64, 64)
    bar[:, :, 24:40, 20:44] = 1.0
    there = apply_affine(bar, rotation_affine(torch.tensor([20.0])))
    back = apply_affine(there, rotation_affine(torch.tensor([-20.0])))
    assert float((back - bar).abs().mean()) < 0.02


def test_it_learns_to_undo_a_known_rotation() -> None:
    torch.manual_seed(0)
    upright = torch.zeros(12, 3, 32, 32)
    for one in upright:
        top, left = torch.randint(6, 13, (2,)).tolist()
        one[:, top : top + 6, left : left + 14] = torch.rand(3, 1, 1) * 0.5 + 0.5
    turned = apply_affine(upright, rotation_affine(torch.full((12,), 20.0)))
    network = SpatialTransformer()
    optimiser = torch.optim.Adam(network.parameters(), lr=4e-3)
    for _ in range(60):
        loss = F.mse_loss(network(turned), upright)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        error = rotation_degrees(network.affine(turned)) + 20.0
    assert float(error.abs().mean()) < 5.0
