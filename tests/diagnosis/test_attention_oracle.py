"""Plain and gated attention against torchmil, weights copied over."""

import numpy as np
import pytest
import torch

from leafscout.diagnosis.pooling import pool_tiles
from leafscout.focus.expert import GatedAttention

torchmil_nn = pytest.importorskip("torchmil.nn")

FEATURES, HIDDEN, TILES = 7, 5, 11


@pytest.mark.parametrize("gated", [False, True])
def test_attention_and_its_pooling_are_those_of_torchmil(gated: bool) -> None:
    torch.manual_seed(0)
    ours = GatedAttention(FEATURES, HIDDEN, labels=1)
    if not gated:
        ours.open_gate()
    theirs = torchmil_nn.AttentionPool(in_dim=FEATURES, att_dim=HIDDEN, gated=gated)
    features, mask = torch.randn(1, TILES, FEATURES), torch.ones(1, TILES)
    mask[0, [1, 6]] = 0
    theirs(features, mask)  # its layers take their shapes from the first bag
    pairs = [(theirs.fc1, ours.value)] + ([(theirs.fc_gated, ours.gate)] if gated else [])
    with torch.no_grad():
        for to, source in pairs:
            linear = next(part for part in to.modules() if isinstance(part, torch.nn.Linear))
            linear.load_state_dict(source.state_dict())
        theirs.fc2.weight.copy_(ours.score.weight)
        bag, scores = theirs(features, mask, return_att=True)
        found = ours(features[0])
    # A bias of the score moves all tiles alike.
    torch.testing.assert_close(found[:, 0] - ours.score.bias, scores[0], rtol=1e-5, atol=1e-6)

    # Their pooling averages features; ours the evidence that a linear classifier reads from them.
    classifier = torch.randn(FEATURES)
    pooled = pool_tiles(
        "gated_attention" if gated else "attention",
        (features[0] @ classifier)[:, None].numpy(),
        found.numpy(),
        mask[0].numpy().astype(np.bool_),
    )
    assert pooled[0] == pytest.approx(float(bag[0] @ classifier), rel=1e-5, abs=1e-5)


def test_an_open_gate_stays_open_while_the_rest_learns() -> None:
    torch.manual_seed(0)
    attention = GatedAttention(FEATURES, HIDDEN, labels=2)
    attention.open_gate()
    before = attention.value.weight.clone()
    optimizer = torch.optim.AdamW(attention.parameters(), lr=0.1, weight_decay=0.5)
    features = torch.randn(TILES, FEATURES)
    for _ in range(3):
        optimizer.zero_grad()
        attention(features).square().sum().backward()
        optimizer.step()
    assert not torch.equal(attention.value.weight, before)
    plain = attention.score(torch.tanh(attention.value(features)))
    torch.testing.assert_close(attention(features), plain)
