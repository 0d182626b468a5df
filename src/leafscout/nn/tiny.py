"""A small convolutional backbone that learns from scratch on a CPU in minutes."""

from __future__ import annotations

from torch import Tensor, nn


class TinyBackbone(nn.Module):
    """Plain 3×3 convolutions without normalisation.

    Normalising each tile by itself would amplify the noise of empty tiles until they look like
    lesions, and the few tiles of a step are too alike for batch statistics; He initialisation
    (He et al. 2015, eq. 10) is enough for so few layers.

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
        layers: list[nn.Module] = []
        channels_in, reached = 3, 1
        while reached < stride:
            channels = min(width * max(1, reached // 2), 4 * width)
            layers += _block(channels_in, channels, stride=2)
            channels_in, reached = channels, reached * 2
        layers += _block(channels_in, channels_in, stride=1)
        self.layers = nn.Sequential(*layers)
        self.channels = channels_in

    def forward(self, image: Tensor) -> Tensor:
        """(batch, 3, height, width) normalised → (batch, channels, height/stride, width/stride)."""
        features: Tensor = self.layers(image)
        return features


def _block(channels_in: int, channels: int, *, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return [convolution, nn.ReLU(inplace=True)]
