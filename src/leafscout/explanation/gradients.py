"""Where evidence comes from, by its gradient: Grad-CAM, Grad-CAM++, saliency, integrated gradients.

Every function takes a network in evaluation mode and photos, and gives one map a photo for one
label: 0 where nothing speaks for it. Maps are not scaled: their heights may be compared.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leafscout.explanation.spatial_layers import LayerPass, choose_layer, pass_back, read_logits

STEPS = 32
_TINY = 1e-6


def class_maps(network: nn.Module, pixels: Tensor) -> Tensor | None:
    """Class activation: evidence of places for every label (Zhou et al. 2016).

    Read from what the network gives where it judges places itself; else, where its evidence is a
    linear layer on the mean of the last map, that layer applied to every place.

    Args:
        network: in evaluation mode.
        pixels: (photos, 3, height, width) 0..255.

    Returns:
        (photos, labels, rows, columns) logits; None where the evidence is no sum over places.
    """
    with torch.no_grad():
        own: Any = getattr(network, "class_maps", None)
        if own is not None:
            found: Tensor | None = own(pixels)
            return found
        output = network(pixels)
    for name in ("place_logits", "label_maps"):
        if hasattr(output, name):
            maps: Tensor = getattr(output, name)
            return maps
    return _apply_last_linear(network, pixels, read_logits(output))


def _apply_last_linear(network: nn.Module, pixels: Tensor, logits: Tensor) -> Tensor | None:
    labels = logits.shape[1]
    linear = [
        one
        for one in network.modules()
        if isinstance(one, nn.Linear) and one.out_features == labels
    ]
    if not linear:
        return None
    last, seen = linear[-1], choose_layer(pass_back(network, pixels, 0), labels)
    if last.in_features != seen.layer.channels:
        return None
    maps = F.conv2d(seen.activations, last.weight[:, :, None, None], last.bias).detach()
    # Something may lie between the map and the layer: then this is not what the network says.
    spread = float((maps - maps.mean(dim=(2, 3), keepdim=True)).abs().mean())
    same = torch.allclose(maps.mean(dim=(2, 3)), logits, atol=1e-3 * spread, rtol=1e-3)
    return maps if same else None


def grad_cam(seen: LayerPass) -> Tensor:
    """Channels weighted by their mean gradient, what speaks for the label (Selvaraju et al. 2017).

    Args:
        seen: a layer's pass for the label.

    Returns:
        (photos, rows, columns) from 0.
    """
    weights = seen.gradients.mean(dim=(2, 3), keepdim=True)
    return F.relu((weights * seen.activations).sum(dim=1))


def grad_cam_plus_plus(seen: LayerPass) -> Tensor:
    """Grad-CAM that counts each of several like places fully (Chattopadhay et al. 2018, eq. 19).

    Args:
        seen: a layer's pass for the label.

    Returns:
        (photos, rows, columns) from 0.
    """
    slope, total = seen.gradients, seen.activations.sum(dim=(2, 3), keepdim=True)
    share = slope**2 / (2 * slope**2 + total * slope**3 + _TINY)
    share = torch.where(slope != 0, share, torch.zeros_like(share))
    weights = (share * F.relu(slope)).sum(dim=(2, 3), keepdim=True)
    return F.relu((weights * seen.activations).sum(dim=1))


def saliency(network: nn.Module, pixels: Tensor, label: int) -> Tensor:
    """How fast the evidence changes with each pixel (Simonyan et al. 2014).

    Args:
        network: in evaluation mode.
        pixels: (photos, 3, height, width) 0..255.
        label: which evidence.

    Returns:
        (photos, height, width): the largest slope of the three colours, per step of 1/255.
    """
    return _slopes(network, pixels.float(), label).abs().amax(dim=1)


def integrated_gradients(
    network: nn.Module,
    pixels: Tensor,
    label: int,
    *,
    baseline: Tensor | None = None,
    steps: int = STEPS,
) -> Tensor:
    """What each pixel adds to the evidence on the way from an empty photo.

    Integrated gradients (Sundararajan et al. 2017).

    The slope along the straight way, at the middle of each step, times the way. With enough steps
    the sum is the evidence of the photo less that of the empty one.

    Args:
        network: in evaluation mode.
        pixels: (photos, 3, height, width) 0..255.
        label: which evidence.
        baseline: the empty photo, of the same shape; by default each photo's mean colour.
        steps: at least 1.

    Returns:
        (photos, 3, height, width), for or against the label.
    """
    if steps < 1:
        raise ValueError(f"Expected at least 1 step, but got {steps}.")
    photo = pixels.float()
    if baseline is None:
        baseline = photo.mean(dim=(2, 3), keepdim=True).expand_as(photo)
    way, total = photo - baseline, torch.zeros_like(photo)
    for step in range(steps):
        total += _slopes(network, baseline + (step + 0.5) / steps * way, label)
    return way * total / steps


def _slopes(network: nn.Module, pixels: Tensor, label: int) -> Tensor:
    watched = pixels.detach().clone().requires_grad_()
    with torch.enable_grad():
        score = read_logits(network(watched))[:, label].sum()
        return torch.autograd.grad(score, watched)[0]
