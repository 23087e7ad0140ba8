"""Learning curve: the power law against scipy's curve fitting, the points by scikit-learn."""

import numpy as np
import pytest
from scipy.optimize import curve_fit
from sklearn.metrics import roc_auc_score

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.planning.learning import LearningCurve, fit_power_law, learning_curve
from fusion_ln.predictions import Predictions, predictions_from_logits

N = np.array([40.0, 80, 160, 320])


def predict(rng, skill: float, n: int = 60) -> Predictions:
    labels = np.arange(n) % 3
    logits = rng.normal(size=(n, 3)) + skill * np.eye(3)[labels]
    return predictions_from_logits(("a", "b", "c"), [f"P{i:03d}" for i in range(n)], labels * 0, labels, logits)


def test_an_exact_power_law_is_found_again_and_goes_on():
    auc = 0.93 - 1.2 * N**-0.6
    law = fit_power_law(N, auc[None])
    assert law.at(np.array([640.0, 1280.0]))[0] == pytest.approx(
        0.93 - 1.2 * np.array([640.0, 1280.0]) ** -0.6, abs=1e-3
    )


def test_the_fit_is_that_of_least_squares(rng):
    auc = 0.9 - 1.5 * N**-0.7 + rng.normal(0, 0.004, 4)
    expected, _ = curve_fit(lambda n, a, b, c: a - b * n**-c, N, auc, p0=[0.9, 1, 0.5], bounds=(0, [1, 50, 4]))
    a, b, c = expected
    found = fit_power_law(N, auc[None]).at(N)[0]
    assert np.square(found - auc).sum() <= 1.05 * np.square(a - b * N**-c - auc).sum()  # exponents lie on a grid


def test_an_auc_never_passes_one_and_a_falling_curve_is_flat():
    rising, falling = fit_power_law(N, np.array([[0.7, 0.85, 0.95, 0.999], [0.9, 0.89, 0.88, 0.87]])).at(N * 64)
    assert (rising <= 1).all()
    assert falling == pytest.approx(np.full(4, 0.885))


def test_points_are_the_aucs_and_the_interval_widens_with_the_reach(rng):
    parts = {float(n): predict(rng, skill) for n, skill in zip(N, (0.8, 1.1, 1.3, 1.4), strict=True)}
    curve = learning_curve(dict(reversed(parts.items())), n_resamples=200)
    expected = [roc_auc_score(p.labels, p.probs, multi_class="ovr") for p in parts.values()]
    assert curve.points()["auc"].tolist() == pytest.approx(expected)
    assert curve.points()["patients"].tolist() == N.tolist()
    table = curve.extrapolate(np.array([320.0, 640, 5120]))
    assert table["gain"].iloc[0] == pytest.approx(0)
    assert ((table["ci_low"] < table["auc"]) & (table["auc"] < table["ci_high"])).all()
    widths = table["gain_high"] - table["gain_low"]
    assert widths.is_monotonic_increasing


def test_scatter_of_the_trainings_widens_the_interval():
    draws = np.full((400, 4), 0.0)
    smooth, rough = np.array([0.7, 0.78, 0.82, 0.84]), np.array([0.74, 0.74, 0.85, 0.82])
    widths = []
    for auc in (smooth, rough):
        row = LearningCurve(N, auc, draws + auc).extrapolate(np.array([640.0])).iloc[0]
        widths.append(row["ci_high"] - row["ci_low"])
    assert widths[0] < widths[1] / 5


def test_three_points_give_a_value_and_no_interval():
    auc = np.array([0.7, 0.78, 0.82])
    row = LearningCurve(N[:3], auc, np.zeros((50, 3)) + auc).extrapolate(np.array([640.0])).iloc[0]
    assert row["auc"] > 0.82
    assert row[["ci_low", "ci_high", "gain_low", "gain_high"]].isna().all()


def test_parts_that_predict_other_patients_are_refused(rng):
    with pytest.raises(PredictionsError, match="40 are in both"):
        learning_curve({10.0: predict(rng, 1.0, 40), 20.0: predict(rng, 1.0)}, n_resamples=10)
