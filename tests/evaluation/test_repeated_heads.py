import numpy as np
import pytest
from repeated_heads import RESAMPLES, SPECIFICITY, by_rule, recall_at_specificity

from fusion_ln.predictions import predictions_from_logits


def test_recall_at_a_specificity_leaves_that_share_of_the_others_below(rng):
    positive = np.arange(300) % 3 == 0
    scores = rng.normal(size=300) + positive
    found = recall_at_specificity(scores, positive)
    others = np.sort(scores[~positive])
    expected = (scores[positive] > others[round(SPECIFICITY * len(others)) - 1]).mean()
    assert found[0] == pytest.approx(expected, abs=0.02)
    assert len(found) == 1 + RESAMPLES
    assert found[1:].std() == pytest.approx(np.sqrt(expected * (1 - expected) / 100), rel=0.5)


@pytest.mark.parametrize("head", ["concat", "late-product"])
def test_the_two_rules_differ_by_the_prior(head, rng):
    classes, prior = ("benign", "lymphoma", "metastatic"), np.array([0.5, 0.2, 0.3])
    patients, labels = [f"P{i}" for i in range(9)], np.arange(9) % 3
    given = predictions_from_logits(classes, patients, np.zeros(9), labels, rng.normal(size=(9, 3)))
    balanced, prevalence = (by_rule(given, prior, head, rule).probs for rule in ("balanced", "prevalence"))
    joint = balanced * prior
    np.testing.assert_allclose(prevalence, joint / joint.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(prevalence if head == "late-product" else balanced, given.probs)
