import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.delong import delong
from fusion_ln.evaluation.intervals import metric_intervals
from fusion_ln.evaluation.subgroups import UNKNOWN, age_bands, subgroups
from fusion_ln.predictions import Predictions, predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")


def model(n: int = 90) -> Predictions:
    labels = np.arange(n) % 3
    logits = np.random.default_rng(0).normal(size=(n, 3)) + np.eye(3)[labels]
    return predictions_from_logits(CLASSES, [f"P{i:03d}" for i in range(n)], np.arange(n) % 5, labels, logits)


def sites(predictions: Predictions, *, rare: int = 0) -> pd.Series:
    names = np.where(np.arange(len(predictions.patients)) < 45, "north", "south").astype(object)
    names[:rare] = "west"
    return pd.Series(names, index=predictions.patients)


def test_a_level_scores_as_its_patients_alone_do():
    predictions = model()
    found = subgroups(predictions, sites(predictions), n_resamples=50).metrics
    alone = metric_intervals(predictions.of(predictions.patients[:45]), n_resamples=50)
    north = found[found["level"] == "north"].reset_index(drop=True)
    pd.testing.assert_frame_equal(north.drop(columns="level"), alone[["metric", "class", "value", "ci_low", "ci_high"]])


def test_too_small_a_level_is_counted_but_not_scored():
    predictions = model()
    found = subgroups(predictions, sites(predictions, rare=4), n_resamples=20)
    counts = found.counts.set_index("level")
    assert counts.loc["west", ["n", *CLASSES]].tolist() == [4, 2, 1, 1]
    assert counts["scored"].to_dict() == {"north": True, "south": True, "west": False}
    assert set(found.metrics["level"]) == {"north", "south"}
    assert counts["n"].sum() == 90


def test_missing_levels_are_a_level_of_their_own_and_come_last():
    predictions = model()
    found = subgroups(predictions, sites(predictions).mask(np.arange(90) % 9 == 0), n_resamples=20)
    assert found.counts["level"].tolist() == ["north", "south", UNKNOWN]


def test_spread_names_the_lowest_and_the_highest_level():
    predictions = model()
    found = subgroups(predictions, sites(predictions), n_resamples=50)
    row = found.spread.query("metric == 'accuracy'").iloc[0]
    values = found.metrics.query("metric == 'accuracy'").set_index("level")["value"]
    assert (row["lowest_level"], row["highest_level"]) == (values.idxmin(), values.idxmax())
    assert row["range"] == values.max() - values.min()
    assert 0 < row["p"] <= 1


def test_heterogeneity_of_the_auc_is_cochrans_q_and_of_accuracy_chi_square():
    predictions = model()
    spread = subgroups(predictions, sites(predictions), n_resamples=20).spread.set_index(["metric", "class"])
    parts = [predictions.of(predictions.patients[part]) for part in (slice(45), slice(45, 90))]
    tests = [delong(part, part).iloc[-1] for part in parts]  # two levels: Q is the square of z
    gap, variance = tests[0]["auc_a"] - tests[1]["auc_a"], tests[0]["var_a"] + tests[1]["var_a"]
    assert spread.loc[("auc_ovr", "all"), "q"] == pytest.approx(gap**2 / variance)
    right = np.array([(part.probs.argmax(axis=1) == part.labels).sum() for part in parts])
    shares, pooled = right / 45, right.sum() / 90
    z = (shares[0] - shares[1]) / np.sqrt(pooled * (1 - pooled) * 2 / 45)
    assert spread.loc[("accuracy", "all"), "p"] == pytest.approx(2 * stats.norm.sf(abs(z)))
    assert spread.drop([("auc_ovr", "all"), ("accuracy", "all")])["p"].isna().all()


def test_under_ten_patients_of_a_class_have_no_interval_and_no_spread():
    predictions = model()
    found = subgroups(predictions, sites(predictions, rare=15), n_resamples=20)  # 5 of each class, 10 and 15
    given = found.metrics.dropna(subset="value").groupby("level")["ci_low"].count()
    assert given["west"] == 0
    assert (given[["north", "south"]] > 0).all()
    assert set(found.spread["lowest_level"]) | set(found.spread["highest_level"]) == {"north", "south"}


def test_a_metric_that_does_not_vary_has_no_test_and_no_nan():
    labels = np.arange(60) % 3
    perfect = predictions_from_logits(CLASSES, [f"P{i:03d}" for i in range(60)], labels, labels, 50 * np.eye(3)[labels])
    spread = subgroups(perfect, sites(perfect).where(lambda s: s.index < "P030", "south"), n_resamples=20).spread
    rows = spread[spread["metric"].isin(["auc_ovr", "accuracy"])]
    assert rows[["range", "q", "p"]].to_numpy().tolist() == [[0, None, None]] * 2


def test_one_level_has_no_spread():
    predictions = model()
    assert subgroups(predictions, pd.Series("north", index=predictions.patients), n_resamples=20).spread.empty


def test_age_bands_keep_their_order():
    ages = pd.Series([80, 39.9, 40, 59, 60, np.nan], index=list("abcdef"))
    bands = age_bands(ages)
    assert bands.astype(object).tolist()[:5] == ["60 and over", "under 40", "40 to 59", "40 to 59", "60 and over"]
    predictions = model()
    levels = pd.Series(np.tile([70.0, 20.0, np.nan], 30), index=predictions.patients)
    found = subgroups(predictions, age_bands(levels), n_resamples=20).counts["level"].tolist()
    assert found == ["under 40", "60 and over", UNKNOWN]


def test_patients_of_another_cohort_are_refused():
    predictions = model()
    with pytest.raises(PredictionsError, match=r"1 predicted patients .*'P000'"):
        subgroups(predictions, sites(predictions)[1:])
