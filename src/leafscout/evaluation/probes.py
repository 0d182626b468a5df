"""Probes: can something simple tell, from what should not matter, what the model is asked for?

A probe is a least-squares classifier or nearest neighbours, cross-validated and held against
permuted labels. It does not show what a network uses, only what it could use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafscout.evaluation.json_values import JsonValue
from leafscout.evaluation.scores import BoolArray, Floats, roc_auc

FOLDS = 5
NEIGHBOURS = 5
_RIDGE = 1.0
_TILES_AT_MOST = 2000

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class LabelProbe(JsonValue):
    """How well a probe tells diseased photos from healthy ones.

    Attributes:
        photos: photos, diseased and healthy.
        diseased: of which diseased.
        auc: area under the ROC curve, out of fold; 0.5 is chance.
        chance_high: what 95% of probes on permuted labels stay below.
        p_value: share of permutations that do as well, itself counted.
    """

    photos: int
    diseased: int
    auc: float
    chance_high: float
    p_value: float

    @property
    def above_chance(self) -> bool:
        """Whether the probe does better than 95% of permutations."""
        return self.auc > self.chance_high


@dataclass(frozen=True)
class SourceProbe(JsonValue):
    """How well tiles tell which photo they come from.

    Attributes:
        photos: photos to tell apart.
        tiles: tiles asked about.
        accuracy: share assigned to their own photo by the nearest mean of its other tiles.
        chance: what guessing would reach.
    """

    photos: int
    tiles: int
    accuracy: float
    chance: float


@dataclass(frozen=True)
class SplitProbe(JsonValue):
    """What splitting by tiles instead of photos would have pretended.

    Attributes:
        tiles: tiles with the label of their photo.
        auc_by_tile: of nearest neighbours when tiles of one photo may be on both sides.
        auc_by_photo: when all tiles of a photo are on one side.
    """

    tiles: int
    auc_by_tile: float
    auc_by_photo: float


def probe_label(
    features: Floats, diseased: BoolArray, *, seed: int = 0, permutations: int = 200
) -> LabelProbe | None:
    """Try to tell diseased photos from healthy ones by a few features of each.

    Args:
        features: (photos, features).
        diseased: (photos,).
        seed: of folds and permutations.
        permutations: of the labels among the photos.

    Returns:
        The probe; None with fewer than ``FOLDS`` photos on either side.
    """
    if min(diseased.sum(), (~diseased).sum()) < FOLDS:
        return None
    rng = np.random.default_rng(seed)
    folds = _stratified_folds(diseased, rng)
    targets = np.column_stack(
        [diseased, *(rng.permutation(diseased) for _ in range(permutations))]
    ).astype(np.float64)
    scores = _out_of_fold(features, targets, folds)
    aucs = np.array(
        [
            roc_auc(targets[:, column] > 0, scores[:, column])[0]
            for column in range(targets.shape[1])
        ]
    )
    by_chance = aucs[1:]
    return LabelProbe(
        photos=len(diseased),
        diseased=int(diseased.sum()),
        auc=float(aucs[0]),
        chance_high=float(np.quantile(by_chance, 0.95)),
        p_value=float((1 + (by_chance >= aucs[0]).sum()) / (1 + permutations)),
    )


def probe_source(features: Floats, photos: Ids, *, seed: int = 0) -> SourceProbe | None:
    """Try to tell which photo a tile comes from, by the nearest mean of the others' tiles.

    Args:
        features: (tiles, features).
        photos: (tiles,) the photo of each tile.
        seed: which half of a photo's tiles makes its mean.

    Returns:
        The probe; None with fewer than two photos of two tiles or more.
    """
    if len(np.unique(photos)) < 2:
        return None
    rng = np.random.default_rng(seed)
    scaled = _standardise(features, features)
    means: list[Floats] = []
    asked: list[Floats] = []
    truth: list[int] = []
    for photo in np.unique(photos):
        members = rng.permutation(np.flatnonzero(photos == photo))
        if len(members) < 2:
            continue
        half = len(members) // 2
        asked.append(scaled[members[half:]])
        truth += [len(means)] * (len(members) - half)
        means.append(scaled[members[:half]].mean(axis=0))
    if len(means) < 2:
        return None
    distances = _distances(np.concatenate(asked), np.stack(means))
    right = distances.argmin(axis=1) == np.array(truth)
    return SourceProbe(len(means), len(truth), float(right.mean()), 1 / len(means))


def probe_split(
    features: Floats, photos: Ids, diseased: BoolArray, *, seed: int = 0
) -> SplitProbe | None:
    """Let nearest neighbours guess the photo's label of tiles, split by tiles and by photos.

    Args:
        features: (tiles, features).
        photos: (tiles,) the photo of each tile.
        diseased: (tiles,) whether the photo of each tile is diseased.
        seed: of the folds.

    Returns:
        The probe; None with fewer than ``FOLDS`` photos on either side.
    """
    rng = np.random.default_rng(seed)
    if len(photos) > _TILES_AT_MOST:
        kept = np.sort(rng.permutation(len(photos))[:_TILES_AT_MOST])
        features, photos, diseased = features[kept], photos[kept], diseased[kept]
    _, first = np.unique(photos, return_index=True)
    of_photo = diseased[first]
    if min(of_photo.sum(), (~of_photo).sum()) < FOLDS:
        return None
    folds_of_photo = _stratified_folds(of_photo, rng)
    by_photo = folds_of_photo[np.searchsorted(photos[first], photos)]
    by_tile = rng.permutation(np.arange(len(photos)) % FOLDS)
    aucs = [
        float(roc_auc(diseased, _neighbour_votes(features, diseased, folds))[0])
        for folds in (by_tile, by_photo)
    ]
    return SplitProbe(len(photos), *aucs)


def _stratified_folds(diseased: BoolArray, rng: np.random.Generator) -> Ids:
    folds = np.zeros(len(diseased), dtype=np.int64)
    for mask in (diseased, ~diseased):
        folds[rng.permutation(np.flatnonzero(mask))] = np.arange(mask.sum()) % FOLDS
    return folds


def _out_of_fold(features: Floats, targets: Floats, folds: Ids) -> Floats:
    """(photos, columns) scores of least squares with a ridge, all columns in one solution."""
    scores = np.zeros_like(targets)
    for fold in range(FOLDS):
        train, test = folds != fold, folds == fold
        inside = _standardise(features[train], features[train])
        outside = _standardise(features[test], features[train])
        middle = targets[train].mean(axis=0)
        gram = inside.T @ inside + _RIDGE * np.eye(inside.shape[1])
        weights = np.linalg.solve(gram, inside.T @ (targets[train] - middle))
        # Without the mean: it differs between folds by chance, and would rank them.
        scores[test] = outside @ weights
    return scores


def _neighbour_votes(features: Floats, diseased: BoolArray, folds: Ids) -> Floats:
    votes = np.zeros(len(diseased))
    scaled = _standardise(features, features)
    for fold in range(FOLDS):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        distances = _distances(scaled[test], scaled[train])
        nearest = np.argpartition(distances, min(NEIGHBOURS, len(train) - 1), axis=1)
        votes[test] = diseased[train][nearest[:, :NEIGHBOURS]].mean(axis=1)
    return votes


def _standardise(values: Floats, reference: Floats) -> Floats:
    spread = reference.std(axis=0)
    scaled: Floats = (values - reference.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return scaled


def _distances(a: Floats, b: Floats) -> Floats:
    squared: Floats = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return squared
