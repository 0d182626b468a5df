"""A small convolutional backbone that learns from scratch on a CPU in minutes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

LAST_STRIDE_3X3 = 8
"""The coarsest map that is made with kernels wider than one cell."""


class TinyBackbone(nn.Module):
    """Convolutions, halved by maxima, without normalisation.

    A lesion covers few pixels of a tile. The maximum hands what stands out on to coarser maps
    undiluted, so the first layers learn from the first photos on; strided convolutions would have
    to learn, layer by layer, not to average it away. Beyond stride ``LAST_STRIDE_3X3`` kernels are
    1×1: a place sees little more than itself, so the strongest is where the lesion lies (Brendel &
    Bethge 2019, bags of local features). Normalising each tile by itself would amplify the noise
    of empty tiles until they look like lesions, and the few tiles of a step are too alike for batch
    statistics; He initialisation (He et al. 2015, eq. 10) is enough for so few layers.

    Args:
        stride: how much smaller the feature map is than the image, a power of two from 4.
        width: channels of the first stage; later stages have up to 4× as many.

    Attributes:
        channels: channels of the feature map.
        stride: as given.
    """

    def __init__(self, stride: int, width: int = 24) -> None:
        super().__init__()
        self.stride = stride
        # Full resolution would cost most of the time, so the first halving is a strided one.
        stages = [nn.Sequential(*_convolve(3, width, kernel=3, stride=2))]
        self.channels, reached = width, 2
        while reached < stride:
            channels = width * min(4, max(1, reached // 4))
            reached *= 2
            kernel = 3 if reached <= LAST_STRIDE_3X3 else 1
            # Rounding up keeps the border of images that no power of two divides.
            halve = nn.MaxPool2d(2, ceil_mode=True)
            stages.append(nn.Sequential(halve, *_convolve(self.channels, channels, kernel)))
            self.channels = channels
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Tensor) -> Tensor:
        """(batch, 3, height, width) normalised → (batch, channels, height/stride, width/stride)."""
        return self.forward_intermediates(image, [])[0]

    def forward_intermediates(
        self, image: Tensor, indices: Sequence[int]
    ) -> tuple[Tensor, list[Tensor]]:
        """The feature map, and those at the end of some stages on the way, as in timm.

        Args:
            image: (batch, 3, height, width) normalised.
            indices: stages, in rising order; see ``stage_of``.
        """
        maps = []
        for index, stage in enumerate(self.stages):
            image = stage(image)
            if index in indices:
                maps.append(image)
        return image, maps

    def forward_head(self, features: Tensor) -> Tensor:
        """Nothing: there is no head."""
        return features

    def stage_of(self, stride: int) -> int:
        """The stage that ends at a stride."""
        return stride.bit_length() - 2

    def channels_at(self, stride: int) -> int:
        """Channels at the end of the stage that ends at a stride."""
        convolution = self.stages[self.stage_of(stride)].get_submodule(
            "0" if stride == 2 else "1"  # after the halving, where there is one
        )
        return convolution.out_channels  # type: ignore[return-value]


def _convolve(channels_in: int, channels: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels, kernel, stride=stride, padding=kernel // 2)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return [convolution, nn.ReLU(inplace=True)]
