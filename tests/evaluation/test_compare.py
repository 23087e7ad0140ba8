import numpy as np
import pandas as pd
import pytest

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.compare import MACRO, compare
from fusion_ln.evaluation.delong import delong
from fusion_ln.evaluation.intervals import metric_intervals, paired_differences
from fusion_ln.evaluation.significance import benjamini_hochberg, holm, mcnemar, permutation_test
from fusion_ln.predictions import Predictions, predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")


def model(seed: int, n: int = 60, skill: float = 1.0) -> Predictions:
    labels = np.arange(n) % 3
    logits = np.random.default_rng(seed).normal(size=(n, 3)) + skill * np.eye(3)[labels]
    return predictions_from_logits(CLASSES, [f"P{i:03d}" for i in range(n)], np.arange(n) % 5, labels, logits)


@pytest.fixture(scope="module")
def models() -> dict[str, Predictions]:
    return {"late": model(1, skill=1.5), "elastic": model(0), "gated": model(2, skill=2.0)}


@pytest.fixture(scope="module")
def found(models):
    return compare(models, "elastic", n_resamples=200, n_permutations=100)


def test_comparison_has_the_columns_of_the_design(found):
    assert found.comparison.columns.tolist() == [
        "model_a", "model_b", "class", "auc_a", "auc_b", "difference", "ci_low", "ci_high", "bootstrap_p", "delong_z",
        "delong_p", "p_holm",
    ]  # fmt: skip
    assert found.comparison["class"].tolist() == [*CLASSES, MACRO] * 2
    assert found.comparison["model_a"].tolist() == ["late"] * 4 + ["gated"] * 4
    assert set(found.comparison["model_b"]) == {"elastic"}


def test_rows_are_those_of_the_methods_alone(found, models):
    rows = found.comparison.query("model_a == 'gated'").set_index("class")
    by_delong = delong(models["gated"], models["elastic"]).set_index("class")
    paired = paired_differences(models["gated"], models["elastic"], n_resamples=200)
    paired = paired[paired["metric"].isin(["auc", "auc_ovr"])].replace("all", MACRO).set_index("class")
    for label in (*CLASSES, MACRO):
        columns = ["difference", "ci_low", "ci_high", "bootstrap_p"]
        assert rows.loc[label, columns].tolist() == paired.loc[label, columns].tolist()
        assert rows.loc[label, "difference"] == rows.loc[label, "auc_a"] - rows.loc[label, "auc_b"]
    for label in CLASSES:
        assert rows.loc[label, ["delong_z", "delong_p"]].tolist() == by_delong.loc[label, ["z", "p"]].tolist()
    assert rows.loc[MACRO, ["delong_z", "delong_p"]].tolist() == [None, None]


def test_holm_runs_over_all_rows(found):
    table = found.comparison
    family = [row.bootstrap_p if row["class"] == MACRO else row.delong_p for _, row in table.iterrows()]
    np.testing.assert_allclose(table["p_holm"], holm(np.array(family)))


def test_models_hold_every_metric_with_its_interval(found, models):
    assert found.models["model"].tolist() == ["elastic", "late", "gated"]
    row = found.models.set_index("model").loc["late"]
    for _, alone in metric_intervals(models["late"], n_resamples=200).iterrows():
        name = alone["metric"] if alone["class"] == "all" else f"{alone['metric']}:{alone['class']}"
        assert row[[name, f"{name}_low", f"{name}_high"]].tolist() == alone[["value", "ci_low", "ci_high"]].tolist()


def test_tests_are_those_of_the_methods_alone_each_in_its_family(found, models):
    tests = found.tests
    accuracy = tests[tests["test"] == "McNemar"]
    alone = [mcnemar(models[name], models["elastic"]) for name in ("late", "gated")]
    assert accuracy["statistic"].tolist() == [result.chi2 for result in alone]
    np.testing.assert_allclose(accuracy["p_holm"], holm(np.array([result.p for result in alone])))
    permuted = tests[tests["test"] == "permutation"]
    swapped = [permutation_test(models[name], models["elastic"], n_permutations=100) for name in ("late", "gated")]
    expected = [table.set_index("metric").loc["auc_ovr", "permutation_p"] for table in swapped]
    assert permuted["p"].tolist() == expected
    family = tests[tests["test"].isin(["DeLong", "bootstrap"])]
    np.testing.assert_allclose(family["p_bh"], benjamini_hochberg(family["p"].to_numpy()))
    assert len(tests) == 8 + 2 + 2


def test_common_patients_of_all_models_only_when_asked_for(models):
    fewer = {**models, "late": models["late"].of(models["late"].patients[6:])}
    with pytest.raises(PredictionsError, match="elastic predicts 60 patients and late 54; 54 are in both"):
        compare(fewer, "elastic", n_resamples=20, n_permutations=10)
    found = compare(fewer, "elastic", n_resamples=20, n_permutations=10, common_only=True)
    assert found.models["n"].tolist() == [54] * 3


@pytest.mark.parametrize(
    ("names", "reference", "message"),
    [(["late"], "late", "1 model was given"), (["late", "gated"], "elastic", "none of the models given")],
)
def test_too_few_models_or_an_unknown_reference_are_refused(models, names, reference, message):
    with pytest.raises(PredictionsError, match=message):
        compare({name: models[name] for name in names}, reference)


def test_same_seed_same_tables(models, found):
    again = compare(models, "elastic", n_resamples=200, n_permutations=100)
    for name in ("comparison", "models", "differences", "tests"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(again, name))
