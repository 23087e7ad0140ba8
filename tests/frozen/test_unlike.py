"""Pictures unlike all that a model learnt from."""

import numpy as np
import pytest

from fusion_ln.frozen.unlike import FLAGGED, KEPT_DIRECTIONS, learn_moments, learn_threshold


def test_the_distance_is_that_of_mahalanobis_to_the_nearest_class(rng):
    labels = np.arange(300) % 3
    centres, mixing = 3 * rng.normal(size=(3, 4)), rng.normal(size=(4, 4))
    features = centres[labels] + rng.normal(size=(300, 4)) @ mixing
    new = 4 * rng.normal(size=(20, 4))
    means = np.stack([features[labels == c].mean(axis=0) for c in range(3)])
    away = features - means[labels]
    inverse = np.linalg.inv(away.T @ away / (300 - 3))
    expected = [min(np.sqrt((x - mean) @ inverse @ (x - mean) / 4) for mean in means) for x in new]
    np.testing.assert_allclose(learn_moments(features, labels).distances(new), expected, rtol=1e-4)


def test_what_leads_out_of_the_space_of_the_training_pictures_is_far(rng):
    """Here they fill 20 of 200 directions; a step of the same length beside them is no picture of theirs."""
    within = rng.normal(size=(100, 20)) @ rng.normal(size=(20, 200))
    moments = learn_moments(within + 0.01 * rng.normal(size=within.shape), np.zeros(100, int))
    same = rng.normal(size=(50, 20)) @ rng.normal(size=(20, 200))
    assert moments.distances(same).min() > 5 * moments.distances(within).max()
    assert len(moments.directions) <= KEPT_DIRECTIONS


@pytest.mark.parametrize("n_models", [1, 5])
def test_of_patients_like_those_of_the_study_few_are_flagged(rng, n_models):
    """Whichever model finds them farthest; distances to several models of one study go together, or do not."""
    for shared in (0.0, 0.9):
        shares = []
        for _ in range(200):
            own = rng.normal(size=(450, 1)) * np.sqrt(shared)
            distances = np.exp(own + np.sqrt(1 - shared) * rng.normal(size=(450, n_models)))
            threshold = learn_threshold(distances[:300, 0], n_models)
            shares.append((distances[300:].max(axis=1) > threshold).mean())
        assert np.mean(shares) <= FLAGGED + 0.01


def test_a_class_of_one_picture_has_no_centre(rng):
    features, labels = rng.normal(size=(21, 5)), np.array([0] * 10 + [1] * 10 + [2])
    moments = learn_moments(features, labels)
    assert len(moments.centres) == 2
    assert not np.isclose(moments.centres, features[20]).all(axis=1).any()
