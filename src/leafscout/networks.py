"""Scout and expert in PyTorch: building them, running them, counting their multiply-adds."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from leafscout.focus.expert import EXPERT_STRIDE, Expert
from leafscout.glance.scout import SCOUT_STRIDE, Scout
from leafscout.model import GlanceEvidence, TileEvidence
from leafscout.nn.backbones import OWN_BACKBONES, build_backbone
from leafscout.types import Pixels

_Network = TypeVar("_Network", bound=nn.Module)

EXPERT_DROPOUT, OWN_DROPOUT = 0.2, 0.0
"""A network that starts from nothing has few channels that tell anything; it cannot spare them."""

TILES_AT_ONCE = 16
"""Tiles in one forward pass without gradients: bounds the memory whatever the photo's size."""


@dataclass(frozen=True)
class TorchNetworks:
    """The torch runtime of ``leafscout.model.Networks``.

    Attributes:
        scout: in evaluation mode.
        expert: in evaluation mode.
        device: where both live.
    """

    scout: Scout
    expert: Expert
    device: torch.device

    @torch.no_grad()
    def run_scout(self, glance: Pixels) -> GlanceEvidence:
        """(height, width, 3) pixels of a glance → evidence."""
        out = self.scout(to_batch(glance[None], self.device))
        score, labels, photo = (part[0].float().cpu().numpy() for part in out)
        return GlanceEvidence(score, labels, photo)

    @torch.no_grad()
    def run_expert(self, tiles: Pixels) -> TileEvidence:
        """(tiles, tile_px, tile_px, 3) pixels → evidence, a few tiles at a time."""
        parts = [
            self.expert(to_batch(tiles[start : start + TILES_AT_ONCE], self.device))
            for start in range(0, len(tiles), TILES_AT_ONCE)
        ]
        tile, attention, place = (
            torch.cat(pieces).float().cpu().numpy() for pieces in zip(*parts, strict=True)
        )
        return TileEvidence(tile, attention, place)


def to_batch(pixels: Pixels, device: torch.device) -> Tensor:
    """(batch, height, width, 3) bytes → (batch, 3, height, width) bytes, channels last."""
    return (
        torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(device).permute(0, 3, 1, 2)
    )


def build_expert(
    backbone: str,
    labels: int,
    *,
    pretrained: bool = False,
    weights: Path | None = None,
    sharpness: float = 2.0,
    shrink: int = 1,
    place_stride: int = EXPERT_STRIDE,
) -> Expert:
    """A fresh expert on a backbone of the given name; see ``leafscout.focus.expert.Expert``.

    Args:
        backbone: ``tiny`` or a timm model name.
        labels: number of diseases.
        pretrained: load timm's pretrained weights from the Hugging Face hub.
        weights: a local file to load instead.
        sharpness: of the log-sum-exp over places.
        shrink: pixels averaged to one, along a side, before the backbone sees them.
        place_stride: pixels that the backbone sees per place; below ``EXPERT_STRIDE``, a finer
            feature map is read beside the last one.
    """
    features = build_backbone(
        backbone,
        stride=EXPERT_STRIDE,
        fine_stride=place_stride if place_stride < EXPERT_STRIDE else None,
        pretrained=pretrained,
        weights=weights,
    )
    dropout = OWN_DROPOUT if backbone in OWN_BACKBONES else EXPERT_DROPOUT
    return _channels_last(Expert(features, labels, sharpness, shrink, dropout))


def build_scout(
    backbone: str,
    labels: int,
    *,
    pretrained: bool = False,
    weights: Path | None = None,
    stride: int = SCOUT_STRIDE,
) -> Scout:
    """A fresh scout on a backbone of the given name; see ``leafscout.glance.scout.Scout``.

    Args:
        backbone: ``tiny`` or a timm model name.
        labels: number of diseases.
        pretrained: load timm's pretrained weights from the Hugging Face hub.
        weights: a local file to load instead.
        stride: where the backbone ends; beyond ``SCOUT_STRIDE``, that finer map is read as well.
    """
    features = build_backbone(
        backbone,
        stride=stride,
        fine_stride=SCOUT_STRIDE if stride > SCOUT_STRIDE else None,
        pretrained=pretrained,
        weights=weights,
    )
    return _channels_last(Scout(features, labels))


def _channels_last(network: _Network) -> _Network:
    return network.to(memory_format=torch.channels_last)


def count_macs(network: nn.Module, height_px: int, width_px: int) -> int:
    """Multiply-adds of convolutions and matrix products for one image of this size."""
    image = torch.zeros(1, 3, height_px, width_px, device=next(network.parameters()).device)
    was_training = network.training
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    network.train(was_training)
    return int(counter.get_total_flops()) // 2


def choose_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def set_threads(threads: int | None) -> None:
    """Pin PyTorch's CPU threads to the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(max(1, threads or cores or 1))


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next step instead of giving it back each time.

    The activations of every step are as large as those of the last. Returned and fetched again,
    their pages cost the kernel up to as much time as the network takes. Linux with glibc only;
    elsewhere it does nothing.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_max = -1, -4  # constants of glibc's malloc.h
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)


def bfloat16_helps(device: torch.device) -> bool:
    """Whether half precision is faster in training: on GPUs, and on CPUs made for it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type != "cpu":
        return False
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe and probe())
