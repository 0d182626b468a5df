"""Features: angles, neighbours and flat views against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from leafscout.errors import InputError
from leafscout.evaluation.feature_space import (
    angle_histograms,
    cosine_matrix,
    nearest_photos,
    project_by_neighbours,
    project_by_variance,
)


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(30, 6)) * [5, 3, 1, 1, 0.5, 0.1]


def test_cosines_are_scikit_learns(features: np.ndarray) -> None:
    from sklearn.metrics.pairwise import cosine_similarity

    assert np.allclose(cosine_matrix(features), cosine_similarity(features))
    assert np.allclose(
        cosine_matrix(features[:4], features[5:]), cosine_similarity(features[:4], features[5:])
    )
    assert np.isnan(cosine_matrix(np.zeros((1, 3)), np.ones((1, 3)))).all()


def test_angles_by_hand() -> None:
    features = np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    truth = np.array([[1, 0], [0, 1], [0, 0]])
    first, second = angle_histograms(features, np.eye(2), truth, ["a", "b"], bins=4)
    assert first.positive.tolist() == [1, 0, 0, 0]
    assert first.negative.tolist() == [0, 0, 1, 1]
    assert first.negative_mean_deg == pytest.approx(135.0)
    assert second.positive_mean_deg == pytest.approx(0.0)
    with pytest.raises(InputError, match="2 centres"):
        angle_histograms(features, np.eye(3), truth, ["a", "b"])


def test_neighbours_are_scikit_learns(features: np.ndarray) -> None:
    from sklearn.neighbors import NearestNeighbors

    theirs = NearestNeighbors(n_neighbors=4, metric="cosine").fit(features)
    distances, indices = theirs.kneighbors(features[:5])
    found, cosines = nearest_photos(features, features[:5], 4)
    assert np.array_equal(found, indices)
    assert np.allclose(1 - cosines, distances)
    others, _ = nearest_photos(features, features, 3, skip_self=True)
    assert not (others == np.arange(30)[:, None]).any()
    with pytest.raises(InputError, match="from 1 to 29"):
        nearest_photos(features, features, 30, skip_self=True)


def test_principal_components_are_scikit_learns(features: np.ndarray) -> None:
    from sklearn.decomposition import PCA

    theirs = PCA(2).fit(features)
    found, shares = project_by_variance(features)
    assert np.allclose(np.abs(found), np.abs(theirs.transform(features)))
    assert np.allclose(shares, theirs.explained_variance_ratio_)
    with pytest.raises(InputError, match="at least 2"):
        project_by_variance(features[:1])


def test_groups_stay_together_and_the_seed_decides() -> None:
    rng = np.random.default_rng(0)
    groups = np.concatenate([rng.normal(c, 0.1, (10, 4)) for c in (0.0, 5.0)])
    found = project_by_neighbours(groups, seed=1)
    assert np.array_equal(found, project_by_neighbours(groups, seed=1))
    near = nearest_photos(found - found.mean(axis=0) + 1e3, found[:1] * 0 + 1e3, 1)[0]
    assert near.shape == (1, 1)
    distances = np.linalg.norm(found[:, None] - found[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert ((distances.argmin(axis=1) < 10) == (np.arange(20) < 10)).all()
    with pytest.raises(InputError, match="at least 4"):
        project_by_neighbours(groups[:3])


def test_who_is_near_in_the_flat_view_was_near_before() -> None:
    rng = np.random.default_rng(3)
    groups = np.concatenate([rng.normal(centre, 1.0, (40, 16)) for centre in (-4.0, 0.0, 4.0)])
    found = project_by_neighbours(groups, seed=0)
    assert trustworthiness(groups, found, n_neighbors=5) > 0.9
    assert trustworthiness(groups, rng.permutation(found), n_neighbors=5) < 0.7
