"""Is a photo like those that the model learnt from? Told from the look of its glance, in numpy.

No network takes part: sharpness and texture, light, colours and layout of the small view are a few
dozen numbers, the same in every runtime. How far they are from those of the training photos is
measured in units of how much these differ among each other (Mahalanobis 1936).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leafscout.types import FloatArray, Pixels

OCTAVES = 5
_ROW_STEP = 4
_COLOUR_PX = 64
_LEAST_STEP = 0.05
"""Of 255: below it all surfaces count as equally flat."""

_SHARES = np.array([0.05, 0.25, 0.5, 0.75, 0.95])

LEAST_PHOTOS = 3
MOST_SURE = 0.98
"""No probability of a strange photo is higher, however sure the networks are."""
_LEAST_PROB = 1e-6
FEATURES = 3 * OCTAVES + 4 * len(_SHARES) + 6


@dataclass(frozen=True)
class Familiarity:
    """What the glances of the training photos look like, as plain numbers.

    Attributes:
        centre: (features,) mean of ``describe_view`` over the training photos.
        spread: (features,) standard deviation of each.
        precision: (features · (features + 1) / 2) lower triangle, row by row, of the inverse of
            the correlations between them.
        view_px: long side of the views; a larger one is made as small before it is described.
        limit: distance from which on a photo counts as unlike the training photos.
        prior: (labels,) share of the training photos that have each label, 0..1.
        false_alarm_frac: share of photos like the validation photos that are beyond the limit, as
            far as those can tell, 0..1.
    """

    centre: tuple[float, ...]
    spread: tuple[float, ...]
    precision: tuple[float, ...]
    view_px: int
    limit: float
    prior: tuple[float, ...]
    false_alarm_frac: float

    def measure(self, view: Pixels) -> float:
        """How unlike the training photos a view is: its distance over the limit, from 0 up.

        Args:
            view: (height, width, 3) the small view of a photo.
        """
        return self.measure_features(describe_view(view, self.view_px)) / self.limit

    def measure_features(self, features: NDArray[np.float64]) -> float:
        """Distance of what ``describe_view`` gave, before it is compared with the limit."""
        away = (features - np.array(self.centre)) / np.array(self.spread)
        lower = np.zeros((len(away), len(away)))
        lower[np.tril_indices(len(away))] = self.precision
        both = lower + np.tril(lower, -1).T
        return float(np.sqrt(max(0.0, away @ both @ away)))

    def draw_to_prior(
        self, label_probs: FloatArray, strangeness: float, *, exclusive: bool = False
    ) -> FloatArray:
        """Trust the networks less, the less a photo is like what they learnt from.

        Args:
            label_probs: (labels,) calibrated probabilities.
            strangeness: of ``measure``; up to 1 nothing changes.
            exclusive: whether photos show one disease or none: the probabilities are a softmax.

        Returns:
            (labels,) the weighted geometric mean of probabilities and prior, which is the mean of
            log odds. The networks keep the weight ``1 / strangeness²``, so far away every photo
            gets the prior. Nothing strange gets more than ``MOST_SURE``.
        """
        if strangeness <= 1.0:
            return label_probs
        trust = strangeness**-2
        said, usual = (
            np.log(_all_answers(np.asarray(probs, dtype=np.float64), exclusive=exclusive))
            for probs in (label_probs, self.prior)
        )
        drawn = np.exp(trust * said + (1.0 - trust) * usual)
        drawn = (drawn / drawn.sum(axis=0))[-1 if not exclusive else slice(1, None)]
        capped: FloatArray = np.minimum(drawn, MOST_SURE).astype(np.float32)
        return capped


def _all_answers(label_probs: NDArray[np.float64], *, exclusive: bool) -> NDArray[np.float64]:
    """Probabilities that sum to 1 down each column, none of them 0.

    Returns:
        (2, labels) absent and present; or, where labels exclude each other, (1 + labels,) healthy
        and each label.
    """
    if exclusive:
        healthy = np.maximum(0.0, 1.0 - label_probs.sum(keepdims=True))
        answers = np.concatenate([healthy, label_probs])
    else:
        answers = np.stack([1.0 - label_probs, label_probs])
    within: NDArray[np.float64] = np.clip(answers, _LEAST_PROB, 1.0)
    return within


def describe_view(view: Pixels, view_px: int) -> NDArray[np.float64]:
    """What a small view looks like, whatever it shows.

    Args:
        view: (height, width, 3), at least 32 px a side.
        view_px: a view with a longer long side is shrunk to this one: texture depends on it.

    Returns:
        (FEATURES,) for each of five octaves the mean step between neighbours, how rare large
        steps are, and whether they run along or down; quantiles of lightness, colourfulness,
        green and warmth; how the middle differs from the whole and the upper half from the lower.
    """
    image = Image.fromarray(view)
    if max(image.size) > view_px:
        scale = view_px / max(image.size)
        size = (max(32, round(scale * image.width)), max(32, round(scale * image.height)))
        image = image.resize(size, Image.Resampling.BOX)
    return np.concatenate([_describe_texture(image.convert("L")), _describe_colours(image)])


def _describe_texture(grey: Image.Image) -> NDArray[np.float64]:
    found = []
    for octave in range(OCTAVES):
        luma = np.asarray(grey, dtype=np.int16)
        # Some rows say enough about the finest octaves, where there are hundreds.
        step = max(1, min(_ROW_STEP, len(luma) // 32))
        rows = luma[:-1:step]
        along = np.abs(np.diff(rows, axis=1)).ravel()
        down = np.abs(luma[1::step] - rows).ravel()
        mean_along, mean_down = along.mean() + _LEAST_STEP, down.mean() + _LEAST_STEP
        mean = (mean_along + mean_down) / 2
        square = (_mean_square(along) + _mean_square(down)) / 2 + _LEAST_STEP**2
        found += [np.log(mean), np.log(square / mean**2), np.log(mean_along / mean_down)]
        if octave + 1 < OCTAVES:
            grey = grey.reduce(2)
    return np.array(found)


def _mean_square(steps: NDArray[np.int16]) -> float:
    wide = steps.astype(np.float32)
    return float(wide @ wide) / len(wide)


def _describe_colours(image: Image.Image) -> NDArray[np.float64]:
    small = image.reduce(max(1, max(image.size) // _COLOUR_PX))
    pixels = np.asarray(small, dtype=np.float64) / 255
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    lightness = 0.299 * red + 0.587 * green + 0.114 * blue
    colourful = pixels.max(axis=2) - pixels.min(axis=2)
    greenness, warmth = green - (red + blue) / 2, red - blue
    found = []
    for values in (lightness, colourful, greenness, warmth):
        ranked = np.sort(values, axis=None)
        found += list(ranked[np.round(_SHARES * (len(ranked) - 1)).astype(int)])
    rows, columns = lightness.shape
    for values in (lightness, greenness, warmth):
        middle = values[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4]
        found += [middle.mean() - values.mean(), values[: rows // 2].mean() - values.mean()]
    return np.array(found)


def fit_familiarity(
    training: NDArray[np.float64],
    validation: NDArray[np.float64],
    prior: NDArray[np.float64],
    *,
    view_px: int,
    false_alarm_frac: float = 0.02,
) -> Familiarity | None:
    """Learn what the training photos look like, and how far other photos of the kind lie.

    The correlations are shrunk towards none as far as few photos make them uncertain (Ledoit and
    Wolf 2004). The limit is what one more validation photo exceeds with the wanted probability:
    their own ranking where they are enough for it (49 for 2%), else, and at least their largest
    distance, what their logarithms would give if they were normal (Student's t).

    Args:
        training: (photos, features) of ``describe_view``.
        validation: (photos, features) of other photos.
        prior: (labels,) share of the training photos with each label.
        view_px: as ``describe_view`` had it.
        false_alarm_frac: share of photos of the kind that may count as strange.

    Returns:
        The familiarity; None with fewer than three training or validation photos.
    """
    if len(training) < LEAST_PHOTOS or len(validation) < LEAST_PHOTOS:
        return None
    centre = training.mean(axis=0)
    spread = training.std(axis=0) + 1e-3
    precision = np.linalg.inv(_shrink_correlations((training - centre) / spread))
    found = Familiarity(
        centre=_plain(centre),
        spread=_plain(spread),
        precision=_plain(precision[np.tril_indices(len(centre))]),
        view_px=view_px,
        limit=1.0,
        prior=_plain(prior),
        false_alarm_frac=false_alarm_frac,
    )
    distances = np.sort([found.measure_features(row) for row in validation])
    return replace(found, limit=_find_limit(distances, false_alarm_frac))


def _shrink_correlations(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    photos, features = scaled.shape
    seen = scaled.T @ scaled / photos
    mean = np.trace(seen) / features
    apart = ((seen - mean * np.eye(features)) ** 2).sum()
    lengths = (scaled**2).sum(axis=1)
    doubt = ((lengths**2).sum() / photos - (seen**2).sum()) / photos
    share = min(1.0, doubt / apart) if apart > 0 else 1.0
    # Never none at all: features that always go together must not make others infinitely telling.
    share = max(share, 0.01)
    shrunk: NDArray[np.float64] = share * max(mean, 1e-3) * np.eye(features) + (1 - share) * seen
    return shrunk


def _find_limit(distances: NDArray[np.float64], false_alarm_frac: float) -> float:
    """Distance that one more photo exceeds with the wanted probability; ``distances`` ascend."""
    photos = len(distances)
    rank = int(np.ceil((photos + 1) * (1 - false_alarm_frac)))
    if rank <= photos:
        return float(distances[rank - 1])
    logs = np.log(np.maximum(distances, 1e-6))
    reach = _student_quantile(1 - false_alarm_frac, photos - 1) * np.sqrt(1 + 1 / photos)
    return float(max(distances[-1], np.exp(logs.mean() + reach * logs.std(ddof=1)), 1e-3))


def _student_quantile(prob: float, freedom: int) -> float:
    """Quantile of Student's t: its expansion around the normal one (Abramowitz, Stegun 26.7.5)."""
    z: float = NormalDist().inv_cdf(prob)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(term / freedom**power for power, term in enumerate(terms, start=1))


def _plain(values: NDArray[np.floating]) -> tuple[float, ...]:
    """Six digits: all that a reader of the manifest needs, and all that is used."""
    return tuple(float(f"{value:.6g}") for value in values)
