"""Ways to ask a network what it looked at, by name: the same call for every kind of network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leafscout.errors import InputError
from leafscout.explanation.attention import (
    has_attention,
    has_windows,
    read_attention,
    roll_out,
    rollout_map,
    window_maps,
)
from leafscout.explanation.gradients import (
    class_maps,
    grad_cam,
    grad_cam_plus_plus,
    integrated_gradients,
    saliency,
)
from leafscout.explanation.spatial_layers import (
    LayerPass,
    choose_layer,
    choose_stages,
    pass_back,
    read_logits,
)


@dataclass(frozen=True)
class Method:
    """One way to ask.

    Attributes:
        words: what it shows.
        kind: what a network must have: ``layer``, ``pixels``, ``classes``, ``attention`` or
            ``windows``.
        per_label: whether labels get different maps.
        absolute: whether heights are logits of places, the same scale for every photo.
    """

    words: str
    kind: str
    per_label: bool = True
    absolute: bool = False


METHODS: dict[str, Method] = {
    "cam": Method("evidence of places, as the network itself adds it up", "classes", absolute=True),
    "grad-cam": Method("channels weighted by their mean gradient", "layer"),
    "grad-cam++": Method("the same, counting each of several like places fully", "layer"),
    "saliency": Method("pixels whose change would change the evidence most", "pixels"),
    "integrated-gradients": Method("what pixels add on the way from an empty photo", "pixels"),
    "rollout": Method(
        "what the answer is mixed from, through all layers", "attention", per_label=False
    ),
    "gradient-rollout": Method("the same, weighted by what speaks for the label", "attention"),
    "window-attention": Method(
        "what is taken from each place in its windows", "windows", per_label=False
    ),
    "gradient-window-attention": Method("the same, where it speaks for the label", "windows"),
}


@dataclass(frozen=True, eq=False)
class Heat:
    """Where the evidence of some labels comes from, for some photos.

    Attributes:
        method: a key of ``METHODS``.
        layer: the layer it was read at; None where the method has none.
        maps: (photos, labels asked, rows, columns): logits for an absolute method, else from 0.
    """

    method: str
    layer: str | None
    maps: Tensor


def list_methods(network: nn.Module, pixels: Tensor) -> list[str]:
    """The methods that this network can be asked by, the most telling first.

    Args:
        network: in evaluation mode.
        pixels: (photos, 3, height, width) 0..255; one photo is enough.
    """
    has = {
        "layer": True,
        "pixels": True,
        "classes": class_maps(network, pixels[:1]) is not None,
        "attention": has_attention(network),
        "windows": has_windows(network),
    }
    return [name for name, method in METHODS.items() if has[method.kind]]


def explain(
    network: nn.Module,
    pixels: Tensor,
    labels: Sequence[int],
    method: str,
    *,
    layer: str | None = None,
) -> Heat:
    """Ask a network where the evidence of labels comes from.

    Args:
        network: in evaluation mode; its answer is logits, or a tuple that names them.
        pixels: (photos, 3, height, width) 0..255.
        labels: which evidence, by index.
        method: a key of ``METHODS`` that this network can be asked by.
        layer: for Grad-CAM, a layer by name; found by itself without one.

    Raises:
        InputError: an unknown method or one that this network cannot be asked by, naming those it
            can; a layer that does not exist.
    """
    possible = list_methods(network, pixels)
    if method not in possible:
        known = "cannot be used with this network" if method in METHODS else "does not exist"
        raise InputError(f"The method {method!r} {known}. Expected one of: {', '.join(possible)}.")
    if layer is not None and METHODS[method].kind != "layer":
        raise InputError(
            f"The method {method!r} is not asked at a layer. Leave the layer out, or use grad-cam."
        )
    return _ASK[METHODS[method].kind](network, pixels, labels, method, layer)


def view_layers(
    network: nn.Module, pixels: Tensor, label: int, method: str = "grad-cam", most: int = 12
) -> list[Heat]:
    """The same question at layer after layer: what each takes from where, or speaks for a label.

    Args:
        network: in evaluation mode.
        pixels: (photos, 3, height, width) 0..255.
        label: which evidence.
        method: as it was asked; attention is shown by methods of attention, and the layers of all
            others by Grad-CAM.
        most: layers at most.

    Returns:
        One heat a layer, first to last.
    """
    if METHODS[method].kind in ("attention", "windows"):
        return view_attention(network, pixels, label if METHODS[method].per_label else None)
    return [
        Heat("grad-cam", one.layer.name, grad_cam(one)[:, None])
        for one in choose_stages(pass_back(network, pixels, label), most)
    ]


def view_attention(network: nn.Module, pixels: Tensor, label: int | None = None) -> list[Heat]:
    """What is taken from each place, attention layer by attention layer.

    Args:
        network: in evaluation mode, with attention of either kind.
        pixels: (photos, 3, height, width) 0..255.
        label: weigh by what speaks for it; None shows attention as it is.
    """
    layers = read_attention(network, pixels, label)
    if has_windows(network):
        maps = window_maps(network, layers, len(pixels))
    else:
        prefix, rows, columns = _token_grid(network, pixels)
        maps = [
            rollout_map(roll_out([one.weights], residual=False), prefix, rows, columns)
            for one in layers
        ]
    return [
        Heat("window-attention" if has_windows(network) else "rollout", one.name, found[:, None])
        for one, found in zip(layers, maps, strict=True)
    ]


def count_labels(network: nn.Module, pixels: Tensor) -> int:
    """How many labels a network gives evidence for."""
    with torch.no_grad():
        return int(read_logits(network(pixels)).shape[1])


def _ask_layer(
    network: nn.Module, pixels: Tensor, labels: Sequence[int], method: str, layer: str | None
) -> Heat:
    read: Callable[[LayerPass], Tensor] = grad_cam if method == "grad-cam" else grad_cam_plus_plus
    known = count_labels(network, pixels[:1])
    seen = [choose_layer(pass_back(network, pixels, one), known, layer) for one in labels]
    return Heat(method, seen[0].layer.name, torch.stack([read(one) for one in seen], dim=1))


def _ask_pixels(
    network: nn.Module, pixels: Tensor, labels: Sequence[int], method: str, _layer: str | None
) -> Heat:
    if method == "saliency":
        maps = [saliency(network, pixels, one) for one in labels]
    else:
        added = [integrated_gradients(network, pixels, one) for one in labels]
        maps = [F.relu(one.sum(dim=1)) for one in added]
    return Heat(method, None, torch.stack(maps, dim=1))


def _ask_classes(
    network: nn.Module, pixels: Tensor, labels: Sequence[int], method: str, _layer: str | None
) -> Heat:
    maps = class_maps(network, pixels)
    if maps is None:  # list_methods has looked already
        raise ValueError("This network has no evidence of places.")
    return Heat(method, None, maps[:, list(labels)])


def _ask_attention(
    network: nn.Module, pixels: Tensor, labels: Sequence[int], method: str, _layer: str | None
) -> Heat:
    prefix, rows, columns = _token_grid(network, pixels)

    def ask(label: int | None) -> Tensor:
        weights = [one.weights for one in read_attention(network, pixels, label)]
        return rollout_map(roll_out(weights), prefix, rows, columns)

    if not METHODS[method].per_label:
        return Heat(method, None, ask(None)[:, None].expand(-1, len(labels), -1, -1))
    return Heat(method, None, torch.stack([ask(label) for label in labels], dim=1))


def _ask_windows(
    network: nn.Module, pixels: Tensor, labels: Sequence[int], method: str, _layer: str | None
) -> Heat:
    def ask(label: int | None) -> Tensor:
        layers = read_attention(network, pixels, label)
        maps = window_maps(network, layers, len(pixels))
        size = maps[0].shape[1:]
        return torch.stack(
            [
                F.interpolate(one[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
                for one in maps
            ]
        ).mean(dim=0)

    if not METHODS[method].per_label:
        return Heat(method, None, ask(None)[:, None].expand(-1, len(labels), -1, -1))
    return Heat(method, None, torch.stack([ask(label) for label in labels], dim=1))


_ASK: dict[str, Callable[[nn.Module, Tensor, Sequence[int], str, str | None], Heat]] = {
    "layer": _ask_layer,
    "pixels": _ask_pixels,
    "classes": _ask_classes,
    "attention": _ask_attention,
    "windows": _ask_windows,
}


def _token_grid(network: nn.Module, pixels: Tensor) -> tuple[int, int, int]:
    """Class tokens, rows and columns of the tokens that attention is between."""
    passes = pass_back(network, pixels[:1], 0)
    tokens = [one.layer for one in passes if one.layer.layout == "tokens"]
    if not tokens:
        raise InputError("The places of this network's tokens could not be found.")
    return tokens[-1].class_tokens, tokens[-1].rows, tokens[-1].columns
