"""Backbones by name: shapes, weights from a file, and sentences for what cannot be had."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from leafscout.errors import InputError
from leafscout.nn.backbones import (
    Backbone,
    build_backbone,
    check_backbone_name,
)

SMALL = "mobilenetv3_small_050"


@pytest.fixture(scope="module")
def small() -> Backbone:
    torch.manual_seed(0)
    return build_backbone(SMALL, stride=32)


def save_weights(backbone: Backbone, path: Path) -> Path:
    save_file(backbone.features.state_dict(), path)
    return path


@pytest.mark.parametrize("name", ["tiny", "mobilenetv2_100", SMALL])
@pytest.mark.parametrize("stride", [16, 32])
def test_the_feature_map_has_the_stride_wanted(name: str, stride: int) -> None:
    backbone = build_backbone(name, stride=stride).eval()
    with torch.no_grad():
        features = backbone(torch.zeros(2, 3, 96, 160, dtype=torch.uint8))
    assert features.shape == (2, backbone.channels, 96 // stride, 160 // stride)
    assert (backbone.name, backbone.stride) == (name, stride)


def test_pixels_are_normalised_inside() -> None:
    backbone = build_backbone("tiny", stride=16)
    seen: list[torch.Tensor] = []
    backbone.features.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    grey = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
    backbone(grey)
    expected = [(128 / 255 - m) / s for m, s in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx(expected, abs=1e-5)


def test_running_statistics_stay_when_frozen(small: Backbone) -> None:
    before = {key: value.clone() for key, value in small.features.state_dict().items()}
    small.train()
    small.freeze_statistics()
    small(torch.rand(2, 3, 64, 64) * 255)
    after = small.features.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_tiny_keeps_no_statistics_of_a_batch() -> None:
    torch.manual_seed(0)
    backbone = build_backbone("tiny", stride=16).train()
    images = torch.rand(3, 3, 64, 64) * 255
    with torch.no_grad():
        torch.testing.assert_close(backbone(images)[:1], backbone(images[:1]))


@pytest.mark.real_photos
@pytest.mark.parametrize("stride", [16, 32])
def test_real_weights_load_and_change_the_answer(real_data: Path, stride: int) -> None:
    file = real_data / "weights" / "mobilenetv2_100.safetensors"
    torch.manual_seed(0)
    fresh = build_backbone("mobilenetv2_100", stride=stride)
    loaded = build_backbone("mobilenetv2_100", stride=stride, weights=file)
    again = build_backbone("mobilenetv2_100", stride=stride, weights=file)
    states = [one.features.state_dict() for one in (fresh, loaded, again)]
    assert all(torch.equal(states[1][key], states[2][key]) for key in states[1])
    assert any(not torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_weights_go_in_and_come_out(small: Backbone, tmp_path: Path) -> None:
    file = save_weights(small, tmp_path / "small.safetensors")
    loaded = build_backbone(SMALL, stride=32, weights=file)
    torch.save(small.features.state_dict(), tmp_path / "small.pth")
    pickled = build_backbone(SMALL, stride=32, weights=tmp_path / "small.pth")
    for key, value in small.features.state_dict().items():
        assert torch.equal(loaded.features.state_dict()[key], value)
        assert torch.equal(pickled.features.state_dict()[key], value)


@pytest.mark.parametrize("name", ["tiny", "mobilenetv2_100"])
def test_the_weights_of_another_network_are_refused(
    name: str, small: Backbone, tmp_path: Path
) -> None:
    file = save_weights(small, tmp_path / "small.safetensors")
    with pytest.raises(InputError, match=f"do not fit the backbone '{name}'.*tensors are missing"):
        build_backbone(name, stride=32, weights=file)


def test_missing_and_damaged_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no weights file at .*none\.safetensors"):
        build_backbone(SMALL, stride=32, weights=tmp_path / "none.safetensors")
    for name in ("bad.safetensors", "bad.pth"):
        (tmp_path / name).write_bytes(b"not weights at all")
        with pytest.raises(InputError, match=f"{name} could not be read as weights"):
            build_backbone(SMALL, stride=32, weights=tmp_path / name)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(InputError, match="holds only tensors"):
        build_backbone(SMALL, stride=32, weights=tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no backbone called 'mobilenetv2_10'.*mobilenetv2_100"):
        check_backbone_name("mobilenetv2_10")
    check_backbone_name("tiny")
    check_backbone_name("mobilenetv3_small_050.lamb_in1k")


def test_a_stride_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="stride 64 is needed"):
        build_backbone(SMALL, stride=64)


def test_a_transformer_of_one_picture_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"cannot read a picture of 64 px, .*mobilenetv2_100"):
        build_backbone("vit_tiny_patch16_224", stride=16)


def test_a_failed_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    create = timm.create_model

    def offline(*args: Any, pretrained: bool = False, **kwargs: Any) -> Any:
        if pretrained:
            raise ConnectionError("the network is unreachable")
        return create(*args, pretrained=False, **kwargs)

    monkeypatch.setattr(timm, "create_model", offline)
    sentence = r"could not be downloaded .*ConnectionError.* --weights FILE.*--recipe tiny"
    with pytest.raises(InputError, match=sentence):
        build_backbone(SMALL, stride=32, pretrained=True)


def test_a_local_file_is_taken_instead_of_a_download(
    monkeypatch: pytest.MonkeyPatch, small: Backbone, tmp_path: Path
) -> None:
    import timm

    create, asked = timm.create_model, []

    def note(*args: Any, pretrained: bool = False, **kwargs: Any) -> Any:
        asked.append(pretrained)
        return create(*args, pretrained=False, **kwargs)

    monkeypatch.setattr(timm, "create_model", note)
    file = save_weights(small, tmp_path / "small.safetensors")
    build_backbone(SMALL, stride=32, pretrained=True, weights=file)
    build_backbone("tiny", stride=32, pretrained=True)
    assert asked
    assert not any(asked)


@pytest.mark.parametrize("name", ["tiny", "mobilenetv2_100", SMALL, "resnet18"])
def test_a_finer_map_comes_from_the_same_pass(name: str) -> None:
    backbone = build_backbone(name, stride=32, fine_stride=16).eval()
    pixels = 255 * torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        last, fine = backbone.forward_fine(pixels)
        torch.testing.assert_close(last, backbone(pixels), rtol=1e-3, atol=1e-3)
    assert backbone.fine is not None
    assert fine.shape == (1, backbone.fine.channels, 6, 8)


def test_a_backbone_without_a_finer_map_says_so() -> None:
    with pytest.raises(InputError, match=r"cannot give a feature map of stride 64 beside"):
        build_backbone(SMALL, stride=32, fine_stride=64)
    with pytest.raises(ValueError, match="without a finer feature map"):
        build_backbone("tiny", stride=32).forward_fine(torch.zeros(1, 3, 64, 64))
