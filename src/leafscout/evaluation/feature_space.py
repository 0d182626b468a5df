"""How features of photos lie: neighbours, flat views, and angles to the centres of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.evaluation.json_values import JsonValue
from leafscout.evaluation.scores import Floats


@dataclass(frozen=True, eq=False)
class AngleHistogram(JsonValue):
    """Angles between photos and the centre of one label.

    Attributes:
        label: its name.
        edges_deg: (bins + 1,) 0..180.
        positive: (bins,) photos with the label.
        negative: (bins,) photos without it.
        positive_mean_deg: NaN without photos that have it.
        negative_mean_deg: NaN without photos that lack it.
    """

    label: str
    edges_deg: Floats
    positive: NDArray[np.int64]
    negative: NDArray[np.int64]
    positive_mean_deg: float
    negative_mean_deg: float


def cosine_matrix(vectors: NDArray[Any], others: NDArray[Any] | None = None) -> Floats:
    """Cosines of the angles between all pairs of vectors.

    Args:
        vectors: (a, features), for example class centres.
        others: (b, features); the same vectors by default.

    Returns:
        (a, b) −1..1; NaN for a vector of length 0.
    """
    first = _unit(vectors)
    second = first if others is None else _unit(others)
    return np.clip(first @ second.T, -1.0, 1.0)


def angle_histograms(
    features: NDArray[Any],
    centres: NDArray[Any],
    truth: NDArray[Any],
    labels: Sequence[str],
    bins: int = 36,
) -> list[AngleHistogram]:
    """For each label, how far photos with and without it lie from its centre.

    Args:
        features: (photos, features).
        centres: (labels, features).
        truth: (photos, labels).
        labels: names.
        bins: from 0 to 180 degrees.

    Raises:
        InputError: when the shapes do not fit.
    """
    if truth.shape != (len(features), len(labels)) or len(centres) != len(labels):
        raise InputError(
            f"Expected truth ({len(features)}, {len(labels)}) and {len(labels)} centres, but got "
            f"{truth.shape} and {len(centres)}."
        )
    angles = np.rad2deg(np.arccos(cosine_matrix(features, centres)))
    edges = np.linspace(0.0, 180.0, bins + 1)
    found = []
    for index, label in enumerate(labels):
        has = truth[:, index].astype(np.bool_)
        near, far = angles[has, index], angles[~has, index]
        found.append(
            AngleHistogram(
                label=label,
                edges_deg=edges,
                positive=np.histogram(near, edges)[0].astype(np.int64),
                negative=np.histogram(far, edges)[0].astype(np.int64),
                positive_mean_deg=float(near.mean()) if near.size else float("nan"),
                negative_mean_deg=float(far.mean()) if far.size else float("nan"),
            )
        )
    return found


def nearest_photos(
    features: NDArray[Any], asked: NDArray[Any], count: int = 5, *, skip_self: bool = False
) -> tuple[NDArray[np.int64], Floats]:
    """The photos whose features point most nearly the same way.

    Args:
        features: (photos, features) of those to be found.
        asked: (questions, features).
        count: of neighbours, at least 1.
        skip_self: the questions are the photos themselves, in order: none finds itself.

    Returns:
        (questions, count) indices, nearest first, and (questions, count) cosines.

    Raises:
        InputError: when there are too few photos.
    """
    there = len(features) - int(skip_self)
    if not 1 <= count <= there:
        raise InputError(f"Expected from 1 to {there} neighbours, but got {count}.")
    cosines = cosine_matrix(asked, features)
    if skip_self:
        np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return order.astype(np.int64), np.take_along_axis(cosines, order, axis=1)


def agree_with_neighbours(
    truth: NDArray[Any], neighbours: NDArray[np.int64]
) -> tuple[float, float]:
    """How often photos that lie together show the same diseases.

    Args:
        truth: (photos, labels) 0 or 1.
        neighbours: (photos, count) of ``nearest_photos`` of the same photos, none its own.

    Returns:
        The share of neighbours with exactly the labels of the photo they are neighbours of, and
        that of all pairs of photos: what neighbours by chance would have. Both 0..1; NaN where
        there is no pair.
    """
    sets = np.unique(truth.astype(np.bool_), axis=0, return_inverse=True)[1].reshape(-1)
    photos = len(sets)
    if photos < 2:
        return float("nan"), float("nan")
    counts = np.bincount(sets).astype(np.float64)
    pairs = float((counts * (counts - 1)).sum()) / (photos * (photos - 1))
    return float((sets[neighbours] == sets[:, None]).mean()), pairs


def project_by_variance(features: NDArray[Any], axes: int = 2) -> tuple[Floats, Floats]:
    """Principal components: the flat view that keeps most of the spread.

    Args:
        features: (photos, features), at least as many of both as axes.
        axes: of the view.

    Returns:
        (photos, axes) places around 0, and (axes,) the share of the variance that each keeps. The
        largest entry of each axis is positive: the view does not flip from run to run.

    Raises:
        InputError: when there are too few photos or features.
    """
    if min(features.shape) < axes:
        raise InputError(f"Expected at least {axes} photos and features, but got {features.shape}.")
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    directions = directions * np.where(signs == 0, 1.0, signs)[:, None]
    variance = lengths**2
    shares = variance[:axes] / max(float(variance.sum()), 1e-300)
    return centred @ directions[:axes].T, shares


def project_by_neighbours(features: NDArray[Any], seed: int = 0) -> Floats:
    """T-SNE: a flat view that keeps neighbours together (van der Maaten & Hinton 2008).

    Distances between groups and sizes of groups mean nothing in it. Needs scikit-learn.

    Args:
        features: (photos, features), at least 4 photos.
        seed: of the start.

    Returns:
        (photos, 2) places.

    Raises:
        InputError: when there are too few photos.
    """
    if len(features) < 4:
        raise InputError(f"Expected at least 4 photos, but got {len(features)}.")
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(features) - 1) / 3)
    view = TSNE(perplexity=perplexity, random_state=seed, init="pca")
    places: Floats = np.array(view.fit_transform(features.astype(np.float64)), dtype=np.float64)
    return places


def _unit(vectors: NDArray[Any]) -> Floats:
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: Floats = np.divide(wide, lengths, out=np.full_like(wide, np.nan), where=lengths > 0)
    return unit
