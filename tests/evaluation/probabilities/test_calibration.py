import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.probabilities.calibration import (
    calibration_by_class,
    fit_temperature,
    reliability,
    scale_by_fold,
)
from fusion_ln.metrics import score
from fusion_ln.predictions import Predictions, predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")


def model(n: int = 200, sharpness: float = 1.0, seed: int = 0) -> Predictions:
    """Labels are drawn from the probabilities, so `sharpness` 1 is perfectly calibrated."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(n, 3))
    labels = (logits + rng.gumbel(size=(n, 3))).argmax(axis=1)
    patients = [f"P{i:04d}" for i in range(n)]
    return predictions_from_logits(CLASSES, patients, np.arange(n) % 2, labels, sharpness * logits)


class GivenLogits(ClassifierMixin, BaseEstimator):
    """A classifier whose input is its output."""

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, x):
        return x

    def predict(self, x):
        return self.classes_[x.argmax(axis=1)]


def test_temperature_is_the_one_scikit_learn_finds():
    predictions = model(sharpness=2.5)
    logits, labels = predictions.logits, predictions.labels
    frozen = FrozenEstimator(GivenLogits().fit(logits, labels))
    calibrated = CalibratedClassifierCV(frozen, method="temperature").fit(logits, labels)
    beta = calibrated.calibrated_classifiers_[0].calibrators[0].beta_
    assert fit_temperature(logits, labels) == pytest.approx(1 / beta, rel=1e-3)


def test_temperature_undoes_too_sure_a_model():
    predictions = model(n=5000, sharpness=3.0)
    assert fit_temperature(predictions.logits, predictions.labels) == pytest.approx(3.0, rel=0.05)


def test_a_model_that_is_always_right_gets_a_finite_temperature():
    labels = np.array([0, 1, 2])
    assert 0 < fit_temperature(10 * np.eye(3), labels) < 1


def test_each_fold_is_scaled_by_its_own_inner_validation():
    predictions = model()
    sharp = model(sharpness=4.0, seed=1)
    # Fold 0's model is far too sure on its inner validation patients, fold 1's is not.
    inner = Predictions(CLASSES, sharp.table.assign(fold=0))
    mild = model(seed=2)
    inner.table.loc[100:] = mild.table.assign(fold=1).loc[100:]
    scaled, temperatures = scale_by_fold(predictions, inner)
    assert temperatures[0] == pytest.approx(fit_temperature(sharp.logits[:100], sharp.labels[:100]))
    assert temperatures[0] > 2 * temperatures[1]
    for fold in (0, 1):
        part = predictions.folds == fold
        np.testing.assert_allclose(scaled.logits[part], predictions.logits[part] / temperatures[fold])
    assert scaled.patients == predictions.patients


def test_the_held_out_labels_have_no_say_in_the_temperature():
    predictions, inner = model(), model(seed=1)
    shuffled = Predictions(CLASSES, predictions.table.assign(label=predictions.labels[::-1]))
    assert scale_by_fold(predictions, inner)[1] == scale_by_fold(shuffled, inner)[1]


def test_a_fold_without_inner_validation_is_refused():
    inner = Predictions(CLASSES, model().table.query("fold == 0"))
    with pytest.raises(PredictionsError, match="fold 1 has no inner validation"):
        scale_by_fold(model(), inner)


def test_reliability_counts_what_happened_in_each_bin():
    predictions = model()
    table = reliability(predictions)
    for c, name in enumerate(CLASSES):
        rows = table[table["class"] == name]
        assert rows["n"].sum() == 200
        assert (rows["n"] * rows["observed"]).sum() == pytest.approx(np.sum(predictions.labels == c))
        assert (rows["n"] * rows["predicted"]).sum() == pytest.approx(predictions.probs[:, c].sum())
    assert ((table["ci_low"] <= table["observed"]) & (table["observed"] <= table["ci_high"])).all()


def test_parts_of_the_brier_score_add_up_to_the_metric():
    predictions = model()
    table = calibration_by_class(predictions)
    parts = table["reliability"] - table["resolution"] + table["uncertainty"] + table["within_bins"]
    np.testing.assert_allclose(parts, table["brier"])
    metric = score(predictions.labels, predictions.probs, CLASSES)["brier"][0]
    assert table["brier"].sum() == pytest.approx(metric)


def test_murphys_decomposition_is_exact_for_forecasts_that_share_their_bin():
    labels = np.array([0, 1, 1, 0, 1, 1, 0, 1])
    probs = np.array([0.25, 0.25, 0.25, 0.25, 0.8, 0.8, 0.8, 0.8])
    logits = np.column_stack([np.log(1 - probs), np.log(probs)])
    predictions = predictions_from_logits(("no", "yes"), list("abcdefgh"), labels * 0, labels, logits)
    yes = calibration_by_class(predictions).iloc[1]
    assert yes["within_bins"] == pytest.approx(0)
    assert yes["reliability"] == pytest.approx((0.25 - 0.5) ** 2 / 2 + (0.8 - 0.75) ** 2 / 2)
    assert yes["resolution"] == pytest.approx((0.5 - 0.625) ** 2 / 2 + (0.75 - 0.625) ** 2 / 2)
    assert yes["ece"] == pytest.approx(0.25 / 2 + 0.05 / 2)


def test_a_calibrated_model_has_less_calibration_error_than_a_too_sure_one():
    errors = [calibration_by_class(model(n=4000, sharpness=s))["ece"] for s in (1.0, 3.0)]
    assert (errors[0] < errors[1] / 2).all()
