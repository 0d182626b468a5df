from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.errors import InputError
from leafscout.photos.labels import LabelTable
from leafscout.photos.splits import assign_folds, merge_groups, split_photos


def make_table(truth, splits=None, groups=None):
    truth = np.asarray(truth, dtype=bool)
    n, labels = truth.shape
    return LabelTable(
        paths=tuple(Path(f"{i}.jpg") for i in range(n)),
        names=tuple(f"{i}.jpg" for i in range(n)),
        labels=tuple(f"d{i}" for i in range(labels)),
        truth=truth,
        groups=tuple(groups or [None] * n),
        splits=tuple(splits or [None] * n),
        rows=tuple(range(2, n + 2)),
        exclusive=bool((truth.sum(1) <= 1).all()),
        complete=True,
        healthy_names=("healthy",),
        source=Path("labels.csv"),
        form="a column of labels",
    )


def draw_truth(seed, photos, labels):
    rng = np.random.default_rng(seed)
    return rng.random((photos, labels)) < rng.uniform(0.02, 0.5, labels)


tables = st.tuples(st.integers(0, 10_000), st.integers(5, 120), st.integers(1, 5))


def test_groups_are_joined_with_near_duplicates():
    groups = ["a", None, "b", "a", None, None, "c"]
    merged = merge_groups(groups, [[1, 2], [5, 4]])
    assert merged.tolist() == [0, 1, 1, 0, 2, 2, 3]
    assert merge_groups([None] * 3).tolist() == [0, 1, 2]
    assert merge_groups(["x", None, "y"], [[0, 1], [1, 2]]).tolist() == [0, 0, 0]
    assert merge_groups([]).tolist() == []


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), photos=st.integers(1, 40))
def test_merged_groups_are_the_connected_components(seed, photos):
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rng = np.random.default_rng(seed)
    groups = [None if g == 0 else str(g) for g in rng.integers(0, 12, photos)]
    pairs = rng.integers(0, photos, (photos // 4, 2))
    named = [(i, groups.index(g)) for i, g in enumerate(groups) if g is not None]
    edges = np.array([*named, *map(tuple, pairs), (0, 0)])
    graph = coo_matrix((np.ones(len(edges)), edges.T), shape=(photos, photos))
    _, expected = connected_components(graph, directed=False)
    merged = merge_groups(groups, pairs.tolist())
    same = merged[:, None] == merged[None]
    np.testing.assert_array_equal(same, expected[:, None] == expected[None])


@settings(max_examples=50, deadline=None)
@given(shape=tables, val_frac=st.sampled_from([0.1, 0.2, 0.5]), group_size=st.integers(1, 4))
def test_groups_stay_whole_and_labels_are_on_both_sides(shape, val_frac, group_size):
    truth = draw_truth(*shape)
    table = make_table(truth)
    groups = np.random.default_rng(shape[0]).integers(
        0, max(2, len(truth) // group_size), len(truth)
    )
    splits = split_photos(table, groups=groups, val_frac=val_frac, seed=3)
    assert set(splits) <= {"train", "val"}
    for group in np.unique(groups):
        assert len(set(splits[groups == group])) == 1
    np.testing.assert_array_equal(
        splits, split_photos(table, groups=groups, val_frac=val_frac, seed=3)
    )
    columns = np.column_stack([truth, ~truth.any(1)])
    missing = sum(
        not column[splits == side].any()
        for column in columns.T
        if len(np.unique(groups[column])) >= 2
        for side in ("train", "val")
    )
    assert missing == 0 or best_missing(columns, groups) > 0


def best_missing(columns, groups):
    """Whether some labels cannot be on both sides at once; only asked for few groups."""
    ids = np.unique(groups)
    if len(ids) > 10:
        return 0
    shows = np.array([[c[groups == g].any() for c in columns.T] for g in ids])
    shows = shows[:, shows.sum(0) >= 2]
    return min(
        int((~shows[side].any(0)).sum() + (~shows[~side].any(0)).sum())
        for code in range(2 ** len(ids))
        for side in [np.array([(code >> i) & 1 for i in range(len(ids))], dtype=bool)]
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_shares_are_kept_for_every_label(seed):
    truth = draw_truth(seed, 400, 4)
    splits = split_photos(
        make_table(truth), groups=range(400), val_frac=0.2, test_frac=0.1, seed=seed
    )
    for column in np.column_stack([truth, ~truth.any(1)]).T:
        for side, share in (("val", 0.2), ("test", 0.1)):
            wanted = share * column.sum()
            assert abs((column & (splits == side)).sum() - wanted) <= max(2, 0.25 * wanted)


def test_another_seed_gives_another_split():
    table = make_table(draw_truth(0, 60, 2))
    one, other = (split_photos(table, groups=range(60), seed=seed) for seed in (0, 1))
    assert (one != other).any()


def test_two_photos_of_a_label_are_learned_and_validated():
    truth = np.zeros((50, 2), dtype=bool)
    truth[:2, 0] = True
    truth[10:30, 1] = True
    for seed in range(10):
        splits = split_photos(make_table(truth), groups=range(50), seed=seed)
        assert set(splits[:2]) == {"train", "val"}


def test_one_photo_of_a_label_is_learned_from():
    truth = np.zeros((30, 2), dtype=bool)
    truth[0, 0] = True
    truth[10:20, 1] = True
    for seed in range(10):
        assert split_photos(make_table(truth), groups=range(30), seed=seed)[0] == "train"


def test_given_splits_are_kept():
    truth = draw_truth(1, 30, 2)
    given_splits = ["train"] * 15 + ["val"] * 10 + ["test"] * 5
    table = make_table(truth, splits=given_splits)
    assert split_photos(table, groups=range(30)).tolist() == given_splits


def test_validation_is_cut_from_train_where_it_is_missing():
    truth = draw_truth(2, 100, 2)
    table = make_table(truth, splits=["train"] * 80 + ["test"] * 20)
    groups = np.arange(100) // 2
    splits = split_photos(table, groups=groups, val_frac=0.25)
    assert set(splits[80:]) == {"test"}
    assert 16 <= (splits[:80] == "val").sum() <= 24
    assert all(len(set(splits[groups == g])) == 1 for g in np.unique(groups))


def test_impossible_splits_are_refused():
    table = make_table(draw_truth(0, 20, 2))
    with pytest.raises(InputError, match=r"leave some photos for training, but got 0.7 and 0.3"):
        split_photos(table, groups=range(20), val_frac=0.7, test_frac=0.3)
    with pytest.raises(InputError, match="Expected one group for each of 20 photos"):
        split_photos(table, groups=range(19))
    half = make_table(table.truth, splits=["train"] * 10 + [None] * 10)
    with pytest.raises(InputError, match="10 of 20 photos have no split"):
        split_photos(half, groups=range(20))
    with pytest.raises(InputError, match="but got 5 folds and 4 groups"):
        assign_folds(table, groups=np.arange(20) % 4, folds=5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), folds=st.integers(2, 5))
def test_folds_are_even_and_keep_groups_whole(seed, folds):
    truth = draw_truth(seed, 120, 3)
    groups = np.arange(120) // 2
    parts = assign_folds(make_table(truth), groups=groups, folds=folds, seed=seed)
    assert set(parts.tolist()) == set(range(folds))
    assert (parts[::2] == parts[1::2]).all()
    for column in truth.T:
        if len(np.unique(groups[column])) >= folds:
            assert set(parts[column]) == set(range(folds))
    sizes = np.bincount(parts)
    assert sizes.max() - sizes.min() <= 0.35 * 120 / folds + 4
