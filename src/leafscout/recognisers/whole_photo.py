"""Recognisers of a whole photo, made small: one network, one look, no tiles.

The three of the comparison: EfficientNet with grouped convolutions, EVA-CLIP behind a spatial
transformer, and Swin with polarised attention and an ArcFace head. Any encoder goes with any part.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leafscout.losses.arcface import USUAL_MARGIN, ArcFaceHead, Margin
from leafscout.nn.image_encoder import ImageEncoder
from leafscout.nn.polarised_attention import PolarisedFeatures
from leafscout.nn.spatial_transformer import SpatialTransformer, apply_affine

HeadKind = Literal["linear", "arcface"]


@dataclass(frozen=True)
class RecogniserShape:
    """What a recogniser is made of.

    Attributes:
        encoder: see ``leafscout.nn.image_encoder.ImageEncoder``.
        photo_px: side of the photos.
        spatial_transformer: turn and frame the photo first.
        polarised: polarised attention between the encoder and the head; else the mean of places.
        head: ``linear`` or ``arcface``.
        features: length of the vector behind polarised attention; at most the encoder's channels
            without it.
        margin: of ArcFace.
    """

    encoder: str
    photo_px: int
    spatial_transformer: bool = False
    polarised: bool = False
    head: HeadKind = "linear"
    features: int = 512
    margin: Margin = USUAL_MARGIN


RECOGNISERS: dict[str, RecogniserShape] = {
    "efficientnet_g16": RecogniserShape("efficientnet_b0_g16_e4", 224),
    "efficientnet": RecogniserShape("efficientnet_b0", 224),
    "eva_stn": RecogniserShape("eva02_base_patch16_clip_224", 224, spatial_transformer=True),
    "arc_psa_swin": RecogniserShape(
        "swin_base_patch4_window12_384", 384, polarised=True, head="arcface"
    ),
    "small_efficientnet": RecogniserShape("small_efficientnet", 128),
    "small_efficientnet_g16": RecogniserShape("small_efficientnet_g16_e4", 128),
    "small_eva_stn": RecogniserShape("small_eva", 128, spatial_transformer=True),
    "small_arc_psa_swin": RecogniserShape(
        "small_swin", 128, polarised=True, head="arcface", features=64
    ),
    "small_vit": RecogniserShape("small_vit", 128),
}
"""Name → shape; the ``small_`` ones learn from nothing on a CPU."""


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
            self.head = ArcFaceHead(width, labels, shape.margin)
        else:
            self.head = nn.Linear(width, labels)
            nn.init.normal_(self.head.weight, std=0.01)
            nn.init.constant_(self.head.bias, -2.0)

    def forward(self, pixels: Tensor) -> RecogniserOutput:
        """(photos, 3, photo_px, photo_px) pixels 0..255 → evidence, the same with any labels."""
        seen = pixels.float()
        if self.transformer is not None:
            # Judged in 0..1: a first layer that saw 0..255 would turn wildly at every step.
            affine = self.transformer.affine(seen / 255.0)
            seen = apply_affine(seen, affine)
        feature_map = self.encoder(seen)
        features = self.neck(feature_map)
        return RecogniserOutput(self.head(features).float(), features, feature_map)

    def class_maps(self, pixels: Tensor) -> Tensor | None:
        """(photos, labels, rows, columns) evidence of places whose mean is the photo's.

        None where there are no such maps: behind polarised attention or ArcFace, evidence is no
        sum over places.
        """
        if self.shape.polarised or not isinstance(self.head, nn.Linear):
            return None
        feature_map = self(pixels).feature_map
        weight, bias = self.head.weight[:, :, None, None], self.head.bias
        return F.conv2d(feature_map, weight, bias)

    def loss(self, pixels: Tensor, truth: Tensor) -> Tensor:
        """Binary cross-entropy with the photos' labels; with ArcFace, under its margin.

        Args:
            pixels: (photos, 3, photo_px, photo_px) 0..255.
            truth: (photos, labels) 0 or 1.

        Returns:
            Scalar mean.
        """
        out = self(pixels)
        if isinstance(self.head, ArcFaceHead):
            return self.head.loss(out.features, truth)
        return F.binary_cross_entropy_with_logits(out.logits, truth.to(out.logits.dtype))

    def class_centres(self) -> Tensor:
        """(labels, features) unit vectors: where each label's features should point to."""
        with torch.no_grad():
            return F.normalize(self.head.weight, dim=1)


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
