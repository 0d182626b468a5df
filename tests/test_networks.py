"""The torch runtime: bytes in, evidence out, in pieces that bound the memory."""

import numpy as np
import pytest
import torch
from torch import nn

from leafscout.networks import (
    TILES_AT_ONCE,
    TorchNetworks,
    build_expert,
    build_scout,
    count_macs,
    to_batch,
)


@pytest.fixture(scope="module")
def networks() -> TorchNetworks:
    torch.manual_seed(0)
    expert, scout = build_expert("tiny", 2).eval(), build_scout("tiny", 2).eval()
    return TorchNetworks(scout, expert, torch.device("cpu"))


def draw_pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_the_scout_answers_for_the_whole_glance(networks: TorchNetworks) -> None:
    seen = networks.run_scout(draw_pixels(96, 128, 3))
    assert seen.score_map.shape == (6, 8)
    assert seen.label_maps.shape == (2, 6, 8)
    assert seen.glance_logits.shape == (2,)
    assert {part.dtype for part in seen} == {np.dtype(np.float32)}


def test_many_tiles_are_read_as_one_by_one(
    networks: TorchNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles = draw_pixels(TILES_AT_ONCE + 3, 64, 64, 3)
    sizes: list[int] = []
    hook = networks.expert.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    together = networks.run_expert(tiles)
    hook.remove()
    assert sizes == [TILES_AT_ONCE, 3]
    for index in (0, TILES_AT_ONCE, TILES_AT_ONCE + 2):
        alone = networks.run_expert(tiles[index : index + 1])
        for many, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(many[index], one[0], rtol=1e-4, atol=1e-5)


def test_pixels_that_are_turned_views_are_taken(networks: TorchNetworks) -> None:
    glance = draw_pixels(96, 128, 3)
    batch = to_batch(np.rot90(glance)[None], torch.device("cpu"))
    assert batch.shape == (1, 3, 128, 96)
    np.testing.assert_array_equal(batch[0].permute(1, 2, 0).numpy(), np.rot90(glance))


def test_macs_of_a_convolution_are_counted_exactly() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)).train()
    assert count_macs(network, 10, 20) == 200 * (27 * 8 + 8 * 4)
    assert network.training, "counting must not change the mode"
