"""Which layers of a network have places, found by watching one photo pass: no network needs help.

Convolutions keep maps as (channels, rows, columns), Swin as (rows, columns, channels), ViT and EVA
as rows of tokens with class tokens before them. All become maps here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from leafscout.errors import InputError

Layout = Literal["channels first", "channels last", "tokens"]

MOST_CLASS_TOKENS = 8
"""Class, distillation and register tokens that networks put before those of places."""

_LOGIT_FIELDS = ("logits", "tile_logits", "glance_logits")
_PARTS_OF_ATTENTION = ("qkv", "q_proj", "k_proj", "v_proj", "q_norm", "k_norm", "kv", "q")
_NO_MAPS = (nn.Dropout, nn.Identity, nn.Softmax)
_STAGE = re.compile(r"(?:^|\.)(?:stages|blocks|layers|layer)[._]?\d+(?:\.(?:blocks\.)?\d+)?$")


@dataclass(frozen=True)
class SpatialLayer:
    """A layer whose output has places.

    Attributes:
        name: of the module, as in ``named_modules``.
        layout: how its output is laid out.
        class_tokens: tokens before those of places.
        channels: of a place.
        rows: of places.
        columns: of places.
    """

    name: str
    layout: Layout
    class_tokens: int
    channels: int
    rows: int
    columns: int

    def to_maps(self, output: Tensor) -> Tensor:
        """The layer's output, or its gradient, as (photos, channels, rows, columns)."""
        if self.layout == "tokens":
            places = output[:, self.class_tokens :].transpose(1, 2)
            return places.reshape(len(output), self.channels, self.rows, self.columns)
        return output.permute(0, 3, 1, 2) if self.layout == "channels last" else output


class LayerPass(NamedTuple):
    """What a layer did in one pass.

    Attributes:
        layer: which.
        activations: (photos, channels, rows, columns).
        gradients: the same shape: of the score, by the activations.
    """

    layer: SpatialLayer
    activations: Tensor
    gradients: Tensor


def read_logits(output: Any) -> Tensor:
    """(photos, labels) evidence in whatever a network gives: a tensor, or a tuple with names.

    Raises:
        ValueError: when there is none.
    """
    if isinstance(output, Tensor):
        return output
    for name in _LOGIT_FIELDS:
        if hasattr(output, name):
            found: Tensor = getattr(output, name)
            return found
    raise ValueError(f"Expected logits or one of {_LOGIT_FIELDS}, but got {type(output).__name__}.")


def pass_back(network: nn.Module, pixels: Tensor, label: int) -> list[LayerPass]:
    """One pass forward and back: every layer with places that the evidence of a label hangs on.

    Args:
        network: in evaluation mode.
        pixels: (photos, 3, height, width) 0..255.
        label: which evidence.

    Returns:
        In the order in which the layers ran. Modules that give one and the same output count
        once, under the name of a stage or block, or the outermost one.
    """
    watched = pixels.detach().float().requires_grad_()
    with torch.enable_grad(), _watch(network) as outputs:
        score = read_logits(network(watched))[:, label].sum()
        size = int(pixels.shape[2]), int(pixels.shape[3])
        layers = _describe(outputs, len(pixels), size)
        tensors = [outputs[layer.name] for layer in layers]
        gradients = torch.autograd.grad(score, tensors, allow_unused=True)
    return [
        LayerPass(layer, layer.to_maps(seen).detach(), layer.to_maps(slope).detach())
        for layer, seen, slope in zip(layers, tensors, gradients, strict=True)
        if slope is not None
    ]


def choose_layer(passes: list[LayerPass], labels: int, name: str | None = None) -> LayerPass:
    """The layer to explain at: the last one whose places all the evidence hangs on.

    Not the evidence itself, where that has places; and not behind the last attention of a network
    that reads its class token, where no other token has a say any more. Where no layer's places
    have a say, as in a photo of which nothing was kept, it is the last one with places at all.

    Args:
        passes: of ``pass_back``.
        labels: how many the network knows.
        name: of a layer that is asked for.

    Raises:
        InputError: when there is no such layer, or none with places.
    """
    if name is not None:
        for one in passes:
            if one.layer.name == name:
                return one
        some = ", ".join(one.layer.name for one in choose_stages(passes)) or "none"
        raise InputError(f"There is no layer with places called {name!r}. Some there are: {some}.")
    fit = [one for one in passes if _is_wide(one.layer, labels)]
    if not fit:
        raise InputError("This network has no layer with places to explain at.")
    return next((one for one in reversed(fit) if _speaks_for_places(one)), fit[-1])


def choose_stages(passes: list[LayerPass], most: int = 12) -> list[LayerPass]:
    """Layers for a look from the first to the last: the ends of stages and blocks.

    Args:
        passes: of ``pass_back``.
        most: of them at most, evenly chosen; the last one always.
    """
    named = [one for one in passes if _STAGE.search(one.layer.name)] or passes
    if len(named) <= most:
        return named
    step = (len(named) - 1) / (most - 1)
    return [named[round(index * step)] for index in range(most)]


@contextmanager
def _watch(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Module name → its output, for as long as the context is open."""
    outputs: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(_note_into(outputs, name))
        for name, module in network.named_modules()
        if name
        and not isinstance(module, _NO_MAPS)
        and name.rpartition(".")[2] not in _PARTS_OF_ATTENTION
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _note_into(outputs: dict[str, Tensor], name: str) -> Callable[..., None]:
    def note(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.requires_grad:
            outputs[name] = output

    return note


def _describe(
    outputs: dict[str, Tensor], photos: int, size_px_hw: tuple[int, int]
) -> list[SpatialLayer]:
    named: dict[int, SpatialLayer] = {}
    for name, output in outputs.items():
        layer = _read_layout(name, output, photos, size_px_hw)
        if layer is None:
            continue
        # The same tensor from a module inside another: a container, or a step made in place.
        kept = named.pop(id(output), None)
        named[id(output)] = layer if kept is None else min(layer, kept, key=_rank_name)
    return list(named.values())


def _rank_name(layer: SpatialLayer) -> tuple[bool, int]:
    """A stage or block is told by its number; else the outermost name is the plainest."""
    return _STAGE.search(layer.name) is None, layer.name.count(".")


def _read_layout(
    name: str, output: Tensor, photos: int, size_px_hw: tuple[int, int]
) -> SpatialLayer | None:
    if output.shape[0] != photos:
        return None  # windows or heads in the place of photos
    if output.dim() == 3:
        return _read_tokens(name, output, size_px_hw)
    if output.dim() != 4:
        return None
    _, a, b, c = output.shape
    first, last = _mismatch((b, c), size_px_hw), _mismatch((a, b), size_px_hw)
    if min(first, last) > 1:
        return None
    if first <= last:
        return SpatialLayer(name, "channels first", 0, a, b, c) if b * c > 1 else None
    return SpatialLayer(name, "channels last", 0, c, a, b) if a * b > 1 else None


def _read_tokens(name: str, output: Tensor, size_px_hw: tuple[int, int]) -> SpatialLayer | None:
    height, width = size_px_hw
    tokens, channels = int(output.shape[1]), int(output.shape[2])
    for prefix in range(min(MOST_CLASS_TOKENS, tokens - 1)):
        rows = round(((tokens - prefix) * height / width) ** 0.5)
        if rows and rows * round(rows * width / height) == tokens - prefix:
            columns = (tokens - prefix) // rows
            return SpatialLayer(name, "tokens", prefix, channels, rows, columns)
    return None


def _mismatch(cells: tuple[int, int], size_px_hw: tuple[int, int]) -> float:
    """How far a grid is from the photo's shape, in cells; convolutions may be a cell off."""
    (rows, columns), (height, width) = cells, size_px_hw
    if rows > height or columns > width:
        return float("inf")
    return abs(rows * width - columns * height) / max(height, width)


def _is_wide(layer: SpatialLayer, labels: int) -> bool:
    return layer.channels > max(labels, 3)


def _speaks_for_places(one: LayerPass) -> bool:
    return bool((one.gradients != 0).any())
