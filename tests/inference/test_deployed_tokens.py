"""The integrated network laid open: the answer of the deployed one, photo by photo or together."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from leafscout.diagnosis.pooling import EMPTY_BAG_LOGIT, POOLINGS
from leafscout.gated_model import GatedModel
from leafscout.gated_networks import TorchTokenNetwork, build_gated_transformer
from leafscout.inference.deployed_tokens import DeployedTokens
from leafscout.recognisers.gated_transformer import GatedTransformer
from leafscout.training.gated_recipe import choose_gated_recipe
from leafscout.training.gated_run import first_rules
from leafscout.types import Photo

LABELS = ("mildew", "rust")
SIDE_PX = 96


@pytest.fixture(scope="module")
def network() -> GatedTransformer:
    torch.manual_seed(4)
    network = build_gated_transformer(
        "tiny", 2, token_px=16, width=16, early_blocks=1, later_blocks=2, num_heads=2
    ).eval()
    with torch.no_grad():  # a gate that tells tokens apart
        network.gate.layers[-1].weight.mul_(300.0)
    return network


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Three photos, (photos, height, width, 3)."""
    return np.random.default_rng(0).integers(0, 256, (3, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)


@pytest.mark.parametrize("pooling", sorted(POOLINGS))
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_it_says_what_the_deployed_network_says(
    pooling: str, share: float, network: GatedTransformer, pixels: np.ndarray
) -> None:
    runtime = TorchTokenNetwork(network, torch.device("cpu"))
    every = [runtime.run(one, 0.0) for one in pixels]
    gate_probs = torch.sigmoid(torch.tensor(np.concatenate([one.gate_logits for one in every])))
    threshold = float(torch.quantile(gate_probs, share)) + 1e-6 if share else 0.0
    rules = first_rules(choose_gated_recipe("gated", {"pooling": pooling}), LABELS)
    rules = replace(rules, choice=replace(rules.choice, threshold_prob=threshold))
    said = [GatedModel(runtime, rules).forward(Photo(one, "noise.png"))[0] for one in pixels]
    kept = sum(int(one.read.sum()) for one in said)
    assert kept == pytest.approx((1.0 - share) * gate_probs.numel(), abs=1)

    deployed = DeployedTokens(network, threshold, pooling).eval()
    photos = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        together, maps = deployed(photos), deployed.class_maps(photos)
        alone = torch.cat([deployed(one[None]) for one in photos])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    for index, evidence in enumerate(said):
        np.testing.assert_allclose(together[index], evidence.focus_logits, atol=1e-4, rtol=1e-4)
        wanted = np.where(evidence.read[:, None], evidence.tile_logits, EMPTY_BAG_LOGIT)
        found = maps[index].flatten(1).T.numpy()
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_token_of_no_company_has_a_slope(network: GatedTransformer, pixels: np.ndarray) -> None:
    """One kept token, and none: the evidence hangs on pixels, with a slope that may be 0."""
    photo = torch.from_numpy(pixels[:1]).permute(0, 3, 1, 2).float().requires_grad_()
    with torch.no_grad():
        probs = torch.sigmoid(network.gate(network.embed(photo).values))[0].sort().values
    for threshold, some in ((float(probs[-2] + probs[-1]) / 2, True), (1.0, False)):
        score = DeployedTokens(network, threshold, "log_sum_exp").eval()(photo)[0, 0]
        (slope,) = torch.autograd.grad(score, photo)
        assert bool(torch.isfinite(slope).all())
        assert bool((slope != 0).any()) is some
