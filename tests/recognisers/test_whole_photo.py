"""Whole-photo recognisers: every small one through the same checks."""

from dataclasses import replace

import pytest
import torch

from leafscout.evaluation.comparison import macro_f1
from leafscout.evaluation.scores import plain_weights
from leafscout.losses.arcface import ArcFaceHead
from leafscout.recognisers.shapes import RECOGNISERS, RecogniserShape
from leafscout.recognisers.whole_photo import Recogniser, build_recogniser

SMALL = sorted(name for name in RECOGNISERS if name.startswith("small_"))


def _photos(name: str, photos: int = 2) -> torch.Tensor:
    side = RECOGNISERS[name].photo_px
    return (255 * torch.rand(photos, 3, side, side)).to(torch.uint8)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", SMALL)
def test_a_photo_gets_the_same_answer_alone_and_among_others(name: str) -> None:
    network, photos = build_recogniser(name, 3).eval(), _photos(name, 3)
    with torch.no_grad():
        together = network(photos)
        alone = network(photos[1:2])
    assert together.logits.shape == (3, 3)
    assert together.feature_map.dim() == 4
    assert torch.allclose(alone.logits[0], together.logits[1], atol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_everything_learns(name: str) -> None:
    network, photos = build_recogniser(name, 3).train(), _photos(name, 4)
    truth = torch.eye(4)[:, :3]
    network.loss(photos, truth).backward()
    idle = [
        key
        for key, parameter in network.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert not idle


@pytest.mark.parametrize("name", SMALL)
def test_weights_survive_being_saved(name: str) -> None:
    network, photos = build_recogniser(name, 2).eval(), _photos(name)
    other = build_recogniser(name, 2).eval()
    with torch.no_grad():
        assert not torch.equal(network.head.weight, other.head.weight)
        other.load_state_dict(network.state_dict())
        assert torch.equal(network(photos).logits, other(photos).logits)


def test_the_mean_of_the_class_maps_is_the_evidence() -> None:
    network, photos = build_recogniser("small_vit", 3).eval(), _photos("small_vit")
    with torch.no_grad():
        maps, logits = network.class_maps(photos), network(photos).logits
    assert maps is not None
    assert torch.allclose(maps.mean(dim=(2, 3)), logits, atol=1e-4)


def test_behind_arcface_there_are_no_class_maps() -> None:
    network = build_recogniser("small_arc_psa_swin", 3).eval()
    assert network.class_maps(_photos("small_arc_psa_swin")) is None


def test_a_fresh_spatial_transformer_changes_nothing() -> None:
    photos = _photos("small_eva_stn")
    network = build_recogniser("small_eva_stn", 3).eval()
    with torch.no_grad():
        before = network(photos).logits
        network.transformer = None
        assert torch.allclose(before, network(photos).logits, atol=1e-3)


def test_arcface_learns_a_few_photos_by_heart() -> None:
    network = Recogniser(
        RecogniserShape("small_efficientnet", 32, polarised=True, head="arcface", features=16), 3
    )
    assert isinstance(network.head, ArcFaceHead)
    photos = 255 * torch.rand(8, 3, 32, 32)
    truth = (torch.arange(8)[:, None] >> torch.arange(3)) % 2  # all eight combinations
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3)
    network.train()
    for _ in range(60):
        optimiser.zero_grad()
        network.loss(photos, truth.float()).backward()
        optimiser.step()
    with torch.no_grad():  # batch statistics: those of these very photos
        assert torch.equal((network(photos).logits > 0).long(), truth)


def test_swin_with_arcface_learns_every_combination_of_five_labels_by_heart() -> None:
    """Judged as in a diagnosis: without batch statistics and without the margin."""
    shape = replace(RECOGNISERS["small_arc_psa_swin"], photo_px=64, features=32)
    network = Recogniser(shape, 5)
    photos = 255 * torch.rand(32, 3, 64, 64)
    truth = (torch.arange(32)[:, None] >> torch.arange(5)) % 2
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    network.train()
    for _ in range(60):
        optimiser.zero_grad()
        network.loss(photos, truth.float()).backward()
        optimiser.step()
    network.eval()
    with torch.no_grad():
        found = (network(photos).logits > 0).long()
    assert torch.equal(found, truth)
    assert macro_f1(truth.numpy() > 0, found.numpy() > 0, plain_weights(32))[0] == 1.0


def test_class_centres_are_unit_vectors() -> None:
    centres = build_recogniser("small_arc_psa_swin", 3).class_centres()
    assert torch.allclose(centres.norm(dim=1), torch.ones(3))


def test_an_unknown_recogniser_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="small_vit"):
        build_recogniser("alexnet", 3)


def test_clip_networks_are_normalised_as_they_were_trained() -> None:
    network = build_recogniser("small_eva_stn", 3)
    assert network.encoder.mean.flatten().tolist() == pytest.approx(
        [255 * 0.48145466, 255 * 0.4578275, 255 * 0.40821073], rel=1e-4
    )
