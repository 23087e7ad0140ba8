import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.intervals import (
    align,
    mean_of,
    metric_intervals,
    paired_differences,
    resample,
)
from fusion_ln.evaluation.limits.resampling import resample_counts
from fusion_ln.predictions import Predictions, predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")


def model(seed: int, n: int = 60, skill: float = 1.0) -> Predictions:
    """Another seed, another model of the same patients."""
    labels, folds = np.arange(n) % 3, np.arange(n) % 5
    logits = np.random.default_rng(seed).normal(size=(n, 3)) + skill * np.eye(3)[labels]
    return predictions_from_logits(CLASSES, [f"P{i:03d}" for i in range(n)], folds, labels, logits)


def row(table: pd.DataFrame, metric: str, label: str = "all") -> pd.Series:
    return table[(table["metric"] == metric) & (table["class"] == label)].iloc[0]


def benign_auc_by_class(*scores_by_class: np.ndarray, axis: int = -1) -> np.ndarray:
    """The benign AUC from each class's scores, for `scipy.stats.bootstrap`: slow and obvious."""
    benign, rest = scores_by_class[0], np.concatenate(scores_by_class[1:], axis=-1)
    above = benign[..., :, None] > rest[..., None, :]
    return above.mean(axis=(-2, -1))


def test_draws_keep_each_class_its_size():
    labels = np.array([0] * 3 + [1] * 7 + [2] * 2)
    counts = np.concatenate(list(resample_counts(labels, 500, seed=0)))
    for c, size in enumerate([3, 7, 2]):
        assert (counts[:, labels == c].sum(axis=1) == size).all()
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.2)


def test_draws_are_whatever_the_block_size(monkeypatch):
    labels = np.arange(30) % 3
    sizes = [len(block) for block in resample_counts(labels, 10, seed=4)]
    monkeypatch.setattr("fusion_ln.evaluation.limits.resampling.BLOCK", 90)
    assert sizes == [10]
    assert [len(block) for block in resample_counts(labels, 10, seed=4)] == [3, 3, 3, 1]


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_intervals_by_resampling_agree_with_scipy(method):
    predictions = model(0)
    by_class = [predictions.probs[predictions.labels == c, 0] for c in range(3)]
    expected = stats.bootstrap(
        by_class, benign_auc_by_class, n_resamples=20_000, method=method, rng=np.random.default_rng(0)
    ).confidence_interval
    resampled = resample([predictions], n_resamples=20_000, seed=0)[0]
    limits = resampled.bca_interval() if method == "BCa" else resampled.percentile_interval()
    found = [end[resampled.names.index("auc:benign")] for end in limits]
    assert found == pytest.approx([expected.low, expected.high], abs=0.003)


def test_acceleration_is_that_of_the_jackknife_within_classes():
    predictions = model(0)
    by_class = [predictions.probs[predictions.labels == c, 0] for c in range(3)]
    value, influence = benign_auc_by_class(*by_class), []
    for c, scores in enumerate(by_class):
        without = [
            benign_auc_by_class(*(np.delete(s, i) if k == c else s for k, s in enumerate(by_class)))
            for i in range(len(scores))
        ]
        influence += list((len(scores) - 1) * (np.mean(without) - without) / len(scores))
    found = resample([predictions], n_resamples=10, seed=0)[0]
    column = found.names.index("auc:benign")
    assert found.value[column] == pytest.approx(value)
    np.testing.assert_allclose(np.sort(found.influence[:, column]), np.sort(influence), atol=1e-12)


def test_leaving_out_groups_measures_nearly_what_single_patients_do(monkeypatch):
    predictions = model(0, n=300)
    single = resample([predictions], n_resamples=200, seed=0)[0]
    monkeypatch.setattr("fusion_ln.evaluation.limits.resampled.JACKKNIFE_GROUPS", 25)
    grouped = resample([predictions], n_resamples=200, seed=0)[0]
    assert grouped.influence.shape == (75, len(grouped.names))
    column = single.names.index("auc_ovr")
    errors = [np.sqrt(np.square(r.influence[:, column]).sum()) for r in (single, grouped)]
    assert errors[1] == pytest.approx(errors[0], rel=0.2)


def test_same_seed_same_interval_and_other_seed_another():
    tables = [metric_intervals(model(0), n_resamples=50, seed=seed) for seed in (1, 1, 2)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0].equals(tables[2])


def test_only_intervals_that_hold_are_given():
    """F1 and MCC need 20 patients of a class and 5 errors, losses 100 patients; the calibration error has none."""
    without = {
        (60, 1.0): {"brier", "log_loss", "ece"},
        (45, 1.0): {"brier", "log_loss", "ece", "f1", "mcc"},
        (60, 100.0): {"brier", "log_loss", "ece", "f1", "mcc"},
        (300, 1.0): {"ece"},
    }
    for (n, skill), expected in without.items():
        table = metric_intervals(model(0, n=n, skill=skill), n_resamples=50)
        assert set(table["metric"][table["ci_low"].isna()]) == expected
        both = paired_differences(model(0, n=n, skill=skill), model(1, n=n), n_resamples=50)
        assert set(both["metric"][both["ci_low"].isna()]) == expected


def test_a_perfect_model_is_not_certain():
    table = metric_intervals(model(0, n=90, skill=100), n_resamples=50).dropna()
    assert (table["value"] == 1).all()
    assert table["ci_low"].between(0.8, 0.99).all()
    recall = row(table, "recall", "benign")
    assert recall["ci_low"] == pytest.approx(proportion_confint(30, 30, method="wilson")[0])


def test_a_share_has_wilsons_interval_and_its_mean_movers():
    predictions = model(0, n=90)
    table = metric_intervals(predictions, n_resamples=50)
    right = predictions.probs.argmax(axis=1) == predictions.labels
    assert row(table, "accuracy")[["ci_low", "ci_high"]].tolist() == pytest.approx(
        proportion_confint(right.sum(), 90, method="wilson")
    )
    recalls = table[(table["metric"] == "recall") & (table["class"] != "all")]
    below = np.sqrt(np.square(recalls["value"] - recalls["ci_low"]).sum()) / 3
    assert row(table, "recall")["ci_low"] == pytest.approx(recalls["value"].mean() - below, abs=0.002)


def test_differences_are_paired_and_of_a_minus_b():
    a, b = model(0), model(1)
    table = paired_differences(a, b, n_resamples=400)
    found = row(table, "auc", "lymphoma")
    expected = [roc_auc_score(m.labels == 1, m.probs[:, 1]) for m in (a, b)]
    assert found[["value_a", "value_b"]].tolist() == pytest.approx(expected)
    assert found["difference"] == pytest.approx(expected[0] - expected[1])
    backwards = row(paired_differences(b, a, n_resamples=400), "auc", "lymphoma")
    assert backwards["ci_low"] == pytest.approx(-found["ci_high"])
    assert backwards["bootstrap_p"] == found["bootstrap_p"]


def test_a_model_does_not_differ_from_itself():
    table = paired_differences(model(0), model(0), n_resamples=50)
    assert (table["difference"] == 0).all()
    limits = table[["ci_low", "ci_high"]].dropna()
    assert ((limits["ci_low"] <= 0) & (limits["ci_high"] >= 0)).all()
    assert (table["bootstrap_p"] == 1).all()


def test_p_value_is_below_5_percent_when_the_interval_leaves_zero_out():
    a, b = resample([model(0, skill=2.5), model(1, skill=0.8)], n_resamples=999, seed=0)
    low, high = a.minus(b).percentile_interval()
    outside = (low > 0) | (high < 0)
    assert outside.any()
    continuous = [name.split(":")[0] in ("auc", "auc_ovr", "auc_ovo", "brier") for name in a.names]
    assert ((a.minus(b).p_value() < 0.05) == outside)[continuous].all()


def test_the_limits_of_a_mean_follow_from_those_of_its_models():
    a, b = resample([model(0, n=90), model(1, n=90)], n_resamples=200, seed=0)
    mean, same, column = mean_of([a, b]), mean_of([a, a]), a.names.index("auc_ovr")
    for doubled, alone in zip(same.interval, a.interval, strict=True):
        np.testing.assert_allclose(doubled, alone)  # a copy tells nothing
    r = np.corrcoef(a.influence[:, column], b.influence[:, column])[0, 1]
    down = [each.value[column] - each.interval[0][column] for each in (a, b)]
    expected = np.sqrt(down[0] ** 2 + down[1] ** 2 + 2 * r * down[0] * down[1]) / 2
    assert mean.value[column] - mean.interval[0][column] == pytest.approx(expected, rel=1e-3)
    assert np.isnan(mean.interval[0][a.names.index("ece")])
    np.testing.assert_allclose(mean.difference_interval(same)[1], -same.difference_interval(mean)[0])


def test_a_mean_has_no_limits_where_one_of_its_models_has_none():
    a, sure = resample([model(0, n=90), model(1, n=90, skill=9.0)], n_resamples=100, seed=0)
    mean, f1, recall = mean_of([a, sure]), a.names.index("f1"), a.names.index("recall:benign")
    assert not np.isnan(a.interval[0][f1])
    assert np.isnan(mean.interval[0][f1])  # no error of the second model, so its draws do not vary
    assert mean.interval[0][recall] < mean.value[recall] < mean.interval[1][recall] <= 1


def test_other_patients_are_refused_with_counts_unless_common_is_given():
    a = model(0)
    b = a.of(a.patients[1:])
    with pytest.raises(PredictionsError, match="fusion predicts 60 patients and late 59; 59 are in both"):
        align(a, b, names=("fusion", "late"))
    kept_a, kept_b = align(a, b, common_only=True)
    assert kept_a.patients == kept_b.patients == a.patients[1:]


def test_rows_are_joined_by_patient():
    a = model(0)
    shuffled = Predictions(CLASSES, a.table.sample(frac=1, random_state=0, ignore_index=True))
    assert align(a, shuffled)[1].patients == a.patients


@pytest.mark.parametrize(("column", "word"), [("fold", "fold"), ("label", "label")])
def test_other_folds_or_labels_are_refused_with_the_patient(column, word):
    a = model(0)
    table = a.table.copy()
    table.loc[7, column] = (table.loc[7, column] + 1) % 3
    with pytest.raises(PredictionsError, match=f"another {word}.*'P007'"):
        align(a, Predictions(CLASSES, table))


def test_other_class_orders_and_strangers_are_refused():
    a = model(0)
    with pytest.raises(PredictionsError, match="another order"):
        align(a, Predictions(CLASSES[::-1], a.table))
    table = a.table.assign(patient_id="X" + a.table["patient_id"])
    with pytest.raises(PredictionsError, match="0 are in both"):
        align(a, Predictions(CLASSES, table), common_only=True)


def test_a_class_of_one_patient_has_no_interval():
    a = model(0, n=4)
    with pytest.raises(PredictionsError, match="'lymphoma' has 1 of the 4 patients"):
        metric_intervals(a)
