"""Pictures made for a label: they win against photos, and show what the label looks like."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from leafscout.errors import InputError
from leafscout.explanation.activation_maximisation import maximise_label
from leafscout.explanation.spatial_layers import read_logits
from leafscout.networks import build_expert, build_scout
from leafscout.recognisers.whole_photo import build_recogniser
from leafscout.types import Pixels

SIDE_PX = 48
RED, BLUE = 0, 1


def draw_photos(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Green noise with a red spot, a blue one, both or none."""
    rng = np.random.default_rng(seed)
    photos = rng.integers(60, 110, (count, SIDE_PX, SIDE_PX, 3))
    photos[..., 1] += 60
    truth = rng.integers(0, 2, (count, 2))
    for photo, labels in zip(photos, truth, strict=True):
        for label, colour in ((RED, (200, 30, 30)), (BLUE, (30, 30, 200))):
            if labels[label]:
                top, left = rng.integers(0, SIDE_PX - 12, 2)
                photo[top : top + 12, left : left + 12] = colour
    return torch.from_numpy(photos).permute(0, 3, 1, 2).float(), torch.from_numpy(truth).float()


class SpotFinder(nn.Module):
    """Convolutions whose strongest place is the photo's evidence."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 12, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(12, 2, 5, stride=2)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers((pixels - 100.0) / 60.0).amax(dim=(2, 3))


@pytest.fixture(scope="module")
def finder() -> nn.Module:
    torch.manual_seed(0)
    network, (photos, truth) = SpotFinder(), draw_photos(96, seed=0)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(network(photos), truth).backward()
        optimiser.step()
    optimiser.zero_grad()
    assert bool(((network(photos) > 0) == (truth > 0)).float().mean() > 0.95)
    return network.eval()


def judge(network: nn.Module, picture: Pixels, label: int) -> float:
    with torch.no_grad():
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
        return float(read_logits(network(pixels))[0, label])


@pytest.mark.parametrize("label", [RED, BLUE])
def test_no_photo_has_more_evidence(finder: nn.Module, label: int) -> None:
    photos, _ = draw_photos(300, seed=1)
    with torch.no_grad():
        scores = finder(photos)[:, label].numpy()
    assert judge(finder, maximise_label(finder, label, SIDE_PX), label) > np.quantile(scores, 0.99)


def test_each_label_has_the_colour_that_it_was_learnt_by(finder: nn.Module) -> None:
    red, blue = (maximise_label(finder, label, SIDE_PX).astype(int) for label in (RED, BLUE))
    for own, other, colour in ((red, blue, (255, 0, 0)), (blue, red, (0, 0, 255))):
        shares = [(np.abs(one - colour).max(axis=2) < 100).mean() for one in (own, other)]
        assert shares[0] > 0.05
        assert shares[1] < 0.01


def test_long_waves_come_first(finder: nn.Module) -> None:
    """Neighbours are alike, as in photos: far more than in noise of the same spread."""
    picture = maximise_label(finder, RED, SIDE_PX).astype(float)
    steps = np.abs(np.diff(picture, axis=0)).mean()
    shuffled = np.random.default_rng(0).permutation(picture.reshape(-1, 3)).reshape(picture.shape)
    assert steps < 0.5 * np.abs(np.diff(shuffled, axis=0)).mean()


def test_it_follows_from_the_seed_and_leaves_the_network_as_it_was(finder: nn.Module) -> None:
    one, same, other = (maximise_label(finder, RED, SIDE_PX, steps=5, seed=n) for n in (1, 1, 2))
    assert one.shape == (SIDE_PX, SIDE_PX, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert all(parameter.grad is None for parameter in finder.parameters())


NETWORKS = {
    "expert": lambda: build_expert("tiny", 3),
    "scout": lambda: build_scout("tiny", 3),
    **{
        name: lambda name=name: build_recogniser(name, 3)
        for name in ("small_efficientnet", "small_vit", "small_eva_stn", "small_arc_psa_swin")
    },
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network_can_be_asked(name: str) -> None:
    """Before it has learnt anything, too: its label likes the picture better than noise."""
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    noise = np.random.default_rng(0).integers(0, 256, (8, 128, 128, 3), dtype=np.uint8)
    found = judge(network, maximise_label(network, 1, 128, steps=60), 1)
    assert found > max(judge(network, one, 1) for one in noise)


def test_what_cannot_be_asked_is_refused(finder: nn.Module) -> None:
    with pytest.raises(InputError, match=r"label from 0 to 1, but got 2: .* evidence of 2"):
        maximise_label(finder, 2, SIDE_PX)
    with pytest.raises(InputError, match="at least 1 step, but got 0"):
        maximise_label(finder, RED, SIDE_PX, steps=0)
