import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.probabilities.maps import Shrinkage, calibrate, fit_map
from fusion_ln.predictions import Predictions, predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")
NEVER = 1e9
SHIFT = np.array([0.8, 0, -0.8])
BLEND = np.array([[1, 0.4, 0], [0, 1, 0], [0, 0.5, 1]])


def draw(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Exact logits, centred, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(n, 3))
    return logits - logits.mean(axis=1, keepdims=True), (logits + rng.gumbel(size=(n, 3))).argmax(axis=1)


def model(n: int = 200, bend=lambda logits: logits, seed: int = 0) -> Predictions:
    logits, labels = draw(n, seed)
    return predictions_from_logits(CLASSES, [f"P{i:05d}" for i in range(n)], np.arange(n) % 2, labels, bend(logits))


class GivenLogits(ClassifierMixin, BaseEstimator):
    """A classifier whose input is its output."""

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, x):
        return x

    def predict(self, x):
        return self.classes_[x.argmax(axis=1)]


def test_alone_the_temperature_is_the_one_that_scikit_learn_finds():
    logits, labels = draw(200)
    logits = 2.5 * logits
    frozen = FrozenEstimator(GivenLogits().fit(logits, labels))
    calibrated = CalibratedClassifierCV(frozen, method="temperature").fit(logits, labels)
    beta = calibrated.calibrated_classifiers_[0].calibrators[0].beta_
    found = fit_map(softmax(logits, axis=1), labels, CLASSES, Shrinkage(0, NEVER, NEVER))
    assert found.slope == pytest.approx(beta, rel=1e-3)
    assert found.offsets == pytest.approx(np.zeros(3), abs=1e-4)


def test_a_map_is_the_optimum_of_its_penalised_likelihood():
    """Nothing near it is better; without a ridge it is scikit-learn's regression on the log probabilities."""
    logits, labels = draw(300)
    ridge = 5.0
    found = fit_map(softmax(logits, axis=1), labels, CLASSES, Shrinkage(NEVER, 1e-6, ridge))

    def penalised(matrix, offsets):
        loss = -log_softmax(logits @ matrix.T + offsets, axis=1)[np.arange(300), labels].sum()
        return loss + ridge / 2 * np.square(matrix - np.eye(3)).sum()

    best = penalised(found.matrix, found.offsets)
    rng = np.random.default_rng(0)
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(20):
            away = size * rng.normal(size=(3, 4))
            assert penalised(found.matrix + away[:, :3], found.offsets + away[:, 3]) > best
    free = fit_map(softmax(logits, axis=1), labels, CLASSES, Shrinkage(1e-6, 1e-6, 1e-6))
    reference = LogisticRegression(C=1e6, max_iter=5000, tol=1e-8).fit(logits, labels)
    np.testing.assert_allclose(free.apply(softmax(logits, axis=1)), reference.predict_proba(logits), atol=2e-3)


@pytest.mark.parametrize(
    "bend",
    [lambda z: 3 * z, lambda z: z + SHIFT, lambda z: z @ BLEND],
)
def test_many_patients_undo_what_bent_the_probabilities(bend):
    logits, labels = draw(20_000)
    found = fit_map(softmax(bend(logits), axis=1), labels, CLASSES)
    fresh, _ = draw(500, seed=1)
    np.testing.assert_allclose(found.apply(softmax(bend(fresh), axis=1)), softmax(fresh, axis=1), atol=0.05)


def test_few_patients_end_at_the_temperature():
    logits, labels = draw(20)
    few = fit_map(softmax(3 * logits, axis=1), labels, CLASSES)
    logits, labels = draw(5000)
    many = fit_map(softmax(3 * (logits + SHIFT), axis=1), labels, CLASSES)
    assert np.abs(few.mixing).max() < 0.1
    assert np.abs(few.offsets).max() < 0.6
    assert np.ptp(many.offsets) == pytest.approx(1.6, rel=0.1)


def test_a_model_that_is_always_right_gets_a_finite_map():
    labels = np.array([0, 1, 2, 0, 1, 2])
    found = fit_map(np.eye(3)[labels], labels, CLASSES)
    assert np.isfinite(found.matrix).all()
    assert (found.apply(np.eye(3)).argmax(axis=1) == [0, 1, 2]).all()


def test_each_fold_is_calibrated_by_its_own_inner_patients():
    predictions, sharp, mild = model(), model(bend=lambda z: 4 * z, seed=1), model(seed=2)
    inner = Predictions(CLASSES, sharp.table.assign(fold=0))
    inner.table.loc[100:] = mild.table.assign(fold=1).loc[100:]
    found = calibrate(predictions, inner)
    assert found.maps[0].temperature > 2 * found.maps[1].temperature
    assert found.maps[0].patients == 100
    own = fit_map(sharp.probs[:100], sharp.labels[:100], CLASSES)
    for fold in (0, 1):
        part = predictions.folds == fold
        np.testing.assert_allclose(found.predictions.probs[part], found.maps[fold].apply(predictions.probs[part]))
    np.testing.assert_allclose(found.maps[0].matrix, own.matrix)
    assert found.predictions.patients == predictions.patients
    assert found.raw is predictions


def test_a_model_fitted_to_the_inner_patients_keeps_its_probabilities():
    found = calibrate(model(bend=lambda z: 4 * z), model(bend=lambda z: 4 * z, seed=1), learn=False)
    np.testing.assert_allclose(found.predictions.probs, found.raw.probs, atol=1e-7)
    odds = found.at(np.array([0.5, 0.25, 0.25])).probs / found.predictions.probs
    assert np.ptp(odds, axis=1).max() > 0.1  # it is still shifted to another prevalence


def test_the_held_out_labels_have_no_say_in_the_map():
    predictions, inner = model(), model(seed=1)
    shuffled = Predictions(CLASSES, predictions.table.assign(label=predictions.labels[::-1]))
    np.testing.assert_array_equal(
        calibrate(predictions, inner).predictions.probs, calibrate(shuffled, inner).predictions.probs
    )


def test_another_prevalence_shifts_by_the_calibration_patients_shares():
    """Posterior odds change by the ratio of the prior odds, whatever shares the training saw (Saerens et al. 2002)."""
    inner = model(seed=1)
    inner = Predictions(CLASSES, inner.table[(inner.labels != 2) | (np.arange(200) % 3 == 0)])
    found = calibrate(model(), inner)
    prevalence = np.array([0.7, 0.1, 0.2])
    shifted, before = found.at(prevalence).probs, found.predictions.probs
    for fold in (0, 1):
        part, counts = found.raw.folds == fold, np.bincount(inner.labels[inner.folds == fold])
        odds = (prevalence[0] / prevalence[2]) / (counts[0] / counts[2])
        np.testing.assert_allclose(shifted[part, 0] / shifted[part, 2], before[part, 0] / before[part, 2] * odds)
    np.testing.assert_allclose(shifted.sum(axis=1), 1)


def test_a_fold_without_inner_patients_or_without_a_class_is_refused():
    with pytest.raises(PredictionsError, match="fold 1 has no inner validation"):
        calibrate(model(), Predictions(CLASSES, model().table.query("fold == 0")))
    with pytest.raises(PredictionsError, match="inner validation of fold 1: class 'lymphoma' has 0"):
        calibrate(model(), Predictions(CLASSES, model().table.query("fold == 0 or label != 1")))
