"""Where transformers look: attention of every layer, rolled out, or laid back from windows.

Attention says what is mixed into what, not what speaks for a label. Weighted by the gradient of a
label's evidence (Chefer et al. 2021) it says a little of that, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leafscout.explanation.spatial_layers import read_logits


class AttentionLayer(NamedTuple):
    """The attention of one layer.

    Attributes:
        name: of the module.
        weights: (photos or windows, heads, tokens, tokens), row by row what a token takes from
            which; with a label, times its gradient, where that speaks for the label.
    """

    name: str
    weights: Tensor


def has_attention(network: nn.Module) -> bool:
    """Whether a network has attention over all places at once, as ViT and EVA have."""
    found = list(_attention_modules(network))
    return bool(found) and not any(_in_windows(module) for _, module in found)


def has_windows(network: nn.Module) -> bool:
    """Whether a network has attention in windows, as Swin has."""
    return any(_in_windows(module) for _, module in _attention_modules(network))


def read_attention(
    network: nn.Module, pixels: Tensor, label: int | None = None
) -> list[AttentionLayer]:
    """The attention of every layer, first to last.

    Args:
        network: in evaluation mode.
        pixels: (photos, 3, height, width) 0..255.
        label: weigh attention by the gradient of this label's evidence; None leaves it as it is.
    """
    watched = pixels.detach().float().requires_grad_()
    with torch.enable_grad(), _unfused(network) as seen:
        output = network(watched)
        weights = [one.weights for one in seen]
        if label is not None:
            score = read_logits(output)[:, label].sum()
            slopes = torch.autograd.grad(score, weights, allow_unused=True)
            weights = [
                torch.zeros_like(one) if slope is None else F.relu(one * slope)
                for one, slope in zip(weights, slopes, strict=True)
            ]
    return [
        AttentionLayer(one.name, weight.detach()) for one, weight in zip(seen, weights, strict=True)
    ]


def roll_out(weights: list[Tensor], *, residual: bool = True) -> Tensor:
    """What each token of the last layer is made of, in tokens of the first (Abnar & Zuidema 2020).

    The mean of the heads, half of it the token itself (which skips every layer), row by row made
    to sum to 1, multiplied through the layers.

    Args:
        weights: (photos, heads, tokens, tokens) of each layer, first to last.
        residual: count what skips the layers.

    Returns:
        (photos, tokens, tokens); rows sum to 1.
    """
    if not weights:
        raise ValueError("Expected the attention of at least one layer, but got none.")
    tokens = weights[0].shape[-1]
    rolled = own = torch.eye(tokens, dtype=weights[0].dtype, device=weights[0].device)
    for one in weights:
        mixed = one.mean(dim=1)
        if residual:
            mixed = mixed + own
        rolled = mixed / mixed.sum(dim=-1, keepdim=True).clamp(min=1e-12) @ rolled
    return rolled


def rollout_map(rolled: Tensor, class_tokens: int, rows: int, columns: int) -> Tensor:
    """What the answer is made of, as a map.

    Args:
        rolled: (photos, tokens, tokens) of ``roll_out``.
        class_tokens: before the tokens of places; the first one is what is read. Without any, the
            mean of all tokens is.
        rows: of places.
        columns: of places.

    Returns:
        (photos, rows, columns) shares; with what stays in class tokens they sum to 1.
    """
    read = rolled[:, 0] if class_tokens else rolled.mean(dim=1)
    return read[:, class_tokens:].reshape(len(read), rows, columns)


def window_maps(network: nn.Module, layers: list[AttentionLayer], photos: int) -> list[Tensor]:
    """How much is taken from each place, layer by layer, for attention in windows.

    Args:
        network: that the layers belong to.
        layers: of ``read_attention``.
        photos: how many were seen.

    Returns:
        For each layer (photos, rows, columns), the place's share of the attention of its window
        times the places in it: 1 everywhere where attention is even.
    """
    maps = []
    for layer in layers:
        block: Any = network.get_submodule(layer.name.rpartition(".")[0])
        received = layer.weights.mean(dim=1).sum(dim=1)  # (windows, places)
        maps.append(
            _join_windows(
                received, photos, block.input_resolution, block.window_size, block.shift_size
            )
        )
    return maps


def _join_windows(
    received: Tensor,
    photos: int,
    size: tuple[int, int],
    window: tuple[int, int],
    shift: tuple[int, int],
) -> Tensor:
    down, across = -(-size[0] // window[0]), -(-size[1] // window[1])
    tiled = received.view(photos, down, across, *window).transpose(2, 3)
    whole = tiled.reshape(photos, down * window[0], across * window[1])
    # Windows were cut after a roll by the shift, on a map filled up to whole windows.
    return torch.roll(whole, shifts=tuple(shift), dims=(1, 2))[:, : size[0], : size[1]]


def _attention_modules(network: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, module in network.named_modules():
        if hasattr(module, "attn_drop") and hasattr(module, "fused_attn"):
            yield name, module


def _in_windows(module: nn.Module) -> bool:
    return hasattr(module, "window_area")


@contextmanager
def _unfused(network: nn.Module) -> Iterator[list[AttentionLayer]]:
    """Let attention be computed in steps, so that it can be seen; as before afterwards."""
    seen: list[AttentionLayer] = []
    before, handles = [], []
    for name, module in _attention_modules(network):
        before.append((module, module.fused_attn))
        module.fused_attn = False
        handles.append(module.attn_drop.register_forward_hook(_note_into(seen, name)))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
        for module, fused in before:
            module.fused_attn = fused


def _note_into(seen: list[AttentionLayer], name: str) -> Callable[..., None]:
    def note(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        seen.append(AttentionLayer(name, output))

    return note
