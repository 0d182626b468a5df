"""One network whose dropped tokens are not there: same answer, fewer multiply-adds."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.diagnosis.gated_pooling import pool_gated
from leafscout.errors import InputError
from leafscout.gated_networks import TorchTokenNetwork, build_gated_transformer, count_later_macs
from leafscout.losses.bag import bag_loss
from leafscout.networks import count_macs
from leafscout.recognisers.gate_kinds import GATE_KINDS
from leafscout.recognisers.gated_transformer import GatedTransformer
from leafscout.recognisers.token_gate import TokenGate, draw_gates, token_magnitudes

CPU = torch.device("cpu")


def make_network(early_blocks: int = 0, token_px: int = 16) -> GatedTransformer:
    torch.manual_seed(1)
    return build_gated_transformer(
        "tiny", 2, token_px=token_px, width=16, early_blocks=early_blocks, later_blocks=2,
        num_heads=2,
    ).eval()  # fmt: skip


@pytest.mark.parametrize("kind", sorted(GATE_KINDS))
def test_gates_are_decisions_with_the_gradient_of_the_probability(kind: str) -> None:
    logits = torch.tensor([[3.0, -2.0, 0.0, -9.0]], requires_grad=True)
    gates = draw_gates(logits, kind, noisy=False)
    assert gates.tolist() == ([[1.0] * 4] if kind == "open" else [[1.0, 0.0, 1.0, 0.0]])
    if kind != "open":
        (slopes,) = torch.autograd.grad(gates.sum(), logits)
        soft = torch.sigmoid(logits.detach())
        torch.testing.assert_close(slopes, soft * (1 - soft))


def test_noise_keeps_a_token_as_often_as_its_probability_says() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([[-2.0, 0.0, 1.5]]).repeat(4000, 1)
    kept = draw_gates(logits, "gumbel", noisy=True).mean(dim=0)
    torch.testing.assert_close(kept, torch.sigmoid(logits[0]), atol=0.03, rtol=0.0)
    still = draw_gates(logits, "straight_through", noisy=True)
    assert torch.equal(still, (logits >= 0).float())


def test_an_unknown_gate_is_refused() -> None:
    with pytest.raises(ValueError, match="closed"):
        draw_gates(torch.zeros(1, 2), "closed", noisy=True)


def test_a_new_gate_is_open_and_looks_at_each_token_by_itself() -> None:
    torch.manual_seed(0)
    gate = TokenGate(16)
    tokens = torch.randn(1, 9, 16)
    logits = gate(tokens)
    assert bool((logits > 1).all())
    torch.testing.assert_close(gate(tokens[:, 3:4]), logits[:, 3:4])


def test_magnitude_is_the_norm() -> None:
    assert token_magnitudes(torch.tensor([[[3.0, 4.0], [0.0, 0.0]]])).tolist() == [[5.0, 0.0]]


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 50), early=st.integers(0, 1))
def test_dropping_and_removing_say_the_same(seed: int, early: int) -> None:
    network = make_network(early)
    torch.manual_seed(seed)
    values = network.embed(255 * torch.rand(1, 3, 64, 96)).values
    kept = torch.rand(values.shape[1]) < 0.4
    kept[seed % len(kept)] = True
    with torch.no_grad():
        masked = network.read(values, kept[None].float())
        removed = network.read_kept(values, kept)
    for one, other in zip(masked, removed, strict=True):
        torch.testing.assert_close(one[:, kept], other, atol=2e-6, rtol=1e-5)


def test_sides_that_no_token_divides_are_covered() -> None:
    network = make_network(token_px=32)
    tokens = network.embed(torch.zeros(1, 3, 48, 80))
    assert (tokens.rows, tokens.columns) == (2, 3)
    assert TorchTokenNetwork(network, CPU).count_tokens((48, 80)) == 6


def test_counted_multiply_adds_are_those_of_the_run() -> None:
    network = make_network(early_blocks=1)
    runtime = TorchTokenNetwork(network, CPU)
    size = (64, 96)
    dense = runtime.count_macs(size, runtime.count_tokens(size))
    assert dense == count_macs(network, *size)
    nothing = runtime.count_macs(size, 0)
    for kept in (1, 5, 24):
        assert runtime.count_macs(size, kept) - nothing == count_later_macs(network, kept, CPU)


def test_the_loss_asks_to_keep_lesions_more_than_background() -> None:
    """Later layers that know lesions: the gate's gradient points at them, kept or dropped."""
    token_logits = torch.full((1, 60, 1), -6.0)
    token_logits[0, :4] = 3.0
    truth, weight = torch.ones(1, 1), torch.ones(1)
    for kept_share in (0.0, 1.0):
        gates = torch.full((1, 60), kept_share)
        gates[0, 30:] = 1.0
        gates.requires_grad_(True)
        pooled = pool_gated("log_sum_exp", token_logits, token_logits, gates)
        (slopes,) = torch.autograd.grad(bag_loss(pooled, truth, weight), gates)
        assert bool((slopes[0, :4] < 0).all())
        assert float(slopes[0, :4].abs().mean()) > 5 * float(slopes[0, 4:].abs().mean())


def test_a_vision_transformer_of_timm_drops_tokens_too() -> None:
    torch.manual_seed(0)
    network = build_gated_transformer(
        "vit_tiny_patch16_224", 2, token_px=16, width=0, early_blocks=3, later_blocks=0, num_heads=0
    ).eval()
    assert (len(network.early), len(network.later)) == (3, 9)
    tokens = network.embed(255 * torch.rand(1, 3, 64, 90))
    assert (tokens.rows, tokens.columns) == (4, 6)
    kept = torch.arange(24) % 3 == 0
    with torch.no_grad():
        masked = network.read(tokens.values, kept[None].float()).token_logits[:, kept]
        removed = network.read_kept(tokens.values, kept).token_logits
    torch.testing.assert_close(masked, removed, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("token_px", "early"), [(32, 1), (16, 12)])
def test_a_vision_transformer_that_does_not_fit_is_refused(token_px: int, early: int) -> None:
    with pytest.raises(InputError, match=r"token_px|early_blocks"):
        build_gated_transformer(
            "vit_tiny_patch16_224", 2, token_px=token_px, width=0, early_blocks=early,
            later_blocks=0, num_heads=0,
        )  # fmt: skip
