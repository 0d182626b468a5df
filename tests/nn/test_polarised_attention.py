"""Polarised attention: shapes, weights between 0 and 1, and the feature module that runs."""

import pytest
import torch

from leafscout.nn.polarised_attention import (
    Arrangement,
    ChannelAttention,
    PlaceAttention,
    PolarisedAttention,
    PolarisedFeatures,
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("arrangement", ["sequential", "parallel"])
def test_the_shape_is_kept(arrangement: Arrangement) -> None:
    maps = torch.randn(2, 16, 5, 7)
    assert PolarisedAttention(16, arrangement)(maps).shape == maps.shape


def test_weights_lie_between_0_and_1_and_differ() -> None:
    maps = torch.randn(2, 16, 5, 7)
    channels, places = ChannelAttention(16).weights(maps), PlaceAttention(16).weights(maps)
    assert channels.shape == (2, 16, 1, 1)
    assert places.shape == (2, 1, 5, 7)
    for weights in (channels, places):
        assert bool(((weights > 0) & (weights < 1)).all())
        assert float(weights.std()) > 0


def test_channel_weights_do_not_depend_on_where_things_lie() -> None:
    maps, order = torch.randn(1, 8, 4, 4), torch.randperm(16)
    moved = maps.flatten(2)[:, :, order].view(1, 8, 4, 4)
    network = ChannelAttention(8)
    assert torch.allclose(network.weights(maps), network.weights(moved), atol=1e-6)


def test_place_weights_move_with_the_places() -> None:
    maps, network = torch.randn(1, 8, 4, 4), PlaceAttention(8)
    assert torch.allclose(network.weights(maps.flip(3)), network.weights(maps).flip(3), atol=1e-6)


def test_the_two_arrangements_are_what_they_say() -> None:
    maps = torch.randn(1, 8, 4, 4)
    network = PolarisedAttention(8)
    in_turn = network.place(network.channel(maps))
    assert torch.equal(network(maps), in_turn)
    network.arrangement = "parallel"
    assert torch.equal(network(maps), network.channel(maps) + network.place(maps))


def test_the_feature_module_gives_one_vector_a_photo() -> None:
    network = PolarisedFeatures(32)
    vectors = network(torch.randn(3, 32, 6, 6))
    assert vectors.shape == (3, 512)
    vectors.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("channels", [0, 1, 7])
def test_odd_channels_are_refused(channels: int) -> None:
    with pytest.raises(ValueError, match="even number of channels"):
        PolarisedAttention(channels)


def test_another_arrangement_is_refused() -> None:
    with pytest.raises(ValueError, match="sequential or parallel"):
        PolarisedAttention(8, "both")  # type: ignore[arg-type]
