"""Every backbone of our own fits expert and scout, at every stride that these ask for."""

import pytest
import torch

from leafscout.networks import build_expert, build_scout, count_macs
from leafscout.nn.backbones import OWN_BACKBONES, check_backbone_name

LABELS = 3


@pytest.mark.parametrize("name", sorted(OWN_BACKBONES))
@pytest.mark.parametrize(("place_stride", "cells"), [(32, 3), (16, 6)])
def test_it_serves_expert_and_scout(name: str, place_stride: int, cells: int) -> None:
    check_backbone_name(name)
    expert = build_expert(name, LABELS, place_stride=place_stride).eval()
    scout = build_scout(name, LABELS, stride=place_stride).eval()
    with torch.no_grad():
        found = expert(torch.zeros(2, 3, 96, 96))
        seen = scout(torch.zeros(1, 3, 96, 128))
    assert found.place_logits.shape == (2, LABELS, cells, cells)
    assert seen.label_maps.shape == (1, LABELS, 6, 8)
    for network in (expert, scout):
        assert network.backbone.name == name


def test_narrower_ones_are_cheaper() -> None:
    macs = [
        count_macs(build_expert(name, LABELS), 96, 96)
        for name in ("tiny_narrow", "tiny", "tiny_wide")
    ]
    assert macs[0] < 0.4 * macs[1] < 0.4 * 0.4 * macs[2]
