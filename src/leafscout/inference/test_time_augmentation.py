"""Look at a photo several times, turned, mirrored or resized, and take the mean of the answers.

It works with anything that turns pixels into probabilities, and costs as many looks as there are
changes. Whether it is worth them is to be measured, with an interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from leafscout.errors import InputError
from leafscout.evaluation.differences import FigureDifference, PhotoAnswers, compare_answers
from leafscout.evaluation.scores import BoolArray, Floats
from leafscout.inference.load import Model
from leafscout.types import FloatArray, Pixels

Look = Callable[[Pixels], FloatArray]
"""(height, width, 3) pixels → (labels,) probabilities."""

_LEAST = 1e-6


@dataclass(frozen=True)
class Change:
    """One way to show a photo.

    Attributes:
        name: for people.
        quarter_turns: 0..3 counter-clockwise.
        mirrored: left and right exchanged, after turning.
        scale: of the sides.
    """

    name: str
    quarter_turns: int = 0
    mirrored: bool = False
    scale: float = 1.0

    def apply(self, pixels: Pixels) -> Pixels:
        """The photo, changed."""
        turned = np.rot90(pixels, self.quarter_turns)
        shown = turned[:, ::-1] if self.mirrored else turned
        if self.scale == 1.0:
            return np.ascontiguousarray(shown)
        height, width = (max(1, round(self.scale * side)) for side in shown.shape[:2])
        image = Image.fromarray(np.ascontiguousarray(shown))
        resized: Pixels = np.array(image.resize((width, height), Image.Resampling.LANCZOS))
        return resized


AS_IT_IS = Change("as it is")

CHANGES: dict[str, tuple[Change, ...]] = {
    "none": (AS_IT_IS,),
    "mirror": (AS_IT_IS, Change("mirrored", mirrored=True)),
    "flips": (
        AS_IT_IS,
        Change("mirrored", mirrored=True),
        Change("upside down", quarter_turns=2, mirrored=True),
        Change("half turn", quarter_turns=2),
    ),
    "rotations": tuple(Change(f"{90 * turns} degrees", quarter_turns=turns) for turns in range(4)),
    "symmetries": tuple(
        Change(f"{90 * turns} degrees{', mirrored' * mirrored}", turns, mirrored=bool(mirrored))
        for mirrored in range(2)
        for turns in range(4)
    ),
    "scales": tuple(Change(f"{scale:g} times", scale=scale) for scale in (1.0, 0.8, 1.25)),
}
"""Name → the ways a photo is shown; the photo as it is comes first."""


def choose_changes(name: str) -> tuple[Change, ...]:
    """The changes of a name.

    Raises:
        InputError: when there are none of this name.
    """
    if name not in CHANGES:
        raise InputError(
            f"There are no changes called {name!r}. Expected one of: {', '.join(CHANGES)}."
        )
    return CHANGES[name]


def look_again(look: Look, pixels: Pixels, changes: Sequence[Change]) -> FloatArray:
    """Show a photo several times and take the mean of the answers, as log odds.

    Args:
        look: the model.
        pixels: (height, width, 3).
        changes: at least one.

    Returns:
        (labels,) probabilities.

    Raises:
        InputError: when there is no change.
    """
    if not changes:
        raise InputError("Expected at least one change; name the photo as it is.")
    return mean_answer([look(change.apply(pixels)) for change in changes])


def mean_answer(answers: Sequence[FloatArray]) -> FloatArray:
    """The mean of several answers, as log odds.

    Args:
        answers: at least one, each (labels,) probabilities.

    Returns:
        (labels,) probabilities.
    """
    probs = np.clip(np.stack(answers).astype(np.float64), _LEAST, 1 - _LEAST)
    logits = np.log(probs / (1 - probs)).mean(axis=0)
    mean: FloatArray = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return mean


def look_with(model: Model) -> Look:
    """What a trained model says about pixels."""
    return lambda pixels: model.diagnose(pixels).diagnosis.label_probs


def measure_gain(
    truth: BoolArray,
    labels: Sequence[str],
    once: Floats,
    again: Floats,
    *,
    thresholds_once: Floats,
    thresholds_again: Floats,
    looks: int,
    seed: int = 0,
) -> tuple[FigureDifference, ...]:
    """What looking again brings, on the same photos, with intervals.

    Thresholds must come from other photos, and each from answers of its own kind: means of
    several looks are less extreme than single ones.

    Args:
        truth: (photos, labels).
        labels: names.
        once: (photos, labels) probabilities of one look.
        again: (photos, labels) probabilities of several.
        thresholds_once: (labels,).
        thresholds_again: (labels,).
        looks: how many looks ``again`` took; its cost is given as so many times one.
        seed: of the bootstrap.

    Raises:
        InputError: when shapes do not fit.
    """
    cost = np.ones(len(truth))
    reference = PhotoAnswers(once, once >= thresholds_once, cost, cost)
    other = PhotoAnswers(again, again >= thresholds_again, looks * cost, looks * cost)
    return compare_answers(truth, labels, reference, [other], seed=seed)[0]
