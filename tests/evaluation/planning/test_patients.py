"""Numbers of patients: against the formulas' own published figures, plain loops, and a small simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from fusion_ln.errors import SettingsError
from fusion_ln.evaluation.delong import MACRO, auc_covariance, delong
from fusion_ln.evaluation.intervals import ALL_CLASSES, metric_intervals, paired_differences
from fusion_ln.evaluation.limits.auc import aucs
from fusion_ln.evaluation.planning.patients import (
    MOST,
    Need,
    hanley_mcneil,
    plan_from_assumptions,
    plan_from_runs,
    tabulate,
)
from fusion_ln.evaluation.planning.settings import PlanSettings
from fusion_ln.metrics import PRIMARY
from fusion_ln.predictions import Predictions, predictions_from_logits

CLASSES = ("benign", "malignant")


def predict(rng, n: int, skill: float, shared: np.ndarray) -> Predictions:
    labels = (np.arange(n) % 10 < 3).astype(int)
    logits = np.stack([np.zeros(n), skill * labels + shared + 0.7 * rng.normal(size=n)], axis=1)
    return predictions_from_logits(CLASSES, [f"P{i:04d}" for i in range(n)], np.zeros(n, int), labels, logits)


def pair(rng, n: int) -> tuple[Predictions, Predictions]:
    shared = 0.7 * rng.normal(size=n)
    return predict(rng, n, 1.3, shared), predict(rng, n, 0.8, shared)


def of(needs: list[Need], aim: str, of_class: str | None = None) -> Need:
    return next(need for need in needs if need.aim == aim and of_class in (None, need.of_class))


def test_the_variance_is_that_of_hanley_and_mcneil():
    """By counting: Q1 and Q2 are chances about two positives and one negative, and the reverse."""
    auc, m, n = 0.85, 30, 70
    pairs = auc * (1 - auc) + (m - 1) * (auc / (2 - auc) - auc**2) + (n - 1) * (2 * auc**2 / (1 + auc) - auc**2)
    assert hanley_mcneil(auc, 0.3, np.array([100]))[0] == pytest.approx(pairs / (m * n))


def test_the_number_is_the_smallest_that_reaches_the_target():
    settings = PlanSettings(auc=0.85, other_auc=0.8, sensitivity=0.9, share=0.25, width=0.08, power=0.9)
    for need in plan_from_assumptions(settings):
        found, better = need.patients, np.greater_equal if need.aim == "gain" else np.less_equal
        assert better(need.at(found), need.target)
        assert not better(need.at(found - 1), need.target)


def test_the_interval_of_a_sensitivity_is_wilsons():
    need = of(plan_from_assumptions(PlanSettings(sensitivity=0.9, share=0.5)), "sensitivity")
    low, high = proportion_confint(90, 100, method="wilson")
    assert need.at(200) == pytest.approx(high - low)


def test_two_runs_give_delongs_variance_and_the_power_of_its_test(rng):
    a, b = pair(rng, 200)
    needs = plan_from_runs({"a": a, "b": b}, PlanSettings())
    row = delong(a, b).iloc[1]
    error = np.sqrt(row["var_a"] + row["var_b"] - 2 * row["cov_ab"])
    gain = of(needs, "gain", "malignant")
    assert gain.value == pytest.approx(row["difference"])
    assert gain.at(200) == pytest.approx(stats.norm.sf(1.96 - row["difference"] / error), abs=0.01)
    assert (gain.ends[0], gain.ends[1]) == pytest.approx(_printed(paired_differences(a, b), "malignant"))
    table = tabulate(needs)
    assert table["patients_now"].eq(200).all()
    assert table.query("aim == 'gain'")["found_low"].iloc[0] < gain.value


def _printed(table: pd.DataFrame, of_class: str) -> tuple[float, float]:
    metric = PRIMARY if of_class == ALL_CLASSES else "auc"
    row = table[(table["metric"] == metric) & (table["class"] == of_class)].iloc[0]
    return row["ci_low"], row["ci_high"]


def test_the_width_of_today_is_that_of_the_printed_interval(rng):
    a = predict(rng, 200, 1.3, 0.7 * rng.normal(size=200))
    table = metric_intervals(a)
    for need in plan_from_runs({"a": a}, PlanSettings())[:3]:
        low, high = _printed(table, ALL_CLASSES if need.of_class == MACRO else need.of_class)
        assert need.at(200) == pytest.approx(high - low, rel=1e-6)


def test_near_an_auc_of_one_the_width_is_the_mean_of_those_printed(rng):
    """So few are misplaced that about half of the studies print Newcombe's limits."""
    pilot = predict(rng, 3000, 3.6, 0.7 * rng.normal(size=3000))
    needs = plan_from_runs({"a": pilot}, PlanSettings())[:2]
    studies = [
        aucs(p.labels, p.probs) for p in (predict(rng, 120, 3.6, 0.7 * rng.normal(size=120)) for _ in range(100))
    ]
    assert 0.2 < np.mean([study.few for study in studies]) < 0.8
    printed = [np.mean([s.macro_limits[1] - s.macro_limits[0] for s in studies]),
               np.mean([s.limits[1][0] - s.limits[0][0] for s in studies])]  # fmt: skip
    for need, width in zip(needs, printed, strict=True):
        assert need.at(120) == pytest.approx(width, rel=0.25)
        assert (np.diff(need.curve(np.arange(20, 2000, 40))) <= 0).all()


def test_four_times_the_patients_halve_the_width_on_the_logit(rng):
    a, _ = pair(rng, 200)
    row = delong(a, a).iloc[1]
    half = stats.t.ppf(0.975, 4 * 60 - 1) * np.sqrt(row["var_a"] / 4) / (row["auc_a"] * (1 - row["auc_a"]))
    ends = [1 / (1 + np.exp(-(np.log(row["auc_a"] / (1 - row["auc_a"])) + sign * half))) for sign in (-1, 1)]
    assert of(plan_from_runs({"a": a}, PlanSettings()), "AUC", "malignant").at(800) == pytest.approx(
        ends[1] - ends[0], rel=1e-3
    )


def test_a_study_of_the_planned_size_finds_the_gain_as_often_as_planned(rng):
    models = dict(zip("ab", pair(rng, 4000), strict=True))
    planned = of(plan_from_runs(models, PlanSettings()), "gain", "malignant").patients
    labels = np.arange(planned) % 10 < 3
    found = []
    for _ in range(200):
        shared = 0.7 * rng.normal(size=planned)
        scores = [skill * labels + shared + 0.7 * rng.normal(size=planned) for skill in (1.3, 0.8)]
        auc, covariance = auc_covariance(labels, np.stack(scores))
        error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
        found.append(auc[0] - auc[1] > 1.96 * error)
    assert 0.68 < np.mean(found) < 0.92


def test_no_gain_needs_no_number_but_a_smallest_one_does(rng):
    a, b = pair(rng, 100)
    assert of(plan_from_runs({"b": b, "a": a}, PlanSettings()), "gain").patients is None
    assert of(plan_from_runs({"b": b, "a": a}, PlanSettings(gain=0.05)), "gain").patients < MOST


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "Nothing to plan from"),
        ({"auc": 0.8, "other_auc": 0.8}, "no gain to find"),
        ({"auc": 0.8, "other_auc": 0.9}, "not better"),
        ({"auc": 0.8, "correlation": 0.2}, "--correlation: needs two models"),
        ({"sensitivity": 0.8, "other_auc": 0.8}, "--other-auc: needs --auc"),
        ({"sensitivity": 0.8, "power": 0.9}, "--power: needs two models"),
        ({"auc": 0.8, "gain": 0.1}, "--gain: needs two models"),
    ],
)
def test_assumptions_that_lack_another_are_refused(values, message):
    with pytest.raises(SettingsError, match=message):
        plan_from_assumptions(PlanSettings(**values))


def test_assumptions_beside_runs_and_a_gain_of_one_run_are_refused(rng):
    a, _ = pair(rng, 40)
    with pytest.raises(SettingsError, match="--share: the runs tell it already"):
        plan_from_runs({"a": a}, PlanSettings(share=0.2))
    for name in ("gain", "power"):
        with pytest.raises(SettingsError, match=f"--{name}: one run has no gain"):
            plan_from_runs({"a": a}, PlanSettings(**{name: 0.02}))
