"""The promise: at most so many diseased photos lose their diagnosis through dropping tiles.

A diagnosis is lost when reading every tile finds the disease and the deployed path does not. How
often that happens on new photos is bounded by exact binomial tests on photos set aside for it:
Learn-then-Test with fixed-sequence testing (Angelopoulos et al. 2021, arXiv 2110.01052), from the
most cautious setting to the least. The tests need no large numbers and no model of the scores,
only that the photos are independent draws of what the model will meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.evaluation.json_values import JsonValue
from leafscout.evaluation.scores import BoolArray, Floats


@dataclass(frozen=True)
class CalibrationCount(JsonValue):
    """The photos behind a promise, of all diseases or of one.

    Attributes:
        name: the label, or ``any disease``.
        photos: independent photos that have it.
        found: of these, in how many reading every tile finds it.
        losses: of these, in how many the deployed path does not.
    """

    name: str
    photos: int
    found: int
    losses: int


@dataclass(frozen=True)
class Promise(JsonValue):
    """What may be said about lost diagnoses.

    Attributes:
        loss_frac: the largest share of diseased photos that may lose their diagnosis, 0..1.
        confidence: how sure that is, 0..1: in this share of draws of calibration photos, what is
            promised is true.
        per_label: whether it holds for each label by itself, all of them together.
        kept: whether anything is promised at all.
        photos_needed: photos of each kind that it takes when not one is lost.
        counts: at the setting that was chosen, or at the most cautious one if nothing is promised.
    """

    loss_frac: float
    confidence: float
    per_label: bool
    kept: bool
    photos_needed: int
    counts: tuple[CalibrationCount, ...]

    def words(self) -> str:
        """The promise in sentences, or why there is none."""
        what = (
            f"that at most {_percent(self.loss_frac)} of diseased photos lose their diagnosis "
            f"through dropping tiles, with confidence {_percent(self.confidence)}"
        )
        if self.kept:
            return f"It is promised {what}{self._each()}. {self._seen()}"
        short = [count for count in self.counts if count.photos < self.photos_needed]
        if not short:
            return (
                f"It cannot be promised {what}{self._each()}: even the most cautious setting "
                f"loses too many. {self._seen()}"
            )
        lacking = ", ".join(
            f"{self.photos_needed - count.photos} more with {count.name} (there are {count.photos})"
            for count in short
        )
        return (
            f"It cannot be promised {what}{self._each()}: that takes at least "
            f"{self.photos_needed} calibration photos even if none is lost, and some are missing: "
            f"{lacking}. Nothing is promised."
        )

    def _each(self) -> str:
        return ", for each disease by itself" if self.per_label else ""

    def _seen(self) -> str:
        parts = [
            f"of {count.photos} photos with {count.name}, reading every tile finds it in "
            f"{count.found} and dropping loses {count.losses}"
            for count in self.counts
        ]
        return f"On calibration photos used for nothing else: {'; '.join(parts)}."


@dataclass(frozen=True, eq=False)
class Certificate(JsonValue):
    """The outcome of testing a sequence of settings.

    Attributes:
        setting: index of the least cautious setting that is certified; None when not even the
            first one is.
        p_values: (settings,) for "this setting loses more than promised", the largest over the
            populations; all are given, although testing stops at the first above 1 − confidence.
    """

    setting: int | None
    p_values: Floats


def tail_prob(losses: int, photos: int, rate: float) -> float:
    """P(Binomial(photos, rate) ≤ losses), summed exactly in logarithms.

    Args:
        losses: from 0 to ``photos``.
        photos: number of trials, from 0.
        rate: 0..1, ends excluded.
    """
    steps = np.arange(1, min(losses, photos) + 1, dtype=np.float64)
    chosen = np.concatenate([[0.0], np.cumsum(np.log((photos - steps + 1) / steps))])
    counts = np.arange(len(chosen), dtype=np.float64)
    terms = chosen + counts * np.log(rate) + (photos - counts) * np.log1p(-rate)
    top = terms.max()
    return float(min(1.0, np.exp(top) * np.exp(terms - top).sum()))


def loss_upper_bound(losses: int, photos: int, delta: float) -> float:
    """The Clopper-Pearson upper bound of a share: the largest rate not refuted at level δ, 0..1.

    Args:
        losses: photos that lost their diagnosis.
        photos: photos in all, at least 1.
        delta: chance of a bound that is too low, 0..1, ends excluded.
    """
    _check_share("delta", delta)
    if not 0 <= losses <= photos or photos < 1:
        raise InputError(
            f"Expected losses from 0 to the number of photos, at least 1, but got {losses} of "
            f"{photos}."
        )
    if losses == photos:
        return 1.0
    low, high = losses / photos, 1.0
    for _ in range(60):  # halves the interval below the precision of the numbers
        middle = (low + high) / 2
        if tail_prob(losses, photos, middle) > delta:
            low = middle
        else:
            high = middle
    return high


def photos_needed(alpha: float, delta: float, losses: int = 0) -> int:
    """How many photos it takes to certify a share of losses.

    Args:
        alpha: the largest share of losses to be promised, 0..1, ends excluded.
        delta: chance of a false promise, 0..1, ends excluded.
        losses: photos that lose their diagnosis among them; without any, the answer is
            ``⌈ln δ / ln(1 − α)⌉``: for δ = 0.05 that is 149 for 2%, 59 for 5% and 29 for 10%.

    Raises:
        InputError: when a share is not strictly between 0 and 1.
    """
    _check_share("alpha", alpha)
    _check_share("delta", delta)
    few, many = losses, max(1, 2 * losses)
    while tail_prob(losses, many, alpha) > delta:
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        if tail_prob(losses, middle, alpha) > delta:
            few = middle
        else:
            many = middle
    return many


def certify_threshold(
    losses_by_threshold: Mapping[str, NDArray[np.bool_]], alpha: float, delta: float
) -> Certificate:
    """Find the least cautious setting of which it can be promised that it loses at most α.

    Settings are tested in their order, each at the full level δ, until one fails: the chance that
    any setting certified loses more than α is at most δ, however many settings there are. With
    several populations, a setting passes when it does for each of them; the largest p-value is
    one for "too many are lost in some population", so they need no correction either.

    Args:
        losses_by_threshold: population → (settings, photos) True where a photo loses its
            diagnosis; the most cautious setting first. Photos must be independent and have had
            no part in making the settings.
        alpha: the largest share of losses to be promised, 0..1, ends excluded.
        delta: chance of a false promise, 0..1, ends excluded.

    Raises:
        InputError: when a share is not strictly between 0 and 1, or the shapes do not fit.
    """
    _check_share("alpha", alpha)
    _check_share("delta", delta)
    shapes = {name: losses.shape for name, losses in losses_by_threshold.items()}
    settings = {shape[0] for shape in shapes.values() if len(shape) == 2}
    if len(settings) != 1 or any(len(shape) != 2 for shape in shapes.values()):
        raise InputError(
            "Expected losses as (settings, photos) for one population or more, with the same "
            f"settings, but got {shapes}."
        )
    p_values = np.max(
        [
            [tail_prob(int(lost.sum()), len(lost), alpha) for lost in losses]
            for losses in losses_by_threshold.values()
        ],
        axis=0,
    ).reshape(-1)
    failed = np.flatnonzero(p_values > delta)
    certified = int(failed[0]) if len(failed) else len(p_values)
    return Certificate(certified - 1 if certified else None, p_values)


def promise_from_losses(
    losses_by_threshold: Mapping[str, NDArray[np.bool_]],
    found: Mapping[str, BoolArray],
    alpha: float,
    delta: float,
    *,
    per_label: bool,
) -> tuple[Promise, Certificate]:
    """Certify a setting and put the outcome into words.

    Args:
        losses_by_threshold: see ``certify_threshold``.
        found: population → (photos,) True where reading every tile finds the disease.
        alpha: the largest share of losses to be promised, 0..1, ends excluded.
        delta: chance of a false promise, 0..1, ends excluded.
        per_label: whether the populations are labels.

    Raises:
        InputError: as ``certify_threshold``.
    """
    certificate = certify_threshold(losses_by_threshold, alpha, delta)
    setting = certificate.setting or 0
    counts = tuple(
        CalibrationCount(
            name=name,
            photos=losses.shape[1],
            found=int(found[name].sum()),
            losses=int(losses[setting].sum()),
        )
        for name, losses in losses_by_threshold.items()
    )
    promise = Promise(
        loss_frac=alpha,
        confidence=1 - delta,
        per_label=per_label,
        kept=certificate.setting is not None,
        photos_needed=photos_needed(alpha, delta),
        counts=counts,
    )
    return promise, certificate


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise InputError(
            f"Expected {name} to be between 0 and 1, both excluded, but got {value}. "
            "Give 0.05 for 5%."
        )


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"
