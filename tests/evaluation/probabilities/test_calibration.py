import numpy as np
import pytest

from fusion_ln.evaluation.probabilities.calibration import calibration_by_class, reliability
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
