from types import SimpleNamespace

import numpy as np
import pytest
from missing_cells import Exam, weighted_auc
from missing_masks import Pattern
from sklearn.metrics import roc_auc_score

from fusion_ln.cohort.phantom.findings import given_presence, posterior, seen_by_class, tables
from fusion_ln.cohort.phantom.patients import chances_by_class, draw_patients, draw_present
from fusion_ln.terms import subsets

ALL = tables().modalities
PATTERNS = [Pattern("random", 25), Pattern("random", 75), Pattern("linked", 50), Pattern("cdfi", 50)]


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_a_pattern_breaks_the_share_of_triplets_that_it_names(pattern, rng):
    labels = rng.choice(3, 20_000, p=tables().prevalence)
    present = draw_present(labels, pattern.missing, pattern.link, rng)
    assert 1 - present.all(axis=1).mean() == pytest.approx(pattern.broken / 100, abs=0.02)
    assert set(np.array(ALL)[~present.all(axis=0)]) == set(pattern.broken_modalities)
    by_class = [1 - present[labels == c].all(axis=1).mean() for c in range(3)]
    assert (by_class[0] > by_class[2] + 0.1) == (pattern.kind == "linked")


def test_weighted_auc_is_scikit_learns(rng):
    scores, positive, weights = rng.normal(size=60), rng.random(60) < 0.4, rng.random((3, 60))
    expected = [roc_auc_score(positive, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(weighted_auc(scores, positive, weights), expected)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_the_exact_posterior_attains_the_ceiling_of_a_cell(pattern):
    """Answers are exact probabilities, told apart by a little noise where they tie."""
    patients, rng = draw_patients(300, ["A"], np.random.default_rng(0)), np.random.default_rng(1)
    exam = Exam(SimpleNamespace(patients=patients), pattern)
    chances = seen_by_class(ALL, ALL, chances_by_class(pattern.missing, pattern.link))
    exact = [
        given_presence(posterior(patients, subset), chances.get(subset, np.ones(3))) for subset in subsets(ALL).values()
    ]
    logits = np.log(np.array(exact)) + rng.normal(scale=1e-9, size=(7, 300, 3))
    assert exam.score_folds(logits[None])[0] == pytest.approx(exam.ceiling, abs=0.003)
    gain, low, high = exam.compare([logits[None]], [rng.normal(size=(1, 7, 300, 3))])
    assert 0.2 < low < gain < high
