"""The tiny backbone: how far its map reaches, what a place sees, and how large its features are."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.nn.tiny import TinyBackbone


@given(
    height=st.integers(33, 90), width=st.integers(33, 90), stride=st.sampled_from([4, 8, 16, 32])
)
@settings(max_examples=12, deadline=None)
def test_the_map_reaches_the_border_of_any_image(height: int, width: int, stride: int) -> None:
    features = TinyBackbone(stride, width=4)(torch.zeros(1, 3, height, width))
    assert features.shape[2:] == (math.ceil(height / stride), math.ceil(width / stride))


def test_maps_on_the_way_are_those_of_a_shorter_network() -> None:
    backbone = TinyBackbone(32, width=4).eval()
    image = torch.rand(1, 3, 64, 96)
    strides = [2, 8, 16]
    last, maps = backbone.forward_intermediates(image, [backbone.stage_of(one) for one in strides])
    torch.testing.assert_close(last, backbone(image))
    for stride, found in zip(strides, maps, strict=True):
        assert found.shape == (1, backbone.channels_at(stride), 64 // stride, 96 // stride)
    shorter = TinyBackbone(16, width=4).eval()
    shorter.load_state_dict(
        {key: value for key, value in backbone.state_dict().items() if key in shorter.state_dict()}
    )
    torch.testing.assert_close(shorter(image), maps[2])


def test_a_place_sees_little_more_than_itself() -> None:
    torch.manual_seed(0)
    backbone = TinyBackbone(32)
    image = torch.rand(1, 3, 160, 160, requires_grad=True)
    backbone(image)[0, :, 2, 2].sum().backward()
    assert image.grad is not None
    rows = image.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    # The cell lies at rows 64 to 95.
    assert 64 - 16 <= int(rows.min()) < 64 + 16
    assert 96 - 16 < int(rows.max()) <= 96 + 16


@pytest.mark.parametrize("seed", range(3))
def test_features_neither_vanish_nor_explode(seed: int) -> None:
    torch.manual_seed(seed)
    features = TinyBackbone(32)(torch.randn(4, 3, 128, 128))
    assert 0.1 < float(features.detach().std()) < 10
