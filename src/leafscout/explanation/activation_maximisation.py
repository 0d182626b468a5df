"""What a label looks like to a network: a picture made for its evidence, by gradient ascent."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from leafscout.errors import InputError
from leafscout.explanation.spatial_layers import read_logits
from leafscout.types import Pixels

STEPS = 200
RATE = 0.005
START = 0.01
JITTER_FRAC = 1 / 16


def maximise_label(
    network: nn.Module, label: int, side_px: int, *, steps: int = STEPS, seed: int = 0
) -> Pixels:
    """A picture that a network answers to with more evidence for a label, step by step.

    Activation maximisation (Erhan et al. 2009; Simonyan et al. 2014). Two things keep it from
    patterns of single pixels that no photo shows: it is drawn by its waves, long ones first, and
    moved a little before every look (Olah et al. 2017, after Mordvintsev et al. 2015).

    Args:
        network: in evaluation mode; pixels 0..255 in, evidence out as ``read_logits`` knows it.
        label: whose evidence grows, by index.
        side_px: of the square; a recogniser reads none but its ``photo_px``.
        steps: of the ascent, from 1.
        seed: of the first picture, nearly grey, and of the moves.

    Returns:
        (side, side, 3).

    Raises:
        InputError: no such label, or no step.
    """
    if steps < 1:
        raise InputError(f"Expected at least 1 step, but got {steps}.")
    device = next(network.parameters()).device
    rng = torch.Generator().manual_seed(seed)
    columns = side_px // 2 + 1
    start = START * torch.randn(2, 3, side_px, columns, generator=rng)
    waves = start.to(device).requires_grad_()
    optimiser = torch.optim.Adam([waves], lr=RATE)
    reach = max(1, round(JITTER_FRAC * side_px))
    for _ in range(steps):
        down, across = torch.randint(-reach, reach + 1, (2,), generator=rng).tolist()
        with torch.enable_grad():
            shown = torch.roll(_draw_waves(waves, side_px), (down, across), dims=(2, 3))
            score = _read_label(network, shown, label)
            # The picture alone learns: the network's own gradients stay as they were.
            (waves.grad,) = torch.autograd.grad(-score, waves)
        optimiser.step()
    with torch.no_grad():
        picture = _draw_waves(waves, side_px)[0].permute(1, 2, 0).round().byte()
    found: Pixels = np.ascontiguousarray(picture.cpu().numpy())
    return found


def _read_label(network: nn.Module, pixels: Tensor, label: int) -> Tensor:
    logits = read_logits(network(pixels))
    if not 0 <= label < logits.shape[1]:
        raise InputError(
            f"Expected a label from 0 to {logits.shape[1] - 1}, but got {label}: the network gives "
            f"evidence of {logits.shape[1]}."
        )
    return logits[0, label]


def _draw_waves(waves: Tensor, side_px: int) -> Tensor:
    """(2, 3, side, side/2 + 1) real and imaginary parts → (1, 3, side, side) pixels 0..255.

    A wave counts by its length, as in photos; without that most of a step would go into the
    shortest.
    """
    down = torch.fft.fftfreq(side_px, device=waves.device)[:, None]
    across = torch.fft.rfftfreq(side_px, device=waves.device)[None]
    lengths = 1.0 / torch.sqrt(down**2 + across**2).clamp_min(1.0 / side_px)
    spectrum = torch.complex(waves[0], waves[1]) * lengths
    picture = torch.fft.irfft2(spectrum, s=(side_px, side_px), norm="ortho")
    return 255.0 * torch.sigmoid(picture)[None]
