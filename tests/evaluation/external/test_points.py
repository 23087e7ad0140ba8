import numpy as np
import pytest

from fusion_ln.evaluation.external.points import FEWEST_TUNED_ON, learn_points, malignant_classes, rates_at

CLASSES = ("benign", "lymphoma", "metastatic")


def draw(rng, n=400):
    labels = rng.integers(0, 3, n)
    logits = rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[labels]
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_points_keep_their_share_on_the_patients_who_taught_them(rng):
    """The thresholds are as far out as they may be: the next patient's risk would break the share."""
    labels, probs = draw(rng)
    sensitive, specific = learn_points(CLASSES, labels, probs)
    risk, diseased = 1 - probs[:, 0], labels != 0
    assert (
        (risk[diseased] >= sensitive.threshold - 1e-12).mean() >= 0.95 > (risk[diseased] > sensitive.threshold).mean()
    )
    assert (risk[~diseased] < specific.threshold).mean() >= 0.9
    assert specific.sensitivity.value < sensitive.sensitivity.value
    assert specific.specificity.low < specific.specificity.value < specific.specificity.high


def test_each_class_has_its_points_where_none_is_benign(rng):
    labels, probs = draw(rng)
    points = learn_points(("a", "b", "c"), labels, probs)
    assert [point.name for point in points[:3]] == ["a-sensitive", "a-specific", "b-sensitive"]
    assert malignant_classes(("a", "b")) == () == malignant_classes(("benign", "normal"))


def test_no_threshold_is_chosen_on_a_handful(rng):
    labels, probs = draw(rng)
    few = np.r_[np.flatnonzero(labels == 0)[: FEWEST_TUNED_ON - 1], np.flatnonzero(labels > 0)]
    assert learn_points(CLASSES, labels[few], probs[few]) == ()


def test_rates_count_the_tests_patients():
    found, spared = rates_at(np.array([0.9, 0.2, 0.5, 0.1]), np.array([True, True, False, False]), 0.5)
    assert (found.hits, found.n, spared.hits, spared.n) == (1, 2, 1, 2)
    assert found.value == pytest.approx(0.5)
