"""The expert: a tile's evidence is that of its places, and attention has its closed form."""

import math

import pytest
import torch

from leafscout.focus.expert import EXPERT_STRIDE, Expert, GatedAttention
from leafscout.networks import build_expert


@pytest.fixture
def expert() -> Expert:
    torch.manual_seed(0)
    return build_expert("tiny", 3).eval()


def draw_tiles(count: int, side: int = 96) -> torch.Tensor:
    return 255 * torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_shapes(expert: Expert) -> None:
    out = expert(draw_tiles(4))
    assert out.tile_logits.shape == out.attention_logits.shape == (4, 3)
    assert out.place_logits.shape == (4, 3, 96 // EXPERT_STRIDE, 96 // EXPERT_STRIDE)


def test_a_tile_is_the_soft_maximum_of_its_places(expert: Expert) -> None:
    with torch.no_grad():
        expert.head.weight.mul_(100)  # spreads the places apart
        out = expert(draw_tiles(4))
    places = out.place_logits.flatten(2).double()
    top = places.amax(dim=2, keepdim=True)
    soft = torch.log(torch.exp(expert.sharpness * (places - top)).mean(dim=2)) / expert.sharpness
    expected = soft + top[..., 0]
    torch.testing.assert_close(out.tile_logits.double(), expected, rtol=1e-5, atol=1e-5)
    assert (out.tile_logits <= places.amax(dim=2) + 1e-5).all()
    assert (out.tile_logits >= places.mean(dim=2) - 1e-5).all()


def test_a_tile_is_judged_alone(expert: Expert) -> None:
    tiles = draw_tiles(5)
    with torch.no_grad():
        together, alone = expert(tiles), expert(tiles[2:3])
    for many, one in zip(together, alone, strict=True):
        torch.testing.assert_close(many[2:3], one, rtol=1e-4, atol=1e-5)


def test_a_fresh_expert_finds_little(expert: Expert) -> None:
    assert (torch.sigmoid(expert(draw_tiles(2)).tile_logits) < 0.35).all()


def test_gated_attention_is_tanh_times_sigmoid() -> None:
    torch.manual_seed(0)
    attention = GatedAttention(features=5, hidden=4, labels=2)
    h = torch.randn(3, 5)
    scores = attention(h)
    for tile in range(3):
        for label in range(2):
            total = attention.score.bias[label].item()
            for unit in range(4):
                value = (attention.value.weight[unit] @ h[tile] + attention.value.bias[unit]).item()
                gate = (attention.gate.weight[unit] @ h[tile] + attention.gate.bias[unit]).item()
                opened = math.tanh(value) / (1 + math.exp(-gate))
                total += attention.score.weight[label, unit].item() * opened
            assert scores[tile, label].item() == pytest.approx(total, abs=1e-5)


def test_half_precision_gives_full_precision_evidence(expert: Expert) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = expert(draw_tiles(2))
    assert {part.dtype for part in out} == {torch.float32}


def test_finer_places_add_what_a_finer_map_sees() -> None:
    torch.manual_seed(0)
    expert = build_expert("tiny", 3, place_stride=16).eval()
    tiles = draw_tiles(2)
    with torch.no_grad():
        out = expert(tiles)
        coarse, fine = expert.backbone.forward_fine(tiles)
        torch.testing.assert_close(coarse, expert.backbone(tiles), rtol=1e-4, atol=1e-4)
        above = torch.nn.functional.interpolate(
            expert.head(coarse).double(), scale_factor=2, mode="bilinear"
        )
        assert expert.fine_head is not None
        expected = above + expert.fine_head(fine).double()
    assert out.place_logits.shape == (2, 3, 6, 6)
    torch.testing.assert_close(out.place_logits.double(), expected, rtol=1e-4, atol=1e-4)


def test_both_heads_learn() -> None:
    expert = build_expert("tiny", 2, place_stride=16)
    expert(draw_tiles(2)).tile_logits.sum().backward()
    assert all(part.grad is not None for part in expert.new_layers()[:3])
    assert expert.fine_head is not None
    assert expert.fine_head.weight.grad is not None
    assert expert.fine_head.weight.grad.abs().sum() > 0
