import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit
from scipy.stats import t as student

from fusion_ln.evaluation.probabilities.recalibration import calibration_curves, fit_logistic, recalibration
from fusion_ln.predictions import Predictions, predictions_from_logits

Z = 1.959963984540054
CLASSES = ("benign", "malignant")


def model(n: int = 300, slope: float = 1.0, shift: float = 0.0, seed: int = 0) -> Predictions:
    """Events are drawn from expit(shift + slope x logit of what is predicted)."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=n)
    labels = (rng.random(n) < expit(shift + slope * logits)).astype(int)
    stacked = np.stack([np.zeros(n), logits], axis=1)
    return predictions_from_logits(CLASSES, [f"P{i:05d}" for i in range(n)], labels * 0, labels, stacked)


def test_slope_and_intercept_are_those_of_statsmodels():
    predictions = model(slope=0.6, shift=0.5)
    events, x = predictions.labels == 1, logit(predictions.probs[:, 1])
    row = recalibration(predictions).set_index("class").loc["malignant"]
    line = sm.GLM(events.astype(float), sm.add_constant(x), family=sm.families.Binomial()).fit()
    constant = sm.GLM(events.astype(float), np.ones(len(x)), family=sm.families.Binomial(), offset=x).fit()
    assert row["slope"] == pytest.approx(line.params[1], abs=1e-4)
    assert row["intercept"] == pytest.approx(constant.params[0], abs=1e-4)
    assert row["slope_low"] < row["slope"] < row["slope_high"]
    assert row["slope_high"] - row["slope_low"] == pytest.approx(2 * Z * line.bse[1], rel=1e-3)
    assert row["intercept_high"] - row["intercept_low"] == pytest.approx(2 * Z * constant.bse[0], rel=1e-3)


def test_a_curve_follows_a_truth_that_no_slope_describes():
    rng = np.random.default_rng(0)
    predicted = rng.uniform(0.02, 0.98, 6000)
    labels = (rng.random(6000) < predicted**2).astype(int)
    stacked = np.log(np.stack([1 - predicted, predicted], axis=1))
    predictions = predictions_from_logits(CLASSES, [f"P{i:05d}" for i in range(6000)], labels * 0, labels, stacked)
    curve = calibration_curves(predictions, n_resamples=60).query("`class` == 'malignant'")
    np.testing.assert_allclose(curve["observed"], curve["predicted"] ** 2, atol=0.05)
    assert ((curve["ci_low"] <= curve["observed"]) & (curve["observed"] <= curve["ci_high"])).mean() > 0.9


def test_too_few_patients_or_a_separated_class_have_no_interval():
    few = model(18)
    assert recalibration(few)["slope_low"].isna().all()
    assert recalibration(few)["slope"].notna().all()
    assert calibration_curves(few).empty
    assert calibration_curves(few)["ci_low"].dtype == float  # Matplotlib draws no other kind, even of none
    labels = np.repeat([0, 1], 20)
    stacked = np.stack([np.zeros(40), np.linspace(-2, 2, 40)], axis=1)
    apart = predictions_from_logits(CLASSES, [f"P{i}" for i in range(40)], labels * 0, labels, stacked)
    assert recalibration(apart)[["slope", "slope_low"]].isna().all().all()


def of_nodes(n: int, copies: int) -> Predictions:
    """Patients with as many nodes, all alike."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    logits = rng.normal(size=(n, 2)) + np.eye(2)[labels]
    owners = np.repeat(np.arange(n), copies)
    names = [f"P{owner:03d}::{node:04d}" for node, owner in enumerate(owners)]
    return predictions_from_logits(CLASSES, names, owners * 0, labels[owners], logits[owners])


def test_nodes_that_are_all_alike_narrow_no_interval_of_the_slope():
    once, thrice = (recalibration(of_nodes(120, copies)).set_index("class") for copies in (1, 3))
    for figure in ("intercept", "slope"):
        np.testing.assert_allclose(thrice[figure].astype(float), once[figure].astype(float), atol=1e-5)
        widths = [(each[f"{figure}_high"] - each[f"{figure}_low"]).astype(float) for each in (once, thrice)]
        assert (widths[1] > 0.8 * widths[0]).all()  # of independent nodes 0.58


def test_the_jackknife_is_that_of_fits_without_each_patient():
    """To first order: fits anew without a patient, all nodes."""
    predictions = of_nodes(200, 2)
    noisy = predictions.logits + 0.5 * np.random.default_rng(1).normal(size=(400, 2))
    predictions = predictions_from_logits(CLASSES, predictions.patients, np.zeros(400), predictions.labels, noisy)
    found = recalibration(predictions).set_index("class").loc["benign"]
    events, x = predictions.labels == 0, logit(predictions.probs[:, 0])
    without = (predictions.clusters != np.arange(200)[:, None]).astype(np.float32)
    slopes = fit_logistic(np.column_stack([np.ones(400), x]), events, iter([without]))[1:, -1]
    spread = np.sqrt(np.square(slopes - np.mean(slopes)).sum() * 199 / 200)
    quantile = student.ppf(0.975, 100 - 1)  # 100 patients are benign
    assert found["slope_high"] - found["slope"] == pytest.approx(quantile * spread, rel=0.05)
