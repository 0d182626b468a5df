"""Splits that keep groups whole and every label on every side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.photos.label_table import LabelTable

IntArray = NDArray[np.int64]

_TRIES = 30


def merge_groups(
    groups: Sequence[str | None], near_duplicates: Iterable[Sequence[int]] = ()
) -> IntArray:
    """Number the groups that must stay whole: those of the user joined with near-duplicates.

    Args:
        groups: the user's group of each photo; a photo with None stands alone.
        near_duplicates: lists of indices of photos that show the same.

    Returns:
        (photos,) group numbers from 0, in the order of first appearance.
    """
    parent = list(range(len(groups)))

    def find(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[str, int] = {}
    for index, group in enumerate(groups):
        if group is not None:
            parent[find(index)] = find(first.setdefault(group, index))
    for alike in near_duplicates:
        for index in alike[1:]:
            parent[find(index)] = find(alike[0])
    numbers: dict[int, int] = {}
    return np.array(
        [numbers.setdefault(find(i), len(numbers)) for i in range(len(groups))], dtype=np.int64
    )


def split_photos(
    table: LabelTable,
    *,
    groups: Sequence[int] | IntArray,
    val_frac: float = 0.2,
    test_frac: float = 0.0,
    seed: int = 0,
) -> NDArray[np.str_]:
    """Split photos for training, validation and testing.

    Splits that the table gives are kept; where it gives none for validation, that is cut from
    ``train``. A table that holds nothing but ``train`` gives none. Otherwise groups are dealt out
    by iterative stratification (Sechidis et al. 2011), rarest label first, healthy counted as a
    label; then groups are moved where a label would otherwise be missing on a side although it has
    enough groups.

    Args:
        table: the photos.
        groups: (photos,) what must stay on one side, see ``merge_groups``.
        val_frac: share of photos for validation, 0..1; of ``train`` where that is given.
        test_frac: share of photos for testing, 0..1; not used where splits are given.
        seed: the same seed gives the same split.

    Returns:
        (photos,) ``train``, ``val`` or ``test``.

    Raises:
        InputError: when the shares leave nothing for training, or only some photos have a split.
    """
    if min(val_frac, test_frac) < 0 or val_frac + test_frac >= 1:
        raise InputError(
            "Expected shares for validation and testing from 0 that leave some photos for "
            f"training, but got {val_frac:g} and {test_frac:g}."
        )
    group_ids = _check_groups(groups, len(table))
    given = set(table.splits)
    if given - {None} and given != {"train"}:
        return _keep_given(table, group_ids, val_frac, seed)
    names = np.array(["train", "val", "test"])
    fractions = np.array([1 - val_frac - test_frac, val_frac, test_frac])
    used = fractions > 0
    return names[used][_deal(table, group_ids, fractions[used], seed)]


def assign_folds(
    table: LabelTable, *, groups: Sequence[int] | IntArray, folds: int, seed: int = 0
) -> IntArray:
    """Deal photos out to folds of about equal size, stratified and with groups kept whole.

    Args:
        table: the photos.
        groups: (photos,) what must stay in one fold, see ``merge_groups``.
        folds: their number, from 2.
        seed: the same seed gives the same folds.

    Returns:
        (photos,) fold of each photo, from 0.

    Raises:
        InputError: when there are fewer groups than folds.
    """
    group_ids = _check_groups(groups, len(table))
    count = len(np.unique(group_ids))
    if folds < 2 or count < folds:
        raise InputError(
            f"Expected 2 folds or more and at least as many groups of photos, but got {folds} "
            f"folds and {count} groups."
        )
    return _deal(table, group_ids, np.full(folds, 1 / folds), seed)


def _check_groups(groups: Sequence[int] | IntArray, photos: int) -> IntArray:
    group_ids = np.asarray(groups, dtype=np.int64)
    if group_ids.shape != (photos,):
        raise InputError(
            f"Expected one group for each of {photos} photos, but got {group_ids.shape}."
        )
    return group_ids


def _keep_given(
    table: LabelTable, groups: IntArray, val_frac: float, seed: int
) -> NDArray[np.str_]:
    without = table.splits.count(None)
    if without:
        raise InputError(
            f"{table.source}: {without} of {len(table)} photos have no split. Give a split to all "
            "of them or to none."
        )
    splits = np.array([str(split) for split in table.splits])
    if "val" in splits or val_frac == 0:
        return splits
    train = np.flatnonzero(splits == "train")
    fractions = np.array([1 - val_frac, val_frac])
    parts = _deal(table.subset(train), groups[train], fractions, seed)
    splits[train[parts == 1]] = "val"
    return splits


def _deal(
    table: LabelTable, groups: IntArray, fractions: NDArray[np.float64], seed: int
) -> IntArray:
    """Deal whole groups out to parts; (photos,) part of each photo."""
    if len(table) == 0:
        return np.zeros(0, dtype=np.int64)
    columns = np.column_stack([table.truth, table.healthy]).astype(np.int64)
    _, of_photo = np.unique(groups, return_inverse=True)
    sizes = np.bincount(of_photo)
    counts = np.zeros((len(sizes), columns.shape[1]), dtype=np.int64)
    np.add.at(counts, of_photo, columns)
    rng = np.random.default_rng(seed)
    # Large groups first: small ones can still even out what those leave.
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    best = _stratify(counts, sizes, fractions, order, rng)
    best_lacking = _cover(counts, sizes, best, len(fractions))
    for _ in range(_TRIES):
        if not best_lacking:
            break
        # Few groups with several labels each: single moves got stuck, so start elsewhere.
        parts = rng.choice(len(fractions), size=len(sizes), p=fractions)
        lacking = _cover(counts, sizes, parts, len(fractions))
        if lacking < best_lacking:
            best, best_lacking = parts, lacking
    return best[of_photo]


def _stratify(
    counts: IntArray,
    sizes: IntArray,
    fractions: NDArray[np.float64],
    order: IntArray,
    rng: np.random.Generator,
) -> IntArray:
    """Iterative stratification of groups.

    Args:
        counts: (groups, labels) photos of a group that show a label.
        sizes: (groups,) photos of a group.
        fractions: (parts,) wanted share of each part; they sum to 1.
        order: (groups,) which group comes first among those of a label.
        rng: breaks ties.

    Returns:
        (groups,) part of each group.
    """
    wanted = fractions[:, None] * counts.sum(axis=0)
    wanted_photos = fractions * sizes.sum()
    parts = np.full(len(sizes), -1, dtype=np.int64)
    while (parts < 0).any():
        left = counts[parts < 0].sum(axis=0)
        label = int(np.argmin(np.where(left > 0, left, np.iinfo(np.int64).max)))
        for group in order[(parts[order] < 0) & (counts[order, label] > 0)]:
            need = wanted[:, label]
            best = np.flatnonzero(need >= need.max() - 1e-9)
            best = best[wanted_photos[best] >= wanted_photos[best].max() - 1e-9]
            part = int(rng.choice(best))
            parts[group] = part
            wanted[part] -= counts[group]
            wanted_photos[part] -= sizes[group]
    return parts


def _cover(counts: IntArray, sizes: IntArray, parts: IntArray, n_parts: int) -> int:
    """Move groups, in place, until every label with enough groups is in every part.

    A label with fewer groups than parts is wanted in the first ones: training before validation.
    Labels that can be both learned and validated come before those of a single group.

    Returns:
        The weight of what is still missing, 0 for nothing.
    """
    shows = counts > 0
    enough = np.arange(n_parts)[:, None] < shows.sum(axis=0)
    weights = np.where(shows.sum(axis=0) > 1, counts.shape[1] + 1, 1)

    def missing() -> int:
        have = np.stack([shows[parts == part].any(axis=0) for part in range(n_parts)])
        return int(((enough & ~have) * weights).sum())

    lacking = missing()
    while lacking:
        best = (lacking, 0, -1, -1)
        for part in range(n_parts):
            lacks = enough[part] & ~shows[parts == part].any(axis=0)
            for group in np.flatnonzero((parts != part) & shows[:, lacks].any(axis=1)):
                before, parts[group] = parts[group], part
                best = min(best, (missing(), int(sizes[group]), int(group), part))
                parts[group] = before
        if best[0] >= lacking:
            break
        lacking, _, moved, to_part = best
        parts[moved] = to_part
    return lacking
