"""Recognisers of a whole photo, made small: one network, one look, no tiles.

The three of the comparison: EfficientNet with grouped convolutions, EVA-CLIP behind a spatial
transformer, and Swin with polarised attention and an ArcFace head. Any encoder goes with any part.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leafscout.losses.arcface import ArcFaceHead, Margin
from leafscout.nn.image_encoder import ImageEncoder
from leafscout.nn.polarised_attention import PolarisedFeatures
from leafscout.nn.spatial_transformer import SpatialTransformer, apply_affine
from leafscout.recognisers.shapes import RECOGNISERS, RecogniserShape


class RecogniserOutput(NamedTuple):
    """What a recogniser says about a batch of photos.

    Attributes:
        logits: (photos, labels) evidence.
        features: (photos, features) what the head reads.
        feature_map: (photos, channels, rows, columns) the encoder's last map.
    """

    logits: Tensor
    features: Tensor
    feature_map: Tensor


class Recogniser(nn.Module):
    """Optional spatial transformer → encoder → optional polarised attention → head.

    Evidence never depends on labels: ``loss`` alone adds ArcFace's margin.

    Args:
        shape: what it is made of.
        labels: number of diseases.
        pretrained: load the encoder's weights from the Hugging Face hub.
        weights: a local file of the encoder's weights to load instead.

    Raises:
        InputError: see ``leafscout.nn.backbones.create_timm_network``.
    """

    def __init__(
        self,
        shape: RecogniserShape,
        labels: int,
        *,
        pretrained: bool = False,
        weights: Path | None = None,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.labels = labels
        self.transformer = SpatialTransformer() if shape.spatial_transformer else None
        self.encoder = ImageEncoder(
            shape.encoder, shape.photo_px, pretrained=pretrained, weights=weights
        )
        width = self.encoder.channels
        self.neck: nn.Module
        if shape.polarised:
            self.neck = PolarisedFeatures(width, features=shape.features)
            width = shape.features
        else:
            self.neck = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head: nn.Linear | ArcFaceHead
        if shape.head == "arcface":
            margin = Margin(shape.margin, easy=shape.easy_margin)
            self.head = ArcFaceHead(width, labels, margin, scale=shape.scale)
        else:
            self.head = nn.Linear(width, labels)
            nn.init.normal_(self.head.weight, std=0.01)
            nn.init.constant_(self.head.bias, -2.0)

    def frame(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the encoder is given: the photos, turned and framed where there is a transformer.

        Args:
            pixels: (photos, 3, photo_px, photo_px) 0..255.

        Returns:
            The same shape, and the maps of ``SpatialTransformer``; None without one.
        """
        seen = pixels.float()
        if self.transformer is None:
            return seen, None
        # Judged in 0..1: a first layer that saw 0..255 would turn wildly at every step.
        affine = self.transformer.affine(seen / 255.0)
        return apply_affine(seen, affine), affine

    def forward(self, pixels: Tensor) -> RecogniserOutput:
        """(photos, 3, photo_px, photo_px) pixels 0..255 → evidence, the same with any labels."""
        return self.read(self.frame(pixels)[0])

    def read(self, framed: Tensor) -> RecogniserOutput:
        """Evidence of photos as ``frame`` gives them."""
        feature_map = self.encoder(framed)
        features = self.neck(feature_map)
        return RecogniserOutput(self.head(features).float(), features, feature_map)

    def class_maps(self, pixels: Tensor) -> Tensor | None:
        """(photos, labels, rows, columns) evidence of places whose mean is the photo's.

        None where there are no such maps: behind polarised attention or ArcFace, evidence is no
        sum over places. Places are those of the photo as ``frame`` gives it.
        """
        return self.judge_places(self(pixels).feature_map)

    def judge_places(self, feature_map: Tensor) -> Tensor | None:
        """``class_maps`` of an encoder's last map that is there already."""
        if self.shape.polarised or not isinstance(self.head, nn.Linear):
            return None
        weight, bias = self.head.weight[:, :, None, None], self.head.bias
        return F.conv2d(feature_map, weight, bias)

    def learning_logits(self, out: RecogniserOutput, truth: Tensor) -> Tensor:
        """(photos, labels) logits for a loss: with ArcFace, under its margin.

        They hold the labels that are to be told: figures and thresholds come from ``out.logits``.

        Args:
            out: of a pass.
            truth: (photos, labels) 0 or 1.
        """
        if isinstance(self.head, ArcFaceHead):
            return self.head.margin_logits(out.features, truth).float()
        return out.logits

    def loss(self, pixels: Tensor, truth: Tensor) -> Tensor:
        """Binary cross-entropy with the photos' labels; with ArcFace, under its margin.

        Args:
            pixels: (photos, 3, photo_px, photo_px) 0..255.
            truth: (photos, labels) 0 or 1.

        Returns:
            Scalar mean.
        """
        logits = self.learning_logits(self(pixels), truth)
        return F.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype))

    def class_centres(self) -> Tensor:
        """(labels, features) unit vectors: where each label's features should point to."""
        with torch.no_grad():
            return F.normalize(self.head.weight, dim=1)


def without_transformer(network: Recogniser) -> Recogniser:
    """The same network, its weights shared, for photos that are framed already."""
    inner = copy.copy(network)
    inner._modules = {**network._modules, "transformer": None}
    return inner


def build_recogniser(
    name: str, labels: int, *, pretrained: bool = False, weights: Path | None = None
) -> Recogniser:
    """A recogniser of ``RECOGNISERS``.

    Args:
        name: a key of it.
        labels: number of diseases.
        pretrained: see ``Recogniser``.
        weights: see ``Recogniser``.

    Raises:
        ValueError: when there is none of this name.
    """
    if name not in RECOGNISERS:
        raise ValueError(
            f"There is no recogniser called {name!r}. Expected one of {sorted(RECOGNISERS)}."
        )
    return Recogniser(RECOGNISERS[name], labels, pretrained=pretrained, weights=weights)
