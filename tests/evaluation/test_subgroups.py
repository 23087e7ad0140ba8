import numpy as np
import pandas as pd
import pytest

from fusion_ln.errors import PredictionsError
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


def test_heterogeneity_is_cochrans_q():
    predictions = model()
    found = subgroups(predictions, sites(predictions), n_resamples=4000)
    row = found.spread.query("metric == 'accuracy'").iloc[0]
    right = (predictions.probs.argmax(axis=1) == predictions.labels).reshape(2, 15, 3)  # site, patient, class
    values = right.mean(axis=(1, 2))
    variances = (right.var(axis=1) / 15).mean(axis=1) / 3  # of draws within classes
    expected = (values[0] - values[1]) ** 2 / variances.sum()
    assert row["q"] == pytest.approx(expected, rel=0.1)


def test_under_ten_patients_of_a_class_there_is_no_interval_and_no_part_in_the_spread():
    predictions = model()
    found = subgroups(predictions, sites(predictions, rare=15), n_resamples=20)  # 5 of each class, 10 and 15
    given = found.metrics.dropna(subset="value").groupby("level")["ci_low"].count()
    assert given["west"] == 0
    assert (given[["north", "south"]] > 0).all()
    assert set(found.spread["lowest_level"]) | set(found.spread["highest_level"]) == {"north", "south"}


def test_shares_of_a_class_have_no_test_of_heterogeneity():
    predictions = model()
    spread = subgroups(predictions, sites(predictions), n_resamples=20).spread
    of_class = spread["metric"].isin(["recall", "precision", "f1"]) & (spread["class"] != "all")
    assert spread["p"][of_class].isna().all()
    assert spread["p"][~of_class].notna().all()


def test_a_metric_that_does_not_vary_has_no_test_and_no_nan():
    labels = np.arange(60) % 3
    perfect = predictions_from_logits(CLASSES, [f"P{i:03d}" for i in range(60)], labels, labels, 50 * np.eye(3)[labels])
    spread = subgroups(perfect, sites(perfect).where(lambda s: s.index < "P030", "south"), n_resamples=20).spread
    assert spread.query("metric == 'auc_ovr'").iloc[0][["range", "q", "p"]].tolist() == [0, None, None]


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
