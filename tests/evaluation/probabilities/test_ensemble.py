import numpy as np
import pandas as pd
import pytest
from scipy.special import logit, softmax
from statsmodels.discrete.discrete_model import Logit
from statsmodels.tools import add_constant

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.probabilities.ensemble import calibrate_mean, unseen_means
from fusion_ln.predictions import Predictions, predictions_from_logits

CLASSES = ("a", "b", "c")
SHARES = np.array([0.28, 0.21, 0.51])
CENTRES = 1.2 * np.array([[2, 0, 0], [0, 1.3, 0.3], [0, 0.2, 1.8]])
BIAS = np.array([0.4, 0.3, -0.6])  # as over-sampling gives
FOLDS = 5


def draw(rng, n):
    """Labels, and logits of their exact posterior."""
    labels = rng.choice(3, size=n, p=SHARES)
    seen = rng.normal(size=(n, 3)) + CENTRES[labels]
    return labels, -0.5 * np.square(seen[:, None] - CENTRES).sum(axis=2) + np.log(SHARES)


def fold_logits(rng, exact, noise=1.0, sharpness=1.0):
    """Logits of each fold's model: biased, with an error of its own. Shape (K, P, C)."""
    return sharpness * exact + BIAS + noise * rng.normal(size=(FOLDS, *exact.shape))


def study(rng, labels, logits):
    """Out-of-fold predictions, and those of 15 % of each fold's other patients."""
    n = len(labels)
    names, folds = np.array([f"P{i:04}" for i in range(n)]), rng.permutation(np.arange(n) % FOLDS)
    held_out = predictions_from_logits(CLASSES, names, folds, labels, logits[folds, np.arange(n)])
    parts = []
    for fold in range(FOLDS):
        others = np.flatnonzero(folds != fold)
        chosen = rng.choice(others, len(others) * 15 // 100, replace=False)
        own = (np.full(len(chosen), fold), labels[chosen], logits[fold, chosen])
        parts.append(predictions_from_logits(CLASSES, names[chosen], *own).table)
    return held_out, Predictions(CLASSES, pd.concat(parts))


def slope(probs, labels, c):
    """Calibration slope of a class (Cox 1958), by another library."""
    return Logit(labels == c, add_constant(logit(np.clip(probs[:, c], 1e-9, 1 - 1e-9)))).fit(disp=0).params[1]


@pytest.mark.parametrize(("noise", "sharpness"), [(1.0, 1.0), (0.6, 0.6), (1.5, 1.8)])
def test_the_calibrated_mean_has_a_slope_of_one_for_new_patients(rng, noise, sharpness):
    slopes, before = [], []
    for _ in range(12):
        labels, exact = draw(rng, 586)
        calibration = calibrate_mean(*study(rng, labels, fold_logits(rng, exact, noise, sharpness)), FOLDS)
        new, exact = draw(rng, 3000)
        means = softmax(fold_logits(rng, exact, noise, sharpness), axis=2).mean(axis=0)
        slopes.append([slope(calibration.apply(means), new, c) for c in range(3)])
        before.append([slope(means, new, c) for c in range(3)])
    assert np.abs(np.mean(slopes, axis=0) - 1).max() < 0.12  # its standard error is 0.05
    assert np.abs(np.mean(before, axis=0) - 1).max() > 0.15


def test_a_patient_counts_once_for_each_number_of_unseen_models(rng):
    labels, exact = draw(rng, 90)
    logits = fold_logits(rng, exact)
    held_out, inner = study(rng, labels, logits)
    means = unseen_means(held_out, inner)
    folds = inner.table.groupby("patient_id")["fold"].apply(set)
    for size in (1, 2, 3):
        expected = sum(1 for patient in held_out.patients if len(folds.get(patient, ())) + 1 >= size)
        assert means.weights[means.models == size].sum() == pytest.approx(expected)
    alone = unseen_means(held_out, Predictions(CLASSES, inner.table.iloc[:0]))
    np.testing.assert_allclose(alone.probs, held_out.probs)


def test_offsets_take_a_bias_of_classes_back(rng):
    labels, exact = draw(rng, 3000)
    exact = np.broadcast_to(exact + BIAS, (FOLDS, *exact.shape))
    calibration = calibrate_mean(*study(rng, labels, exact), FOLDS)
    assert calibration.slope == pytest.approx(1, abs=0.2)  # extrapolated from one and two models to five
    np.testing.assert_allclose(calibration.offsets, BIAS.mean() - BIAS, atol=0.3)
    np.testing.assert_allclose(calibration.shares, np.bincount(labels) / 3000)


def test_a_missing_class_is_named(rng):
    labels, exact = draw(rng, 60)
    labels[labels == 1] = 0
    with pytest.raises(PredictionsError, match="class 'b' has 0"):
        calibrate_mean(*study(rng, labels, fold_logits(rng, exact)), FOLDS)
