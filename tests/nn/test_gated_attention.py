"""A dropped token must be as if it were not there, and still say what keeping it would change."""

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.nn.gated_attention import SelfAttention, TokenBlock, run_block, weigh_kept

WIDTH, HEADS = 8, 2


def make_block(seed: int = 0) -> TokenBlock:
    torch.manual_seed(seed)
    return TokenBlock(WIDTH, HEADS).double()


@settings(max_examples=20, deadline=None)
@given(kept=st.lists(st.booleans(), min_size=2, max_size=9).filter(any), scale=st.floats(0.1, 30))
def test_masking_is_removing(kept: list[bool], scale: float) -> None:
    block = make_block()
    torch.manual_seed(len(kept))
    tokens = scale * torch.randn(1, len(kept), WIDTH, dtype=torch.float64)
    mask = torch.tensor(kept)
    masked = run_block(block, tokens, mask[None].double())[:, mask]
    removed = run_block(block, tokens[:, mask], None)
    torch.testing.assert_close(masked, removed, rtol=1e-9, atol=1e-9)


def test_a_dropped_token_has_no_influence_at_all() -> None:
    block = make_block()
    tokens = torch.randn(1, 6, WIDTH, dtype=torch.float64)
    gates = torch.tensor([[1.0, 0.0, 1.0, 1.0, 0.0, 1.0]], dtype=torch.float64)
    changed = tokens.clone()
    changed[:, 1] += 1000.0
    kept = gates[0] > 0.5
    before, after = (run_block(block, values, gates)[:, kept] for values in (tokens, changed))
    assert torch.equal(before, after)


def test_what_a_dropped_token_says_is_what_it_would_say_if_it_were_kept_as_well() -> None:
    block = make_block()
    tokens = torch.randn(1, 5, WIDTH, dtype=torch.float64)
    gates = torch.tensor([[1.0, 0.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    with_it = gates.clone()
    with_it[0, 3] = 1.0
    torch.testing.assert_close(
        run_block(block, tokens, gates)[:, 3], run_block(block, tokens, with_it)[:, 3]
    )


def test_the_derivative_in_a_gate_is_the_numerical_one_kept_or_dropped() -> None:
    block = make_block()
    tokens = torch.randn(1, 4, WIDTH, dtype=torch.float64)
    gates = torch.tensor([[1.0, 0.0, 1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda given: run_block(block, tokens, given), (gates,))


def test_the_slope_at_a_dropped_key_is_what_keeping_it_would_change() -> None:
    torch.manual_seed(2)
    queries, keys, values = 3.0 * torch.randn(3, 1, 1, 5, 4, dtype=torch.float64)
    gates = torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0]], dtype=torch.float64)

    def mix(given: torch.Tensor) -> torch.Tensor:
        return weigh_kept(queries, keys, values, given)[0, 0, :3]  # of the kept tokens

    slopes = torch.autograd.functional.jacobian(mix, gates)
    for index in (3, 4):
        more = gates.clone()
        more[0, index] = 1.0
        torch.testing.assert_close(slopes[..., 0, index], mix(more) - mix(gates))


def test_nothing_kept_is_finite() -> None:
    out = run_block(make_block(), torch.randn(1, 3, WIDTH).double(), torch.zeros(1, 3).double())
    assert bool(torch.isfinite(out).all())


def test_all_kept_is_plain_attention() -> None:
    queries, keys, values = torch.randn(3, 2, HEADS, 5, 4, dtype=torch.float64)
    expected = torch.nn.functional.scaled_dot_product_attention(queries, keys, values)
    got = weigh_kept(queries, keys, values, torch.ones(2, 5, dtype=torch.float64))
    torch.testing.assert_close(got, expected)


def test_it_runs_the_blocks_of_timm() -> None:
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", pretrained=False, depth=2).eval()
    tokens = torch.randn(1, 7, network.embed_dim)
    with torch.no_grad():
        for block in network.blocks:
            torch.testing.assert_close(run_block(block, tokens, None), block(tokens))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="heads"):
        SelfAttention(10, 3)
