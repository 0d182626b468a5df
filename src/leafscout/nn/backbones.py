"""Backbones by name: the only file that imports timm.

A backbone turns normalised images into one feature map of a wanted stride. ``tiny`` is our own;
every other name is timm's.
"""

from __future__ import annotations

import copy
import difflib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leafscout.errors import InputError
from leafscout.nn.tiny import TinyBackbone

OWN_BACKBONES = {"tiny": TinyBackbone}


class Backbone(nn.Module):
    """One feature map of an image network, normalisation included.

    Attributes:
        name: ``tiny`` or timm's name.
        channels: channels of the feature map.
        stride: image pixels per feature-map cell.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, features: nn.Module, channels: int, stride: int) -> None:
        super().__init__()
        self.name = name
        self.features = features
        self.channels = channels
        self.stride = stride
        # ImageNet statistics: what nearly all pretrained weights expect.
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        self.register_buffer("mean", 255.0 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255.0 * torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, 3, height, width) pixels 0..255 → (batch, channels, rows, columns)."""
        out = self.features((pixels.float() - self.mean) / self.std)
        features: Tensor = out[0] if isinstance(out, list) else out
        return features

    def freeze_statistics(self) -> None:
        """Keep the running statistics of batch normalisation as they are.

        Tiles of one photo are too alike, and too few, to re-estimate them.
        """
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def measure_offset_px(backbone: Backbone) -> float:
    """How far right of and below the cells of an even grid the centres of what is seen lie.

    A 3×3 convolution of stride 2 with a border of 1 on all sides looks half a pixel left of and
    above the middle of its two pixels; over the layers this adds up to half a cell. It is measured
    on a copy whose kernels are all flat: the centre of what reaches the middle cell.

    Args:
        backbone: of any architecture; not changed.

    Returns:
        Pixels of the image; 0 where kernels are centred.
    """
    probe = copy.deepcopy(backbone.features).cpu().float().eval()
    with torch.no_grad():
        for module in probe.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.fill_(1.0 / module.weight[0].numel())
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.reset_parameters()
    cells = 15  # odd: the middle cell is in the middle, so that what sees everything is centred
    side = cells * backbone.stride
    # Faint, so that no activation is driven into saturation on the way.
    image = torch.full((1, 3, side, side), 1e-4, requires_grad=True)
    out = probe(image)
    out = out[0] if isinstance(out, list) else out
    out[0, :, cells // 2, cells // 2].sum().backward()
    if image.grad is None:
        return 0.0
    rows = image.grad[0].sum(dim=(0, 2)).double()
    centre = float((rows * torch.arange(side)).sum() / rows.sum())
    return centre - (side - 1) / 2


def build_backbone(
    name: str, *, stride: int, pretrained: bool = False, weights: Path | None = None
) -> Backbone:
    """Build a backbone that ends at a wanted stride.

    Args:
        name: ``tiny`` or a timm model name.
        stride: image pixels per feature-map cell, usually 16 or 32.
        pretrained: load timm's pretrained weights from the Hugging Face hub.
        weights: a local safetensors or PyTorch file to load instead of the hub's.

    Raises:
        InputError: unknown name, no feature map of that stride, unreadable or unfitting weights,
            or pretrained weights that cannot be downloaded.
    """
    if name in OWN_BACKBONES:
        own = OWN_BACKBONES[name](stride)
        backbone = Backbone(name, own, own.channels, stride)
        if weights is not None:
            load_pretrained_file(backbone, weights)
        return backbone
    check_backbone_name(name)
    features, channels = _timm_features(name, stride, pretrained=pretrained and weights is None)
    backbone = Backbone(name, features, channels, stride)
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
        raise InputError(
            f"The pretrained weights of {name!r} could not be downloaded from the Hugging Face "
            f"hub ({type(error).__name__}). Check the network, or give a local file with "
            "--weights FILE, or use --recipe tiny, which needs none."
        ) from error
    return features, _count_channels(name, features, stride)


def _count_channels(name: str, features: nn.Module, stride: int) -> int:
    features.eval()
    with torch.no_grad():
        out = features(torch.zeros(1, 3, 4 * stride, 4 * stride))
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
