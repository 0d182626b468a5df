"""Looking inside networks: the same call for CNN, ViT, EVA, Swin, expert and scout."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from leafscout.errors import InputError
from leafscout.explanation.attention import roll_out, rollout_map
from leafscout.explanation.gradients import (
    class_maps,
    grad_cam,
    grad_cam_plus_plus,
    integrated_gradients,
    saliency,
)
from leafscout.explanation.methods import (
    METHODS,
    explain,
    list_methods,
    view_attention,
    view_layers,
)
from leafscout.explanation.spatial_layers import choose_layer, choose_stages, pass_back
from leafscout.networks import build_expert, build_scout
from leafscout.recognisers.whole_photo import build_recogniser


class Convolutions(nn.Module):
    """A small network of the usual kind: convolutions, mean of places, one linear layer."""

    def __init__(self, labels: int = 3) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(inplace=True)),
            nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(inplace=True)),
        )
        self.head = nn.Linear(16, labels)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.stages(pixels / 255).mean(dim=(2, 3)))


def _timm(name: str, **options: Any) -> nn.Module:
    import timm

    return timm.create_model(name, num_classes=3, img_size=64, **options)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "convolutions": Convolutions,
    "class token": lambda: _timm("vit_tiny_patch16_224", embed_dim=48, depth=2, num_heads=3),
    "registers": lambda: _timm(
        "vit_medium_patch16_reg4_gap_256", embed_dim=48, depth=2, num_heads=3
    ),
    "rotary codes": lambda: _timm(
        "eva02_base_patch16_clip_224", embed_dim=48, depth=2, num_heads=3
    ),
    "windows": lambda: _timm(
        "swin_tiny_patch4_window7_224",
        embed_dim=24,
        depths=(2, 2),
        num_heads=(1, 2),
        window_size=4,
    ),
    "expert": lambda: build_expert("tiny", 3, place_stride=16),
    "scout": lambda: build_scout("tiny", 3),
}

CLASS_MAPS = {"convolutions", "windows", "expert", "scout"}
ATTENTION = {"class token", "registers", "rotary codes"}


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {name: build().eval() for name, build in NETWORKS.items()}


@pytest.fixture(scope="module")
def photos() -> Tensor:
    return 255 * torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_asked_without_any_help(
    name: str, networks: dict[str, nn.Module], photos: Tensor
) -> None:
    network = networks[name]
    possible = list_methods(network, photos)
    assert ("cam" in possible) == (name in CLASS_MAPS)
    assert ("rollout" in possible) == (name in ATTENTION)
    assert ("window-attention" in possible) == (name == "windows")
    for method in possible:
        heat = explain(network, photos, [0, 2], method)
        assert heat.maps.shape[:2] == (2, 2)
        assert min(heat.maps.shape[2:]) > 1
        assert bool(torch.isfinite(heat.maps).all())
        if not METHODS[method].absolute:
            assert float(heat.maps.min()) >= 0
        # A fresh network may have nothing that speaks for a label.
        if METHODS[method].per_label and float(heat.maps.abs().max()) > 1e-9:
            assert not torch.allclose(heat.maps[:, 0], heat.maps[:, 1])
        if not METHODS[method].per_label:
            assert torch.equal(heat.maps[:, 0], heat.maps[:, 1])


@pytest.mark.parametrize("name", NETWORKS)
def test_asking_leaves_no_trace(name: str, networks: dict[str, nn.Module], photos: Tensor) -> None:
    network = networks[name]
    fused = [m.fused_attn for m in network.modules() if hasattr(m, "fused_attn")]
    for method in list_methods(network, photos):
        explain(network, photos, [1], method)
    assert [m.fused_attn for m in network.modules() if hasattr(m, "fused_attn")] == fused
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(m._forward_hooks for m in network.modules())


@pytest.mark.parametrize("name", NETWORKS)
def test_one_photo_and_many_give_the_same_maps(
    name: str, networks: dict[str, nn.Module], photos: Tensor
) -> None:
    together = explain(networks[name], photos, [1], "grad-cam").maps
    alone = explain(networks[name], photos[1:], [1], "grad-cam").maps
    assert torch.allclose(alone[0], together[1], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "layer", "layout"),
    [
        ("convolutions", "stages.1", "channels first"),
        ("class token", "blocks.1.norm1", "tokens"),
        ("registers", "blocks.1", "tokens"),
        ("windows", "norm", "channels last"),
        ("expert", None, "channels first"),
    ],
)
def test_the_layer_is_found(
    name: str, layer: str | None, layout: str, networks: dict[str, nn.Module], photos: Tensor
) -> None:
    found = choose_layer(pass_back(networks[name], photos, 0), 3).layer
    assert found.layout == layout
    assert layer in (None, found.name)
    assert found.class_tokens == {"class token": 1, "registers": 4}.get(name, 0)


def test_a_photo_that_is_not_square_keeps_its_shape(networks: dict[str, nn.Module]) -> None:
    photo = 255 * torch.rand(1, 3, 64, 96)
    maps = explain(networks["convolutions"], photo, [0], "grad-cam").maps
    assert maps.shape[2:] == (16, 24)


@pytest.mark.parametrize("plus", [False, True])
def test_grad_cam_is_that_of_the_package(
    *, plus: bool, networks: dict[str, nn.Module], photos: Tensor
) -> None:
    from pytorch_grad_cam import GradCAM, GradCAMPlusPlus
    from pytorch_grad_cam.utils.image import scale_cam_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network = networks["convolutions"]
    package = (GradCAMPlusPlus if plus else GradCAM)(network, [network.stages[1]])
    for label in range(3):
        theirs = package(photos, [ClassifierOutputTarget(label)] * 2)
        seen = choose_layer(pass_back(network, photos, label), 3)
        ours = (grad_cam_plus_plus if plus else grad_cam)(seen).numpy()
        assert np.abs(scale_cam_image(scale_cam_image(ours, (64, 64))) - theirs).max() < 1e-4
    network.zero_grad(set_to_none=True)


def test_class_maps_are_grad_cam_before_anything_is_cut_off(
    networks: dict[str, nn.Module], photos: Tensor
) -> None:
    network = networks["convolutions"]
    maps = class_maps(network, photos)
    assert maps is not None
    assert torch.allclose(maps.mean(dim=(2, 3)), network(photos), atol=1e-5)
    seen = choose_layer(pass_back(network, photos, 1), 3)
    places = seen.activations.shape[2] * seen.activations.shape[3]
    by_cam = torch.relu(maps[:, 1] - network.head.bias[1]) / places
    assert torch.allclose(by_cam, grad_cam(seen), atol=1e-6)


def test_what_pixels_add_sums_up_to_the_evidence(
    networks: dict[str, nn.Module], photos: Tensor
) -> None:
    network = networks["convolutions"]
    empty = torch.zeros_like(photos)
    added = integrated_gradients(network, photos, 2, baseline=empty, steps=128)
    with torch.no_grad():
        wanted = (network(photos) - network(empty))[:, 2]
    assert torch.allclose(added.sum(dim=(1, 2, 3)), wanted, rtol=0.02, atol=1e-3)


def test_integrated_gradients_are_captums(networks: dict[str, nn.Module], photos: Tensor) -> None:
    from captum.attr import IntegratedGradients

    network, empty = networks["convolutions"], torch.zeros_like(photos)
    theirs = IntegratedGradients(network).attribute(
        photos, empty, target=1, n_steps=16, method="riemann_middle"
    )
    ours = integrated_gradients(network, photos, 1, baseline=empty, steps=16)
    assert torch.allclose(ours, theirs.float(), atol=1e-6)


def test_a_linear_network_is_explained_exactly() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    photo, empty = 255 * torch.rand(1, 3, 4, 4), torch.full((1, 3, 4, 4), 10.0)
    weight = network[1].weight[1].view(1, 3, 4, 4)
    added = integrated_gradients(network, photo, 1, baseline=empty, steps=1)
    assert torch.allclose(added, weight * (photo - empty), rtol=1e-4, atol=1e-5)
    assert torch.allclose(saliency(network, photo, 1), weight.abs().amax(dim=1))


def test_other_weights_give_other_maps(photos: Tensor) -> None:
    maps = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        maps.append(explain(Convolutions().eval(), photos, [0], "grad-cam").maps.flatten())
    assert float(torch.corrcoef(torch.stack(maps))[0, 1]) < 0.9


def test_rows_of_the_rollout_sum_to_1() -> None:
    torch.manual_seed(0)
    weights = [torch.rand(2, 3, 10, 10).softmax(dim=-1) for _ in range(4)]
    rolled = roll_out(weights)
    assert torch.allclose(rolled.sum(dim=-1), torch.ones(2, 10), atol=1e-6)
    assert rollout_map(rolled, 1, 3, 3).shape == (2, 3, 3)


def test_attention_to_oneself_alone_changes_nothing() -> None:
    own = torch.eye(6).expand(1, 2, 6, 6)
    assert torch.equal(roll_out([own, own, own])[0], torch.eye(6))


def test_even_attention_takes_evenly() -> None:
    even = torch.full((1, 2, 6, 6), 1 / 6)
    assert torch.allclose(roll_out([even], residual=False), torch.full((6, 6), 1 / 6))


def test_the_attention_seen_is_the_attention_used(
    networks: dict[str, nn.Module], photos: Tensor
) -> None:
    network = networks["class token"]
    views = view_attention(network, photos)
    assert [one.layer for one in views] == ["blocks.0.attn", "blocks.1.attn"]
    for one in views:
        assert one.maps.shape == (2, 1, 4, 4)
        assert bool((one.maps.sum(dim=(2, 3)) <= 1 + 1e-5).all())


def test_attention_in_windows_is_laid_back_in_place(photos: Tensor) -> None:
    torch.manual_seed(0)
    network = NETWORKS["windows"]().eval()
    for module in network.modules():  # even attention: no queries, no codes of places
        if hasattr(module, "relative_position_bias_table"):
            nn.init.zeros_(module.relative_position_bias_table)
            nn.init.zeros_(module.qkv.weight)
            nn.init.zeros_(module.qkv.bias)
    views = view_attention(network, photos)
    assert [tuple(one.maps.shape[2:]) for one in views] == [(16, 16)] * 2 + [(8, 8)] * 2
    # Windows that were cut across the border take within their parts alone, evenly all the same.
    for one in views:
        assert torch.allclose(one.maps, torch.ones_like(one.maps), atol=1e-5)


def test_layer_by_layer_goes_from_first_to_last(
    networks: dict[str, nn.Module], photos: Tensor
) -> None:
    views = view_layers(networks["convolutions"], photos, 0)
    assert [one.layer for one in views] == ["stages.0", "stages.1"]
    passes = pass_back(networks["windows"], photos, 0)
    few = choose_stages(passes, most=3)
    assert len(few) == 3
    assert few[-1] == choose_stages(passes)[-1]


def test_attention_is_shown_layer_by_layer_as_attention(
    networks: dict[str, nn.Module], photos: Tensor
) -> None:
    plain = view_layers(networks["windows"], photos, 0, "window-attention")
    own = view_attention(networks["windows"], photos)
    weighed = view_layers(networks["windows"], photos, 0, "gradient-window-attention")
    for one, other, heavier in zip(plain, own, weighed, strict=True):
        assert one.method == "window-attention"
        assert torch.equal(one.maps, other.maps)
        assert one.maps.shape == heavier.maps.shape
    assert any(not torch.equal(a.maps, b.maps) for a, b in zip(plain, weighed, strict=True))


def test_a_layer_can_be_named(networks: dict[str, nn.Module], photos: Tensor) -> None:
    heat = explain(networks["convolutions"], photos, [0], "grad-cam", layer="stages.0")
    assert heat.layer == "stages.0"
    assert heat.maps.shape[2:] == (32, 32)


def test_recognisers_can_be_asked_too() -> None:
    torch.manual_seed(0)
    network = build_recogniser("small_arc_psa_swin", 2).eval()
    photo = 255 * torch.rand(1, 3, 128, 128)
    assert list_methods(network, photo) == [
        "grad-cam", "grad-cam++", "saliency", "integrated-gradients",
        "window-attention", "gradient-window-attention",
    ]  # fmt: skip
    heat = explain(network, photo, [0, 1], "grad-cam")
    assert heat.layer == "neck.to_map"
    assert heat.maps.shape == (1, 2, 4, 4)


@pytest.mark.parametrize(
    ("method", "layer", "sentence"),
    [
        ("magic", None, r"'magic' does not exist\. Expected one of: cam, grad-cam"),
        ("rollout", None, r"'rollout' cannot be used with this network"),
        ("grad-cam", "stages.9", r"no layer with places called 'stages\.9'.*stages\.0"),
        ("saliency", "stages.0", r"not asked at a layer"),
    ],
)
def test_the_impossible_is_refused_in_words(
    method: str,
    layer: str | None,
    sentence: str,
    networks: dict[str, nn.Module],
    photos: Tensor,
) -> None:
    with pytest.raises(InputError, match=sentence):
        explain(networks["convolutions"], photos, [0], method, layer=layer)
