"""Pooling with gates: the same as the numpy pooling once dropped tokens are no evidence."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.diagnosis.gated_pooling import GATED_POOLINGS, pool_gated
from leafscout.diagnosis.pooling import EMPTY_BAG_LOGIT, POOLINGS
from leafscout.gated_model import pool_kept


@pytest.mark.parametrize("name", sorted(POOLINGS))
@settings(max_examples=10, deadline=None)
@given(kept=st.lists(st.booleans(), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_training_and_diagnosis_pool_alike(name: str, kept: list[bool], seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 5, (len(kept), 2)).astype(np.float32)
    attention = rng.normal(0, 2, (len(kept), 2)).astype(np.float32)
    mask = np.array(kept)
    expected = pool_kept(name, logits, attention, mask)
    got = pool_gated(
        name,
        torch.from_numpy(logits)[None],
        torch.from_numpy(attention)[None],
        torch.from_numpy(mask)[None].float(),
    )[0]
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", sorted(GATED_POOLINGS))
def test_the_slope_of_a_dropped_token_is_what_keeping_it_would_add(name: str) -> None:
    logits = torch.tensor([[[-4.0], [-5.0], [6.0], [-4.5]]], dtype=torch.float64)
    attention = torch.zeros_like(logits)
    gates = torch.tensor([[1.0, 1.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    pooled = pool_gated(name, logits, attention, gates)
    (slopes,) = torch.autograd.grad(pooled.sum(), gates)
    gains = []
    for index in range(4):
        kept = gates.detach().clone()
        kept[0, index] = 1.0
        gains.append(float(pool_gated(name, logits, attention, kept) - pooled.detach()))
    # Noisy-or is not linear in its gate either; the order is what matters there.
    assert slopes[0, 2] > 5 * slopes[0, 3] > 0
    if name == "log_sum_exp":
        assert float(slopes[0, 2]) == pytest.approx(gains[2], rel=0.02)
        assert float(slopes[0, 3]) == pytest.approx(gains[3], rel=0.02)


@pytest.mark.parametrize("name", sorted(POOLINGS))
def test_a_photo_of_which_nothing_is_kept_is_no_evidence(name: str) -> None:
    logits = torch.full((1, 5, 2), 7.0)
    pooled = pool_gated(name, logits, torch.zeros_like(logits), torch.zeros(1, 5))
    if name == "noisy_or":
        assert bool((pooled < EMPTY_BAG_LOGIT + np.log(5) + 0.01).all())
    else:
        np.testing.assert_allclose(pooled.numpy(), EMPTY_BAG_LOGIT, atol=1e-3)


def test_dropping_background_does_not_raise_the_evidence() -> None:
    logits = torch.tensor([[[3.0], [-6.0], [-6.0], [-6.0]]])
    everything, lesion = torch.ones(1, 4), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    both = [pool_gated("log_sum_exp", logits, logits, gates) for gates in (everything, lesion)]
    assert float(both[1]) == pytest.approx(float(both[0]), abs=1e-3)
