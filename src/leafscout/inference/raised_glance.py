"""Look with a larger glance than a model was trained for: for lesions that its own would miss."""

from __future__ import annotations

from dataclasses import replace

from leafscout.errors import InputError
from leafscout.inference.load import Model, load
from leafscout.manifest import MANIFEST_NAME
from leafscout.model import GlanceAndFocus

GLANCES = "glances"
"""Folder of a run that holds its scouts for other glance sizes, each a model of its own."""

LEAST_GLANCE_PX = 64
EXPERT_FILE = "expert.safetensors"


def raise_glance(model: Model, glance_px: int) -> tuple[Model, str]:
    """The same model with another glance.

    A scout that ``leafscout glances`` trained for this size is used with its own rules. Without
    one the model's scout looks at the other size; it is convolutional, so any size fits, but its
    thresholds and calibration are those of the size that it was trained for.

    Args:
        model: scout and expert, of any runtime.
        glance_px: long side of the glance in pixels.

    Returns:
        The model, and what to know about it in a sentence; empty where nothing changes.

    Raises:
        InputError: a size below ``LEAST_GLANCE_PX``, or a model without scout and expert.
    """
    if glance_px < LEAST_GLANCE_PX:
        raise InputError(
            f"Expected a glance of at least {LEAST_GLANCE_PX} px, but got {glance_px}."
        )
    core = model.core
    own_px = core.rules.glance_px
    if glance_px == own_px:
        return model, ""
    trained = model.run / GLANCES / str(glance_px) / "model"
    if (trained / MANIFEST_NAME).is_file():
        other = load(trained, runtime="torch")
        if other.manifest.files.get(EXPERT_FILE) == model.manifest.files.get(EXPERT_FILE):
            return other, f"The scout trained for a glance of {glance_px} px looks, not the run's."
    raised = GlanceAndFocus(core.networks, replace(core.rules, glance_px=glance_px))
    manifest = model.manifest.model_copy(update={"glance_px": glance_px})
    return Model(raised, manifest, model.run), (
        f"The scout was trained for a glance of {own_px} px and looks at {glance_px} px now; "
        f"thresholds and probabilities are those of {own_px} px. "
        f"`leafscout glances RUN DATA --sizes {glance_px}` trains a scout for it."
    )
