"""What recognisers of whole photos are made of, by name; recipes check it without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

HeadKind = Literal["linear", "arcface"]

HEADS = ("linear", "arcface")
"""How features become evidence."""


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
        margin: of ArcFace, radians, 0 to below π.
        easy_margin: add it only where the angle is below 90 degrees.
        scale: of ArcFace's cosines at the start, above 0.
    """

    encoder: str
    photo_px: int
    spatial_transformer: bool = False
    polarised: bool = False
    head: HeadKind = "linear"
    features: int = 512
    margin: float = 0.5
    easy_margin: bool = False
    scale: float = 30.0


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
