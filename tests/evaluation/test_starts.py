"""Gains from starting weights, from predictions alone."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fusion_ln.errors import RunError
from fusion_ln.evaluation.starts import Baseline, compare_weights
from fusion_ln.predictions import predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")


def baseline(rng, weights: str, seed: int, skill: float, n: int = 60) -> Baseline:
    labels = np.arange(n) % 3
    logits = rng.normal(size=(n, 3)) + skill * np.eye(3)[labels]
    patients = [f"P{i:03d}" for i in range(n)]
    predictions = predictions_from_logits(CLASSES, patients, np.arange(n) % 5, labels, logits)
    return Baseline("resnet", "2d", weights, seed, (("epochs", 4),), predictions)


@pytest.fixture
def baselines(rng):
    return [
        baseline(rng, weights, seed, skill) for weights, skill in (("scratch", 0.5), ("web", 1.5)) for seed in (0, 1)
    ]


def test_a_gain_is_the_difference_of_the_mean_aucs_over_the_seeds(baselines):
    [gain] = compare_weights(baselines, n_resamples=200)
    held = [each.predictions for each in baselines]
    aucs = np.array([roc_auc_score(each.labels, each.probs, multi_class="ovr") for each in held]).reshape(2, 2)
    assert (gain.reference, gain.weights, gain.patients) == ("scratch", "web", 60)
    assert (gain.auc_reference, gain.auc) == pytest.approx(tuple(aucs.mean(axis=1)))
    assert gain.by_seed == pytest.approx(tuple(aucs[1] - aucs[0]))
    assert gain.ci_low < gain.difference < gain.ci_high


def test_starts_with_other_settings_or_seeds_are_refused(baselines):
    other = [*baselines[:3], replace(baselines[3], others=(("epochs", 5),))]
    with pytest.raises(RunError, match="differ in more than their weights"):
        compare_weights(other)
    with pytest.raises(RunError, match="differ in more than their weights"):
        compare_weights(baselines[:3])
