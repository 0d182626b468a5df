"""The integrated network in PyTorch: building it, running it, counting its multiply-adds."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from leafscout.errors import InputError
from leafscout.gated_model import TokenAnswer, count_grid
from leafscout.networks import to_batch
from leafscout.nn.backbones import build_backbone
from leafscout.recognisers.gated_transformer import GatedTransformer
from leafscout.recognisers.vision_stem import VISION_NAMES, split_vision_transformer
from leafscout.types import FloatArray, Pixels


def build_gated_transformer(
    stem: str,
    labels: int,
    *,
    token_px: int,
    width: int,
    early_blocks: int,
    later_blocks: int,
    num_heads: int,
) -> GatedTransformer:
    """A fresh network; see ``leafscout.recognisers.gated_transformer.GatedTransformer``.

    Args:
        stem: ``tiny``, timm's name of a convolutional network, or of a plain vision transformer,
            whose patches, width, heads and blocks then take the place of those given.
        labels: number of diseases.
        token_px: side of a token in pixels, the stride of the stem.
        width: of a token.
        early_blocks: transformer blocks before the gate.
        later_blocks: transformer blocks behind it.
        num_heads: of the attention.

    Raises:
        InputError: an unknown stem, or one without tokens of this size.
    """
    if stem.startswith(VISION_NAMES):
        patches, blocks = split_vision_transformer(stem, early_blocks)
        if patches.stride != token_px:
            raise InputError(
                f"The patches of {stem} are {patches.stride} px wide, but token_px is {token_px}. "
                f"Set token_px to {patches.stride}."
            )
        return GatedTransformer(patches, labels, early_blocks=early_blocks, blocks=blocks)
    return GatedTransformer(
        build_backbone(stem, stride=token_px),
        labels,
        width=width,
        early_blocks=early_blocks,
        later_blocks=later_blocks,
        num_heads=num_heads,
    )


@dataclass(frozen=True)
class TorchTokenNetwork:
    """The torch runtime of ``leafscout.gated_model.TokenNetwork``: dropped tokens are not there.

    Attributes:
        network: in evaluation mode.
        device: where it lives.
    """

    network: GatedTransformer
    device: torch.device
    _early_macs: dict[tuple[int, int], int] = field(default_factory=dict)
    _later_macs: list[int] = field(default_factory=list)

    @torch.no_grad()
    def run(self, view: Pixels, threshold_prob: float, *, read_all: bool = False) -> TokenAnswer:
        """(height, width, 3) pixels of a view → evidence of the tokens kept."""
        tokens = self.network.embed(to_batch(view[None], self.device))
        gate_logits = self.network.gate(tokens.values)[0]
        kept = torch.sigmoid(gate_logits) >= threshold_prob
        if read_all:
            kept = torch.ones_like(kept)
        nothing: FloatArray = np.zeros((0, self.network.labels), dtype=np.float32)
        evidence, attention = nothing, nothing
        if bool(kept.any()):
            seen = self.network.read_kept(tokens.values, kept)
            evidence, attention = (part[0].float().cpu().numpy() for part in seen)
        return TokenAnswer(
            tokens.rows, tokens.columns, gate_logits.float().cpu().numpy(),
            kept.cpu().numpy(), evidence, attention,
        )  # fmt: skip

    def count_tokens(self, view_px_hw: tuple[int, int]) -> int:
        """Tokens of a view of this size."""
        return count_grid(view_px_hw, self.network.stride)

    def count_macs(self, view_px_hw: tuple[int, int], tokens_kept: int) -> int:
        """Multiply-adds for a view of this size of which so many tokens are kept.

        Those of the early layers and the gate are counted once a size.
        """
        if view_px_hw not in self._early_macs:
            view = torch.zeros(1, 3, *view_px_hw, device=self.device)
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                self.network.gate(self.network.embed(view).values)
            self._early_macs[view_px_hw] = int(counter.get_total_flops()) // 2
        linear, square = self.later_macs()
        return self._early_macs[view_px_hw] + linear * tokens_kept + square * tokens_kept**2

    def later_macs(self) -> tuple[int, int]:
        """Multiply-adds of the later layers: a and b of a·k + b·k² for k tokens, exactly."""
        if not self._later_macs:
            once, twice = (count_later_macs(self.network, count, self.device) for count in (8, 16))
            square = (twice - 2 * once) // (2 * 8 * 8)
            self._later_macs.extend([(once - square * 64) // 8, square])
        linear, square = self._later_macs
        return linear, square


def count_later_macs(network: GatedTransformer, tokens: int, device: torch.device) -> int:
    """Multiply-adds of the later layers for so many tokens, counted while they run."""
    values = torch.zeros(1, tokens, network.width, device=device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.read(values)
    return int(counter.get_total_flops()) // 2
