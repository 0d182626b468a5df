"""The synthetic field: rendered photos that know where their lesions and distractors lie.

For learning, testing and ablations; never a substitute for real photos in a claim about accuracy.
"""

from leafscout.photos.synthetic.field import photo_seed, render_field
from leafscout.photos.synthetic.photo import render_photo
from leafscout.photos.synthetic.settings import (
    DEMO_FIELD,
    DISEASES,
    FieldSettings,
    SyntheticDistractor,
    SyntheticLesion,
    SyntheticPhoto,
)

__all__ = [
    "DEMO_FIELD",
    "DISEASES",
    "FieldSettings",
    "SyntheticDistractor",
    "SyntheticLesion",
    "SyntheticPhoto",
    "photo_seed",
    "render_field",
    "render_photo",
]
