"""Does an exported model say what its PyTorch model says? Both look at the same photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leafscout.diagnosis.calibrate import sigmoid
from leafscout.errors import InputError
from leafscout.gated_model import GatedModel
from leafscout.model import Core
from leafscout.photos.decode import open_photo
from leafscout.recogniser_model import RecogniserModel
from leafscout.types import Evidence, FloatArray, Photo

ROUNDING = 1e-4
"""The largest change of a probability that may come from adding in another order."""

NAMED = 5


@dataclass(frozen=True)
class Choice:
    """What a model chooses to look at closely, in the words of a comparison.

    Attributes:
        parts: what it looks at or leaves out.
        chooser: what decides that.
    """

    parts: str
    chooser: str


TILES, TOKENS = Choice("tiles", "the scout"), Choice("tokens", "the gate")
"""The choices of two networks, and of one that drops tokens on the way."""


def find_choice(model: Core) -> Choice | None:
    """What a model chooses to look at; None for one look at the whole photo."""
    if isinstance(model, GatedModel):
        return TOKENS
    return None if isinstance(model, RecogniserModel) else TILES


@dataclass(frozen=True, eq=False)
class PhotoAnswer:
    """What parity needs to know of a model's answer for one photo.

    Attributes:
        name: the photo.
        probs: (labels,) probabilities.
        choice_probs: probabilities that decide which tiles are read; none where nothing is chosen.
        read: (tiles,) which were.
        tile_logits: (tiles, labels) of the expert; NaN where it did not look.
        glance_logits: (labels,) of the scout; none where there is no scout.
    """

    name: str
    probs: FloatArray
    choice_probs: FloatArray
    read: NDArray[np.bool_]
    tile_logits: FloatArray
    glance_logits: FloatArray


@dataclass(frozen=True)
class PhotoParity:
    """Two models on one photo.

    Attributes:
        name: the photo.
        prob_change: largest change of a label's probability, 0..1.
        scout_change: largest change of a probability that decides which tiles are read, 0..1; 0
            where nothing is chosen.
        decision_changed: another set of labels was found.
        choice_changed: other tiles were read.
        near_threshold: a label's probability lies within the rounding of its threshold.
        logit_products: of the logits of both on what both looked at: theirs with each other's,
            and of each with itself.
    """

    name: str
    prob_change: float
    scout_change: float
    decision_changed: bool
    choice_changed: bool
    near_threshold: bool
    logit_products: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0), compare=False)


@dataclass(frozen=True)
class Limits:
    """How much an exported model may differ.

    Attributes:
        prob_change: largest change of a probability where the same tiles are read; None for any.
        decisions_frac: largest share of photos with another set of labels, photos apart that
            rounding alone may decide.
    """

    prob_change: float | None
    decisions_frac: float

    def __post_init__(self) -> None:
        if self.prob_change is not None and not 0.0 < self.prob_change <= 1.0:
            raise InputError(
                f"Expected --tolerance to be above 0 and at most 1, but got {self.prob_change}."
            )
        if not 0.0 <= self.decisions_frac < 1.0:
            raise InputError(
                f"Expected --max-changed to be from 0 to below 1, but got {self.decisions_frac}."
            )


@dataclass(frozen=True)
class Parity:
    """Two models on many photos.

    Attributes:
        photos: one result a photo.
        rounding: changes up to this count as rounding.
        choice: what both choose to look at; None where they choose nothing.
    """

    photos: tuple[PhotoParity, ...]
    rounding: float = ROUNDING
    choice: Choice | None = TILES

    @property
    def max_prob_change(self) -> float:
        """Largest change of a label's probability where both read the same tiles."""
        return max((one.prob_change for one in self.photos if not one.choice_changed), default=0.0)

    @property
    def max_scout_change(self) -> float:
        """Largest change of a probability that decides which tiles are read."""
        return max((one.scout_change for one in self.photos), default=0.0)

    @property
    def logit_cosine(self) -> float | None:
        """Cosine between all logits of both on what both looked at; None where there are none."""
        both, one, other = np.sum([photo.logit_products for photo in self.photos], axis=0)
        return float(both / np.sqrt(one * other)) if one * other > 0 else None

    @property
    def decisions_changed(self) -> tuple[str, ...]:
        """Photos on which another set of labels was found."""
        return tuple(one.name for one in self.photos if one.decision_changed)

    @property
    def choices_changed(self) -> tuple[str, ...]:
        """Photos of which other tiles were read."""
        return tuple(one.name for one in self.photos if one.choice_changed)

    @property
    def borderline(self) -> tuple[str, ...]:
        """Photos that changes within the rounding decide."""
        return tuple(one.name for one in self.photos if self._is_borderline(one))

    def _is_borderline(self, one: PhotoParity) -> bool:
        if one.choice_changed:
            return one.scout_change <= self.rounding
        return one.near_threshold and one.prob_change <= self.rounding

    def check(self, limits: Limits) -> None:
        """Refuse a model that differs too much.

        Raises:
            InputError: naming the photos.
        """
        problem = self.find_problem(limits)
        if problem is not None:
            raise InputError(problem)

    def find_problem(self, limits: Limits) -> str | None:
        """Why a model differs too much, in sentences that name the photos; None when it does not.

        Args:
            limits: how much it may differ.
        """
        clear = [one for one in self.photos if not self._is_borderline(one)]
        changed = [one.name for one in clear if one.decision_changed]
        most = limits.decisions_frac * len(self.photos)
        if len(changed) > most:
            # Any change of a probability is allowed to int8 alone, unless it is limited by hand.
            rounded = ", or export without --int8, or calibrate with more photos"
            remedies = rounded if limits.prob_change is None else ""
            return (
                f"The exported model decides otherwise than the PyTorch model on {len(changed)} "
                f"of {len(self.photos)} photos ({_some(changed)}), and at most "
                f"{limits.decisions_frac:.1%} may change. Nothing was written. {self._figures()} "
                f"Raise --max-changed if that is good enough{remedies}."
            )
        if limits.prob_change is None:
            return None
        far = [one.name for one in clear if one.prob_change > limits.prob_change]
        if not far:
            return None
        return (
            f"The exported model's probabilities differ from the PyTorch model's by more than "
            f"{limits.prob_change:g} on {len(far)} of {len(self.photos)} photos "
            f"({_some(far)}). Nothing was written. {self._figures()} Raise --tolerance if "
            "that is good enough."
        )

    def _figures(self) -> str:
        largest = f"The largest change of a probability is {self.max_prob_change:.2g}"
        if self.choice is None:
            return f"{largest}."
        return (
            f"{largest}, the largest of {self.choice.chooser}'s {self.max_scout_change:.2g}; other "
            f"{self.choice.parts} were read in {len(self.choices_changed)} photos."
        )

    def _summary(self) -> str:
        labels = (
            f"Compared with PyTorch on {len(self.photos)} photos: other labels on "
            f"{len(self.decisions_changed)}"
        )
        largest = f"Largest change of a probability: {self.max_prob_change:.2g}"
        if self.choice is None:
            return f"{labels}. {largest}."
        return (
            f"{labels}, other {self.choice.parts} read in {len(self.choices_changed)}. {largest}, "
            f"of {self.choice.chooser}'s: {self.max_scout_change:.2g}."
        )

    def sentences(self) -> tuple[str, ...]:
        """The comparison in words, of what the models have."""
        summary = self._summary()
        if self.logit_cosine is not None:
            summary += f" Cosine of the logits: {self.logit_cosine:.5f}."
        named = {"Other labels": self.decisions_changed}
        if self.choice is not None:
            named[f"Other {self.choice.parts}"] = self.choices_changed
        named["So near a threshold that rounding decides"] = self.borderline
        lines = [f"{what}: {_some(names)}." for what, names in named.items() if names]
        return (summary, *lines)


def compare_models(
    reference: Core,
    exported: Core,
    photos: Sequence[Path],
    *,
    show: Callable[[int, int], None] | None = None,
) -> Parity:
    """Diagnose photos with two models.

    Args:
        reference: the model as trained.
        exported: the same in another runtime.
        photos: paths.
        show: told the photos done and all.

    Raises:
        PhotoError: when a photo cannot be used.
    """
    found = []
    for index, path in enumerate(photos):
        found.append(compare_on_photo(reference, exported, open_photo(path)))
        if show is not None:
            show(index + 1, len(photos))
    return Parity(tuple(found), choice=find_choice(exported))


def compare_with_answers(
    answers: Sequence[PhotoAnswer], exported: Core, photos: Sequence[Path]
) -> Parity:
    """Like ``compare_models``, with a reference that was asked before.

    Args:
        answers: of the model as trained, from ``answer_photo``.
        exported: the same in another runtime.
        photos: paths, in the order of the answers.
    """
    thresholds = exported.rules.thresholds
    return Parity(
        tuple(
            _compare(answer, answer_photo(exported, open_photo(path)), thresholds)
            for answer, path in zip(answers, photos, strict=True)
        ),
        choice=find_choice(exported),
    )


def compare_on_photo(reference: Core, exported: Core, photo: Photo) -> PhotoParity:
    """Diagnose one photo with two models."""
    answers = [answer_photo(model, photo) for model in (reference, exported)]
    return _compare(answers[0], answers[1], reference.rules.thresholds)


def answer_photo(model: Core, photo: Photo) -> PhotoAnswer:
    """Diagnose one photo and keep what parity needs."""
    evidence, _ = model.forward(photo)
    choice, none = find_choice(model), np.empty(0, dtype=np.float32)
    return PhotoAnswer(
        name=Path(photo.source).name,
        probs=model.label_probs(evidence),
        choice_probs=_choice_probs(evidence) if choice else none,
        read=evidence.read,
        tile_logits=evidence.tile_logits,
        glance_logits=evidence.glance_logits if choice == TILES else none,
    )


def _compare(
    reference: PhotoAnswer, exported: PhotoAnswer, label_thresholds: Sequence[float]
) -> PhotoParity:
    probs = np.stack([reference.probs, exported.probs])
    thresholds = np.asarray(label_thresholds, dtype=np.float32)
    found = probs >= thresholds
    return PhotoParity(
        name=reference.name,
        prob_change=_largest_change(probs[0], probs[1]),
        scout_change=_largest_change(reference.choice_probs, exported.choice_probs),
        decision_changed=bool((found[0] != found[1]).any()),
        choice_changed=bool((reference.read != exported.read).any()),
        near_threshold=bool((np.abs(probs - thresholds) <= ROUNDING).any()),
        logit_products=_multiply_logits(reference, exported),
    )


def _multiply_logits(one: PhotoAnswer, other: PhotoAnswer) -> tuple[float, float, float]:
    both = one.read & other.read
    first, second = (
        np.concatenate([answer.tile_logits[both].ravel(), answer.glance_logits]).astype(np.float64)
        for answer in (one, other)
    )
    return float(first @ second), float(first @ first), float(second @ second)


def _choice_probs(evidence: Evidence) -> FloatArray:
    """What ``choose_tiles`` decides by."""
    return sigmoid(np.concatenate([evidence.scout_logits, evidence.glance_logits])).astype(
        np.float32
    )


def _largest_change(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    change = float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0.0))
    return change if np.isfinite(change) else np.inf  # not a number is never near one


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
