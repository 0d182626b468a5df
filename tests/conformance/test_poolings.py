"""Every pooling, deployed in numpy and trained with in torch, keeps the same promises."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.diagnosis.pooling import EMPTY_BAG_LOGIT, POOLINGS, pool_tiles
from leafscout.diagnosis.pooling_torch import BAG_POOLINGS, pool_bags
from leafscout.types import FloatArray

NAMES = sorted(POOLINGS)


def draw_bag(seed: int, tiles: int, spread: float = 3.0) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    logits, attention = spread * rng.standard_normal((2, tiles, 3))
    return logits.astype(np.float32), attention.astype(np.float32)


def pool_in_torch(
    name: str, logits: FloatArray, attention: FloatArray, mask: np.ndarray
) -> FloatArray:
    parts = (torch.from_numpy(part)[None] for part in (logits, attention, mask))
    return pool_bags(name, *parts)[0].numpy()


def test_training_and_diagnosis_know_the_same_poolings() -> None:
    assert set(BAG_POOLINGS) == set(POOLINGS)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), tiles=st.integers(1, 12), spread=st.sampled_from([0.1, 3, 20]))
def test_both_give_the_same_evidence(name: str, seed: int, tiles: int, spread: float) -> None:
    logits, attention = draw_bag(seed, tiles, spread)
    mask = np.random.default_rng(seed).random(tiles) < 0.6
    deployed = pool_tiles(name, logits, attention, mask)
    trained = pool_in_torch(name, logits, attention, mask)
    np.testing.assert_allclose(trained, deployed, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_tiles_does_not_matter(name: str) -> None:
    logits, attention = draw_bag(1, 30)
    mask = np.arange(30) % 4 != 0
    order = np.random.default_rng(2).permutation(30)
    expected = pool_tiles(name, logits, attention, mask)
    moved = pool_tiles(name, logits[order], attention[order], mask[order])
    np.testing.assert_allclose(moved, expected, atol=1e-6)
    np.testing.assert_allclose(
        pool_in_torch(name, logits[order], attention[order], mask[order]),
        pool_in_torch(name, logits, attention, mask),
        atol=1e-5,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("padding", [-1e4, 0.0, 1e4])
def test_masked_tiles_have_no_influence(name: str, padding: float) -> None:
    logits, attention = draw_bag(3, 7)
    whole = np.ones(7, dtype=np.bool_)
    padded_logits, padded_attention = (
        np.concatenate([part, np.full((5, 3), padding, np.float32)]) for part in (logits, attention)
    )
    mask = np.arange(12) < 7
    for pool in (pool_tiles, pool_in_torch):
        np.testing.assert_allclose(
            pool(name, padded_logits, padded_attention, mask),
            pool(name, logits, attention, whole),
            atol=1e-6,
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_bag_without_tiles_is_defined_and_gives_no_gradient(name: str) -> None:
    logits, attention = draw_bag(4, 5)
    nothing = np.zeros(5, dtype=np.bool_)
    assert (pool_tiles(name, logits, attention, nothing) == EMPTY_BAG_LOGIT).all()
    assert (pool_in_torch(name, logits, attention, nothing) == EMPTY_BAG_LOGIT).all()

    # An empty bag beside a full one: the full one learns, the empty one brings no NaN.
    tensor = torch.from_numpy(np.stack([logits, logits])).requires_grad_()
    weights = torch.from_numpy(np.stack([attention, attention])).requires_grad_()
    mask = torch.tensor([[False] * 5, [True] * 5])
    pool_bags(name, tensor, weights, mask).sum().backward()
    assert tensor.grad is not None
    assert torch.isfinite(tensor.grad).all()
    assert (tensor.grad[0] == 0).all()
    assert (tensor.grad[1] != 0).any()
    assert weights.grad is None or torch.isfinite(weights.grad).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [-100.0, -30.0, 30.0, 100.0])
def test_extreme_evidence_stays_finite(name: str, level: float) -> None:
    logits = np.full((88, 3), level, dtype=np.float32)
    mask = np.ones(88, dtype=np.bool_)
    deployed = pool_tiles(name, logits, np.zeros_like(logits), mask)
    assert np.isfinite(deployed).all()
    assert (np.sign(deployed) == np.sign(level)).all()
    tensor = torch.from_numpy(logits)[None].requires_grad_()
    pooled = pool_bags(name, tensor, torch.zeros_like(tensor), torch.from_numpy(mask)[None])
    np.testing.assert_allclose(pooled[0].detach().numpy(), deployed, rtol=1e-5)
    pooled.sum().backward()
    assert tensor.grad is not None
    assert torch.isfinite(tensor.grad).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_stronger_tile_never_weakens_the_photo(name: str) -> None:
    logits, attention = draw_bag(5, 9)
    stronger = logits.copy()
    stronger[4] += 2.0
    mask = np.ones(9, dtype=np.bool_)
    before = pool_tiles(name, logits, attention, mask)
    assert (pool_tiles(name, stronger, attention, mask) >= before).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_that_of_the_deployed_pooling(name: str) -> None:
    logits, attention = draw_bag(6, 6)
    mask = np.array([True, True, False, True, True, True])
    tensor = torch.from_numpy(logits)[None].requires_grad_()
    pool_bags(
        name, tensor, torch.from_numpy(attention)[None], torch.from_numpy(mask)[None]
    ).sum().backward()
    assert tensor.grad is not None
    step, numeric = 1e-5, np.zeros((6, 3))
    fixed_attention = attention[mask].astype(np.float64)
    for tile, label in np.ndindex(6, 3):
        ends = []
        for sign in (1, -1):
            moved = logits.astype(np.float64)
            moved[tile, label] += sign * step
            ends.append(POOLINGS[name](moved[mask], fixed_attention)[label])
        numeric[tile, label] = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(tensor.grad[0].numpy(), numeric, atol=1e-4)
