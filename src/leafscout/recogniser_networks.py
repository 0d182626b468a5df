"""Recognisers of whole photos in PyTorch: building them, running them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from leafscout.diagnosis.pooling import EMPTY_BAG_LOGIT
from leafscout.errors import InputError
from leafscout.networks import to_batch
from leafscout.nn.spatial_transformer import turn_back
from leafscout.recogniser_model import PhotoAnswer
from leafscout.recognisers.shapes import RecogniserShape
from leafscout.recognisers.whole_photo import Recogniser
from leafscout.types import Pixels


def build_recogniser_network(
    shape: RecogniserShape,
    labels: int,
    *,
    pretrained: bool = False,
    weights: Path | None = None,
) -> Recogniser:
    """A fresh network.

    Args:
        shape: what it is made of.
        labels: number of diseases.
        pretrained: load the encoder's weights from the Hugging Face hub.
        weights: a local file of the encoder's weights to load instead.

    Raises:
        InputError: an unknown encoder, a size that it does not read, or weights that do not fit.
    """
    try:
        return Recogniser(shape, labels, pretrained=pretrained, weights=weights)
    except InputError:
        raise
    except (AssertionError, ValueError, RuntimeError, TypeError, IndexError) as error:
        # What timm's networks raise for a size that they cannot be built for shares no class.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(
            f"The encoder {shape.encoder!r} cannot read photos of {shape.photo_px} px: {reason}. "
            "Choose another photo_px, for example a multiple of 224, or another encoder."
        ) from error


class PhotoGraph(nn.Module):
    """A recogniser as a runtime sees it: one photo in, the fields of ``PhotoAnswer`` out.

    Args:
        network: in evaluation mode.
    """

    def __init__(self, network: Recogniser) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(side, side, 3) bytes → logits (labels,), place logits (labels, rows, columns)."""
        framed, affine = self.network.frame(pixels.permute(2, 0, 1)[None])
        out = self.network.read(framed)
        places = self.network.judge_places(out.feature_map)
        if places is None:
            return out.logits[0], out.logits.new_zeros(out.logits.shape[1], 0, 0)
        if affine is not None:
            places = turn_back(places, affine, EMPTY_BAG_LOGIT)
        return out.logits[0], places[0].float()


@dataclass(frozen=True)
class TorchPhotoNetwork:
    """The torch runtime of ``leafscout.recogniser_model.PhotoNetwork``.

    Attributes:
        network: in evaluation mode.
        device: where it lives.
    """

    network: Recogniser
    device: torch.device

    @torch.no_grad()
    def run(self, pixels: Pixels) -> PhotoAnswer:
        """(side, side, 3) pixels of a photo squeezed into a square → evidence."""
        photo = to_batch(pixels[None], self.device)[0].permute(1, 2, 0)
        found = PhotoGraph(self.network)(photo)
        return PhotoAnswer(*(part.float().cpu().numpy() for part in found))
