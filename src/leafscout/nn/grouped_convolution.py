"""EfficientNet B0 to B7, plain or with grouped convolutions, as values that name a network.

Tan & Le 2019, "EfficientNet: rethinking model scaling"; Masters et al. 2021, "Making EfficientNet
more efficient", for groups of 16 channels and an expansion of 4. What builds the network from such
a value is ``leafscout.nn.backbones.build_efficientnet``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

SCALES: dict[str, tuple[float, float, int]] = {
    "b0": (1.0, 1.0, 224),
    "b1": (1.0, 1.1, 240),
    "b2": (1.1, 1.2, 260),
    "b3": (1.2, 1.4, 300),
    "b4": (1.4, 1.8, 380),
    "b5": (1.6, 2.2, 456),
    "b6": (1.8, 2.6, 528),
    "b7": (2.0, 3.1, 600),
}
"""Name → how many times as wide and deep as B0, and the side of its photos in pixels."""

FIRST_CHANNELS = 16
"""Of the first stage of B0, the only one whose blocks do not expand."""

PLAIN_GROUP, PLAIN_EXPANSION = 1, 6
GROUPED_GROUP, GROUPED_EXPANSION = 16, 4

_NAME = re.compile(r"efficientnet_(b[0-7])(?:_g(\d+)_e(\d+))?")


@dataclass(frozen=True)
class EfficientNetShape:
    """What an EfficientNet is made of.

    Attributes:
        width: times as wide as B0.
        depth: times as deep as B0.
        group_size: channels of a group in the spatial convolutions; 1 is one channel each.
        expansion: how many times wider a block is inside than outside.
    """

    width: float = 1.0
    depth: float = 1.0
    group_size: int = PLAIN_GROUP
    expansion: int = PLAIN_EXPANSION

    def __post_init__(self) -> None:
        if min(self.width, self.depth) <= 0 or self.group_size < 1 or self.expansion < 1:
            raise ValueError(f"Expected sizes above 0, but got {self}.")

    @property
    def channel_divisor(self) -> int:
        """Channels of a block are a multiple of it, so that whole groups fit inside."""
        return 8 if 8 * self.expansion % self.group_size == 0 else self.group_size

    def stages(self) -> list[list[str]]:
        """The blocks of each stage: kind, repeats, kernel, stride, expansion, channels, gate."""
        e = self.expansion
        return [
            [f"ds_r1_k3_s1_e1_c{FIRST_CHANNELS}_se0.25"],
            [f"ir_r2_k3_s2_e{e}_c24_se0.25"],
            [f"ir_r2_k5_s2_e{e}_c40_se0.25"],
            [f"ir_r3_k3_s2_e{e}_c80_se0.25"],
            [f"ir_r3_k5_s1_e{e}_c112_se0.25"],
            [f"ir_r4_k5_s2_e{e}_c192_se0.25"],
            [f"ir_r1_k3_s1_e{e}_c320_se0.25"],
        ]


def read_efficientnet_name(name: str) -> EfficientNetShape | None:
    """The shape that ``efficientnet_b0`` or ``efficientnet_b0_g16_e4`` names; None for others.

    Args:
        name: ``_g16`` is the group size and ``_e4`` the expansion; without them the plain network.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    width, depth, _ = SCALES[found.group(1)]
    if found.group(2) is None:
        return EfficientNetShape(width, depth)
    return EfficientNetShape(width, depth, int(found.group(2)), int(found.group(3)))


@dataclass(frozen=True)
class WeightFit:
    """Which weights of a file a network can take.

    Attributes:
        fitting: names of tensors that both have, of the same shape.
        reshaped: names that both have, of other shapes.
        missing: names that only the network has.
    """

    fitting: tuple[str, ...]
    reshaped: tuple[str, ...]
    missing: tuple[str, ...]

    def sentence(self) -> str:
        """What that means, for people."""
        total = len(self.fitting) + len(self.reshaped) + len(self.missing)
        unfit = self.reshaped + self.missing
        if not unfit:
            return f"All {total} tensors fit."
        words = (
            f"{len(unfit)} of {total} tensors do not fit and start from chance "
            f"({len(self.reshaped)} have another shape, {len(self.missing)} are missing; for "
            f"example {unfit[0]})."
        )
        if any("conv_dw" in name for name in self.reshaped):
            words += (
                " Weights of the plain network are no use for a grouped one: train it from the "
                "start, or name weights of the same group size and expansion."
            )
        return words


def compare_weights(network: nn.Module, state: Mapping[str, Tensor]) -> WeightFit:
    """Which tensors of a state dict fit a network.

    Args:
        network: to be filled; may live on the ``meta`` device.
        state: name → tensor; others than the network's are passed over.
    """
    wanted = network.state_dict()
    shared = [name for name in wanted if name in state]
    return WeightFit(
        fitting=tuple(name for name in shared if state[name].shape == wanted[name].shape),
        reshaped=tuple(name for name in shared if state[name].shape != wanted[name].shape),
        missing=tuple(name for name in wanted if name not in state),
    )
