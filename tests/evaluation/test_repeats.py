"""Comparison over repeats: the corrected resampled t by its formula, folds by scikit-learn."""

import statistics

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.repeats import RepeatComparison, compare_repeats, corrected_t
from fusion_ln.evaluation.seeds import ModelOverSeeds
from fusion_ln.predictions import Predictions, predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")
REPEATS, FOLDS = 2, 3


def predict(rng, skill: float, folds: np.ndarray) -> Predictions:
    labels = np.arange(len(folds)) % 3
    logits = rng.normal(size=(len(folds), 3)) + skill * np.eye(3)[labels]
    return predictions_from_logits(CLASSES, [f"P{i:03d}" for i in range(len(folds))], folds, labels, logits)


def comparison_of(rng, n: int = 54, folds: int = FOLDS) -> RepeatComparison:
    drawn = [(np.arange(n) // 3 + shift * (np.arange(n) // 9)) % folds for shift in range(REPEATS)]

    def model(name, skill, **kind):
        runs = {f"repeat-{place}/{name}": predict(rng, skill, each) for place, each in enumerate(drawn)}
        return ModelOverSeeds(name, name, runs, skill / 10, subsets=[{}] * REPEATS, **kind)

    models = [model("baseline-2d", 1.0, is_single=True), model("fusion-concat", 1.6, is_fusion=True)]
    return RepeatComparison(tuple(models), ("2d", "cdfi"), n_resamples=100)


def test_corrected_t_is_that_of_nadeau_and_bengio(rng):
    values = rng.normal(0.03, 0.02, (4, 5))
    flat = values.ravel().tolist()
    error = (statistics.variance(flat) * (1 / 20 + 0.25)) ** 0.5  # a held-out part is a quarter of its training part
    found = corrected_t(values)
    expected = stats.t(19, loc=statistics.mean(flat), scale=error)
    assert [found.ci_low, found.ci_high] == pytest.approx(expected.ppf([0.025, 0.975]))
    assert found.p == pytest.approx(2 * expected.cdf(0))
    assert corrected_t(np.zeros((2, 3))).p == 1


def test_differences_are_those_within_each_fold_of_each_repeat(rng):
    comparison = comparison_of(rng, n=360)  # so many that these trainings have an interval, too
    single, fused = comparison.models

    def aucs(model):
        return np.array(
            [
                [
                    roc_auc_score(held.labels[part], held.probs[part], multi_class="ovr")
                    for part in (held.folds == fold for fold in range(FOLDS))
                ]
                for held in model.predictions.values()
            ]
        )

    row = comparison.differences.query("metric == 'auc_ovr'").iloc[0]
    gaps = aucs(fused) - aucs(single)
    assert row["difference"] == pytest.approx(gaps.mean())
    assert row["by_repeat"] == pytest.approx(gaps.mean(axis=1))
    assert row["ci_low"] == pytest.approx(float(corrected_t(gaps).ci_low))
    pooled = [
        np.mean([roc_auc_score(h.labels, h.probs, multi_class="ovr") for h in model.predictions.values()])
        for model in (fused, single)
    ]
    assert row["given_difference"] == pytest.approx(pooled[0] - pooled[1])
    assert row["given_low"] < row["given_difference"] < row["given_high"]


def test_no_interval_where_a_fold_holds_out_fewer_than_five_of_a_class(rng):
    enough, few = comparison_of(rng, n=45), comparison_of(rng, n=36)
    assert (enough.fewest[1], enough.has_intervals) == (5, True)
    assert (few.fewest[1], few.has_intervals) == (4, False)
    assert few.differences[["ci_low", "ci_high", "p", "p_holm"]].isna().all(axis=None)
    assert few.metrics[["ci_low", "ci_high"]].isna().all(axis=None)
    assert few.differences["difference"].notna().all()


def test_models_whose_folds_differ_within_a_repeat_are_refused(rng):
    single, fused = comparison_of(rng).models
    swapped = dict(zip(fused.predictions, reversed(list(fused.predictions.values())), strict=True))
    other = ModelOverSeeds(fused.name, fused.title, swapped, 0.9, is_fusion=True)
    with pytest.raises(PredictionsError, match="another fold"):
        _ = compare_repeats([single, other], ("2d", "cdfi")).folds


def test_one_repeat_is_refused(rng):
    model = ModelOverSeeds("a", "a", {"a": predict(rng, 1.0, np.arange(30) % 3)}, 0.5, is_single=True)
    with pytest.raises(PredictionsError, match="two at least"):
        compare_repeats([model], ("2d",))
