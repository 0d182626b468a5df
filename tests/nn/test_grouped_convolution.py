"""EfficientNet from its shape: the plain one is timm's, the grouped one is what it says."""

import pytest
import torch
from torch import nn

from leafscout.errors import InputError
from leafscout.nn.backbones import build_efficientnet, create_timm_network
from leafscout.nn.grouped_convolution import (
    SCALES,
    EfficientNetShape,
    compare_weights,
    read_efficientnet_name,
)


@pytest.mark.parametrize("name", ["b0", "b3", "b7"])
def test_the_plain_network_is_timms(name: str) -> None:
    import timm

    shape = read_efficientnet_name(f"efficientnet_{name}")
    assert shape is not None
    with torch.device("meta"):
        ours = build_efficientnet(shape)
        theirs = timm.create_model(f"efficientnet_{name}", num_classes=0)
    fit = compare_weights(ours, theirs.state_dict())
    assert not fit.reshaped
    assert not fit.missing
    assert len(fit.fitting) == len(theirs.state_dict())
    assert fit.sentence() == f"All {len(fit.fitting)} tensors fit."


@pytest.mark.parametrize("name", sorted(SCALES))
def test_every_size_can_be_grouped(name: str) -> None:
    shape = read_efficientnet_name(f"efficientnet_{name}_g16_e4")
    assert shape is not None
    with torch.device("meta"):
        network = build_efficientnet(shape)
    spatial = [
        one
        for one in network.blocks.modules()
        if isinstance(one, nn.Conv2d) and one.kernel_size != (1, 1)
    ]
    assert spatial
    assert all(one.in_channels == one.groups * 16 for one in spatial)


def test_sizes_grow_together() -> None:
    depth, width, resolution = 1.2, 1.1, 1.15
    assert depth * width**2 * resolution**2 == pytest.approx(1.92, abs=0.01)
    for smaller, larger in zip(list(SCALES), list(SCALES)[1:], strict=False):
        assert all(a <= b for a, b in zip(SCALES[smaller], SCALES[larger], strict=True))


def test_weights_of_the_plain_network_do_not_fit_the_grouped_one() -> None:
    with torch.device("meta"):
        plain = build_efficientnet(EfficientNetShape())
        grouped = build_efficientnet(EfficientNetShape(group_size=16, expansion=4))
    fit = compare_weights(grouped, plain.state_dict())
    assert "blocks.1.0.conv_dw.weight" in fit.reshaped
    assert "conv_stem.weight" in fit.fitting
    assert "do not fit and start from chance" in fit.sentence()
    assert "train it from the start" in fit.sentence()


def test_a_grouped_network_sees_photos() -> None:
    network = build_efficientnet(EfficientNetShape(0.25, 0.5, group_size=16, expansion=4))
    with torch.no_grad():
        assert network.eval().forward_features(torch.zeros(1, 3, 64, 64)).shape[2:] == (2, 2)


@pytest.mark.parametrize("name", ["efficientnet_b8", "efficientnet_b0_g16", "resnet18"])
def test_other_names_are_not_ours(name: str) -> None:
    assert read_efficientnet_name(name) is None


def test_shapes_without_size_are_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        EfficientNetShape(group_size=0)


def test_weights_that_do_not_fit_name_the_reason(tmp_path) -> None:
    from safetensors.torch import save_file

    file = tmp_path / "plain.safetensors"
    plain = build_efficientnet(EfficientNetShape())
    save_file({key: value.contiguous() for key, value in plain.state_dict().items()}, file)
    create_timm_network("efficientnet_b0", {}, weights=file)
    with pytest.raises(InputError, match="do not fit 'efficientnet_b0_g16_e4'"):
        create_timm_network("efficientnet_b0_g16_e4", {}, weights=file)
