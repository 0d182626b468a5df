"""What each pooling says, against closed forms and brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.diagnosis.pooling import POOL_SHARPNESS, TOP_K, pool_tiles
from leafscout.diagnosis.pooling_torch import pool_bags
from leafscout.types import FloatArray


def pool(name: str, logits: FloatArray, attention: FloatArray | None = None) -> FloatArray:
    attention = np.zeros_like(logits) if attention is None else attention
    return pool_tiles(name, logits, attention, np.ones(len(logits), dtype=np.bool_))


def draw(tiles: int, seed: int = 0) -> FloatArray:
    return (3 * np.random.default_rng(seed).standard_normal((tiles, 2))).astype(np.float32)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_one_diseased_tile_makes_a_diseased_photo(diseased: list[bool]) -> None:
    logits = np.where(np.array(diseased)[:, None], 4.0, -6.0).astype(np.float32)
    assert (pool("max", logits)[0] > 0) == any(diseased)


def test_fifty_background_tiles_do_not_change_the_maximum() -> None:
    lesions = draw(4)
    background = np.full((50, 2), lesions.min() - 1, dtype=np.float32)
    np.testing.assert_array_equal(
        pool("max", np.concatenate([lesions, background])), pool("max", lesions)
    )


def test_top_k_is_the_mean_of_the_k_strongest() -> None:
    logits = draw(20)
    expected = np.sort(logits.astype(np.float64), axis=0)[-TOP_K:].mean(axis=0)
    np.testing.assert_allclose(pool("top_k_mean", logits), expected, rtol=1e-6)


@pytest.mark.parametrize("tiles", range(1, TOP_K + 1))
def test_top_k_of_few_tiles_is_their_mean(tiles: int) -> None:
    logits = draw(tiles)
    np.testing.assert_allclose(pool("top_k_mean", logits), logits.mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(pool("top_k_mean", logits[:1]), pool("max", logits[:1]))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), tiles=st.integers(1, 100))
def test_log_sum_exp_lies_between_mean_and_maximum(seed: int, tiles: int) -> None:
    logits = draw(tiles, seed)
    pooled = pool("log_sum_exp", logits)
    assert (pooled >= logits.mean(axis=0) - 1e-5).all()
    assert (pooled <= logits.max(axis=0) + 1e-5).all()


@pytest.mark.parametrize("tiles", [1, 5, 88])
def test_log_sum_exp_of_a_constant_bag_is_the_constant(tiles: int) -> None:
    constant = np.full((tiles, 2), -1.75, dtype=np.float32)
    np.testing.assert_allclose(pool("log_sum_exp", constant), -1.75, rtol=1e-6)


def test_log_sum_exp_matches_its_definition() -> None:
    logits = draw(15)
    r = POOL_SHARPNESS
    expected = np.log(np.exp(r * logits.astype(np.float64)).mean(axis=0)) / r
    np.testing.assert_allclose(pool("log_sum_exp", logits), expected, rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), tiles=st.integers(1, 10))
def test_noisy_or_multiplies_the_chances_of_being_clean(seed: int, tiles: int) -> None:
    logits = draw(tiles, seed) - 2
    clean = np.prod(1 / (1 + np.exp(logits.astype(np.float64))), axis=0)
    prob = 1 / (1 + np.exp(-pool("noisy_or", logits).astype(np.float64)))
    np.testing.assert_allclose(prob, 1 - clean, atol=1e-6)


def test_noisy_or_learns_from_a_healthy_photo_that_it_is_sure_is_diseased() -> None:
    logits = torch.full((1, 88, 1), 3.0, requires_grad=True)
    everything = torch.ones((1, 88), dtype=torch.bool)
    pooled = pool_bags("noisy_or", logits, torch.zeros(1, 88, 1), everything)
    torch.nn.functional.softplus(pooled).sum().backward()
    assert logits.grad is not None
    assert (logits.grad > 0.5).all()


def test_gated_attention_is_the_mean_weighted_by_a_softmax() -> None:
    logits, attention = draw(12), draw(12, seed=1)
    weights = np.exp(attention.astype(np.float64))
    weights /= weights.sum(axis=0)
    np.testing.assert_allclose(
        pool("gated_attention", logits, attention), (weights * logits).sum(axis=0), rtol=1e-5
    )
    # The weights sum to one: equal evidence everywhere comes out as it went in.
    constant = np.full_like(logits, 2.5)
    np.testing.assert_allclose(pool("gated_attention", constant, attention), 2.5, rtol=1e-6)
    np.testing.assert_allclose(
        pool("gated_attention", logits), logits.mean(axis=0), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("name", "tiles"), [("max", 1), ("top_k_mean", TOP_K)])
def test_the_gradient_reaches_exactly_the_tiles_that_decide(name: str, tiles: int) -> None:
    logits = torch.from_numpy(draw(20))[None].requires_grad_()
    everything = torch.ones((1, 20), dtype=torch.bool)
    pool_bags(name, logits, torch.zeros_like(logits), everything).sum().backward()
    assert logits.grad is not None
    reached = (logits.grad[0] != 0).sum(dim=0)
    assert reached.tolist() == [tiles, tiles]
    strongest = logits[0].topk(tiles, dim=0).indices
    assert (logits.grad[0].gather(0, strongest) != 0).all()
