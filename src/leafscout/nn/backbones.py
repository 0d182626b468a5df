"""Backbones by name: the only file that imports timm.

A backbone turns normalised images into one feature map of a wanted stride, or into that one and a
finer one from the same pass. ``tiny`` and its relatives are our own; every other name is timm's.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leafscout.errors import InputError
from leafscout.nn.grouped_convolution import (
    FIRST_CHANNELS,
    EfficientNetShape,
    compare_weights,
    read_efficientnet_name,
)
from leafscout.nn.tiny import TinyBackbone

OWN_BACKBONES: dict[str, Callable[[int], TinyBackbone]] = {
    "tiny": TinyBackbone,
    "tiny_narrow": partial(TinyBackbone, width=12),
    "tiny_wide": partial(TinyBackbone, width=48),
}
"""Name → what builds it for a stride; the others are teachers and students of ``tiny``."""


@dataclass(frozen=True)
class FineMap:
    """A feature map on the way to the last one.

    Attributes:
        index: which of the network's stages it comes from.
        channels: its channels.
        stride: image pixels per cell, smaller than the last map's.
    """

    index: int
    channels: int
    stride: int


class Backbone(nn.Module):
    """Feature maps of an image network, normalisation included.

    Attributes:
        name: a key of ``OWN_BACKBONES``, or timm's name.
        channels: channels of the feature map.
        stride: image pixels per feature-map cell.
        fine: the finer feature map that ``forward_fine`` gives beside it, or None.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        features: nn.Module,
        channels: int,
        stride: int,
        fine: FineMap | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.features = features
        self.channels = channels
        self.stride = stride
        self.fine = fine
        # ImageNet statistics: what nearly all pretrained weights expect.
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        self.register_buffer("mean", 255.0 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255.0 * torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, 3, height, width) pixels 0..255 → (batch, channels, rows, columns)."""
        out = self.features((pixels.float() - self.mean) / self.std)
        features: Tensor = out[0] if isinstance(out, list) else out
        return features

    def forward_fine(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Like ``forward``, with the finer feature map beside it.

        Args:
            pixels: (batch, 3, height, width) 0..255.

        Returns:
            (batch, channels, rows, columns), and (batch, fine.channels, more rows, more columns).

        Raises:
            ValueError: when the backbone was built without a finer map.
        """
        if self.fine is None:
            raise ValueError(f"The backbone {self.name!r} was built without a finer feature map.")
        network: Any = self.features
        features, (fine,) = network.forward_intermediates(
            (pixels.float() - self.mean) / self.std, indices=[self.fine.index]
        )
        # Without pooling and classifier, what is left of the head is its wide convolution.
        return network.forward_head(features), fine

    def freeze_statistics(self) -> None:
        """Keep the running statistics of batch normalisation as they are.

        Tiles of one photo are too alike, and too few, to re-estimate them.
        """
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def build_backbone(
    name: str,
    *,
    stride: int,
    fine_stride: int | None = None,
    pretrained: bool = False,
    weights: Path | None = None,
) -> Backbone:
    """Build a backbone that ends at a wanted stride.

    Args:
        name: a key of ``OWN_BACKBONES``, or a timm model name.
        stride: image pixels per feature-map cell, usually 16 or 32.
        fine_stride: of a finer feature map to be had from the same pass; None for none.
        pretrained: load timm's pretrained weights from the Hugging Face hub.
        weights: a local safetensors or PyTorch file to load instead of the hub's.

    Raises:
        InputError: unknown name, no feature map of these strides, unreadable or unfitting weights,
            or pretrained weights that cannot be downloaded.
    """
    fine = None
    if name in OWN_BACKBONES:
        own = OWN_BACKBONES[name](stride)
        features: nn.Module = own
        channels = own.channels
        if fine_stride is not None:
            fine = FineMap(own.stage_of(fine_stride), own.channels_at(fine_stride), fine_stride)
    else:
        check_backbone_name(name)
        features, channels = _timm_features(name, stride, pretrained=pretrained and weights is None)
        if fine_stride is not None:
            fine = _find_fine_map(name, features, fine_stride)
    backbone = Backbone(name, features, channels, stride, fine)
    if weights is not None:
        load_pretrained_file(backbone, weights)
    return backbone


def check_backbone_name(name: str) -> None:
    """Refuse a backbone that neither LeafScout nor timm knows, naming the nearest ones.

    Raises:
        InputError: when the name is unknown.
    """
    if name in OWN_BACKBONES:
        return
    import timm

    if timm.is_model(name.split(".")[0]):
        return
    near = difflib.get_close_matches(name, [*OWN_BACKBONES, *timm.list_models()], n=3, cutoff=0.4)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise InputError(
        f"There is no backbone called {name!r}.{hint} Expected 'tiny' or a timm model name."
    )


def _timm_features(name: str, stride: int, *, pretrained: bool) -> tuple[nn.Module, int]:
    """The network up to a stride; up to its very end where that has the stride wanted.

    The end includes the wide layer before the classifier, which separates classes best.
    """
    import timm

    try:
        info: Any = timm.create_model(name, features_only=True, pretrained=False).feature_info
    except (RuntimeError, AttributeError, TypeError, AssertionError) as error:
        raise InputError(
            f"The backbone {name!r} cannot give feature maps ({error}). "
            "Choose a convolutional one, for example mobilenetv2_100."
        ) from error
    reductions = info.reduction()
    if stride not in reductions:
        raise InputError(
            f"The backbone {name!r} has feature maps of stride {reductions}, but stride {stride} "
            "is needed. Choose another backbone."
        )
    index = len(reductions) - 1 - reductions[::-1].index(stride)
    part: dict[str, Any] = {"features_only": True, "out_indices": (index,)}
    if index == len(reductions) - 1:
        part = {"num_classes": 0, "global_pool": ""}
    try:
        features = timm.create_model(name, pretrained=pretrained, **part)
    except Exception as error:
        # The hub's client raises errors of several packages; all of them mean the same here.
        if not pretrained:
            raise
        raise InputError(_no_download(name, error)) from error
    return features, _count_channels(name, features, stride)


def _find_fine_map(name: str, features: Any, stride: int) -> FineMap:
    """The last stage of a stride, checked by running it."""
    reductions = [info["reduction"] for info in getattr(features, "feature_info", [])]
    if stride in reductions and hasattr(features, "forward_intermediates"):
        index = len(reductions) - 1 - reductions[::-1].index(stride)
        with torch.no_grad():
            _, (fine,) = features.eval().forward_intermediates(
                torch.zeros(1, 3, 4 * stride, 4 * stride), indices=[index]
            )
        if tuple(fine.shape[2:]) == (4, 4):
            return FineMap(index, int(fine.shape[1]), stride)
    raise InputError(
        f"The backbone {name!r} cannot give a feature map of stride {stride} beside its last one. "
        "Choose another backbone, or set place_stride to 32."
    )


def _count_channels(name: str, features: nn.Module, stride: int) -> int:
    features.eval()
    try:
        with torch.no_grad():
            out = features(torch.zeros(1, 3, 4 * stride, 4 * stride))
    except (AssertionError, RuntimeError, ValueError) as error:
        # Transformers of one picture size refuse all others, each in its own way.
        raise InputError(
            f"The backbone {name!r} cannot read a picture of {4 * stride} px, but glance and tiles "
            "have sizes of their own. Choose a convolutional one, for example mobilenetv2_100. "
            f"({str(error).rstrip('.')})"
        ) from error
    out = out[0] if isinstance(out, list) else out
    if out.dim() != 4 or tuple(out.shape[2:]) != (4, 4):
        raise InputError(
            f"The backbone {name!r} cannot give feature maps of stride {stride}. "
            "Choose a convolutional one, for example mobilenetv2_100."
        )
    return int(out.shape[1])


def load_pretrained_file(backbone: Backbone, weights: Path) -> None:
    """Load a local weights file of the whole network into a backbone that may end earlier.

    Args:
        backbone: the backbone to fill.
        weights: a ``.safetensors`` file, or a PyTorch file that holds only tensors.

    Raises:
        InputError: when the file is missing, unreadable, or does not hold this network.
    """
    state = _read_weights(weights)
    wanted = backbone.features.state_dict()
    missing = [key for key in wanted if key not in state]
    unfit = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or unfit:
        example = (missing or unfit)[0]
        raise InputError(
            f"The weights in {weights} do not fit the backbone {backbone.name!r}: "
            f"{len(missing)} of {len(wanted)} tensors are missing and {len(unfit)} have another "
            f"shape (for example {example!r}). Give the weights of {backbone.name!r}, with timm's "
            "tensor names."
        )
    backbone.features.load_state_dict({key: state[key] for key in wanted})


def _read_weights(weights: Path) -> dict[str, Tensor]:
    if not weights.is_file():
        raise InputError(f"There is no weights file at {weights}. Give an existing file.")
    try:
        if weights.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(weights)
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{weights} could not be read as weights ({type(error).__name__}). Expected a "
            ".safetensors file or a PyTorch state dict that holds only tensors."
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}


def create_timm_network(
    name: str,
    options: dict[str, Any],
    *,
    pretrained: bool = False,
    weights: Path | None = None,
) -> Any:
    """A whole network of timm without its classifier, for photos of a fixed size.

    Args:
        name: timm's name; ``efficientnet_b0_g16_e4`` and its like are built from their shape.
        options: timm's own arguments, ``img_size`` among them where the network has one.
        pretrained: load timm's pretrained weights from the Hugging Face hub.
        weights: a local safetensors or PyTorch file to load instead.

    Raises:
        InputError: unknown name, an argument that the network does not take, unreadable or
            unfitting weights, or pretrained weights that cannot be downloaded.
    """
    import timm

    shape = read_efficientnet_name(name)
    if shape is not None and not timm.is_model(name):
        network = build_efficientnet(shape)
    else:
        check_backbone_name(name)
        network = _create_without_head(name, options, pretrained=pretrained and weights is None)
    if weights is not None:
        _fill_network(name, network, weights)
    return network


def build_efficientnet(shape: EfficientNetShape) -> Any:
    """An EfficientNet of this shape without its classifier, from chance."""
    from timm.models import _efficientnet_builder
    from timm.models.efficientnet import EfficientNet

    builder: Any = _efficientnet_builder

    def widen(channels: int) -> int:
        # Blocks that do not expand are as wide inside as outside: whole groups must fit there.
        divisor = shape.channel_divisor
        if channels <= FIRST_CHANNELS:
            divisor = max(divisor, shape.group_size)
        return int(builder.round_channels(channels, shape.width, divisor))

    network: Any = EfficientNet(
        builder.decode_arch_def(shape.stages(), shape.depth, group_size=shape.group_size),
        num_classes=0,
        num_features=widen(1280),
        stem_size=int(
            builder.round_channels(32, shape.width, max(shape.channel_divisor, shape.group_size))
        ),
        fix_stem=True,
        round_chs_fn=widen,
        act_layer=nn.SiLU,
        global_pool="",
    )
    network.pretrained_cfg = {}
    return network


def _create_without_head(name: str, options: dict[str, Any], *, pretrained: bool) -> Any:
    import timm

    try:
        return timm.create_model(
            name, pretrained=pretrained, num_classes=0, global_pool="", **options
        )
    except TypeError as error:
        raise InputError(
            f"The network {name!r} does not take one of {sorted(options)} ({error}). "
            "Choose another network."
        ) from error
    except Exception as error:
        if not pretrained:
            raise
        raise InputError(_no_download(name, error)) from error


def _fill_network(name: str, network: Any, weights: Path) -> None:
    state = _read_weights(weights)
    fit = compare_weights(network, state)
    if fit.reshaped or fit.missing:
        raise InputError(f"The weights in {weights} do not fit {name!r}. {fit.sentence()}")
    network.load_state_dict({key: state[key] for key in fit.fitting})


def _no_download(name: str, error: Exception) -> str:
    return (
        f"The pretrained weights of {name!r} could not be downloaded from the Hugging Face "
        f"hub ({type(error).__name__}). Check the network, or give a local file with "
        "--weights FILE, or use --recipe tiny, which needs none."
    )
