import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation import swaps
from fusion_ln.evaluation.compare import ENDPOINT, EXPLORATORY, SECONDARY, compare
from fusion_ln.evaluation.delong import MACRO, delong
from fusion_ln.evaluation.intervals import metric_intervals, paired_differences
from fusion_ln.evaluation.significance import benjamini_hochberg, holm, mcnemar
from fusion_ln.evaluation.swaps import swap_test
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
        "delong_p", "p", "p_holm", "p_bh", "family",
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
        assert rows.loc[label, ["delong_z", "delong_p"]].tolist() == by_delong.loc[label, ["z", "p"]].tolist()
    assert rows["p"].tolist() == swap_test([models["gated"]], [models["elastic"]]).tolist()
    every = found.differences.query("model_a == 'gated' and metric in ['auc', 'auc_ovr']").sort_values("metric")
    assert every["permutation_p"].tolist() == rows["p"].tolist()


def test_each_family_is_corrected_alone_and_what_nobody_asks_is_in_none():
    models = {"elastic": model(0), "cdfi": model(3), "late": model(1), "gated": model(2), "concat": model(4)}
    table = compare(
        models, "elastic", primary="late", asked=["late", "gated", "concat"], n_resamples=20, n_permutations=10
    ).comparison.set_index(["model_a", "class"])
    assert table.loc[("late", MACRO), "family"] == ENDPOINT
    assert table.loc[("late", MACRO), ["p_holm", "p_bh"]].isna().all()
    secondary = table[table["family"] == SECONDARY]
    assert secondary.index.tolist() == [("gated", MACRO), ("concat", MACRO)]
    np.testing.assert_allclose(secondary["p_holm"], holm(secondary["p"].to_numpy()))
    exploratory = table[table["family"] == EXPLORATORY]
    assert len(exploratory) == 3 * 3
    np.testing.assert_allclose(exploratory["p_bh"], benjamini_hochberg(exploratory["p"].to_numpy()))
    assert table.loc["cdfi", ["family", "p_holm", "p_bh"]].isna().all().all()


def test_two_classes_are_tested_once(models):
    def binary(of: Predictions) -> Predictions:
        kept = of.of([p for p, label in zip(of.patients, of.labels, strict=True) if label < 2])
        return predictions_from_logits(CLASSES[:2], kept.patients, kept.folds, kept.labels, kept.logits[:, :2])

    two = {name: binary(each) for name, each in models.items()}
    table = compare(two, "elastic", primary="late", n_resamples=20, n_permutations=10).comparison
    assert table["family"].dropna().tolist() == [ENDPOINT, SECONDARY]
    late = table[table["model_a"] == "late"]
    np.testing.assert_allclose(late["p"], late["p"].iloc[0])


def test_better_than_each_is_the_weakest_of_its_tests(models):
    three = {**models, "cdfi": model(5, skill=0.2)}
    found = compare(three, "elastic", primary="gated", alone=["elastic", "cdfi", "late"], n_resamples=20)
    p_values = [swap_test([three["gated"]], [three[name]])[-1] for name in ("elastic", "cdfi", "late")]
    each = found.better_than_each
    ahead = (each.differences["difference"] > 0).tolist()
    assert each.p == max(p if first else 1 for p, first in zip(p_values, ahead, strict=True))
    macro = {
        name: np.mean([roc_auc_score(of.labels == c, of.probs[:, c]) for c in range(3)]) for name, of in three.items()
    }
    assert each.differences["model_b"].tolist() == ["elastic", "cdfi", "late"]
    np.testing.assert_allclose(each.differences["difference"], [macro["gated"] - macro[b] for b in each.others])
    assert each.differences["p"].tolist() == p_values
    against_reference = found.comparison.query("model_a == 'gated' and `class` == @MACRO")
    assert each.differences["ci_low"][0] == against_reference["ci_low"].item()
    assert each.weakest == ("elastic", "cdfi", "late")[int(np.argmax(p_values))]
    assert compare(models, "elastic", n_resamples=20, n_permutations=10).better_than_each is None


def test_no_pair_of_models_is_tested_twice(models, monkeypatch):
    tested, p_of_swaps = [], swaps.p_of_swaps

    def watched(labels, a, b, *args, **kwargs):
        tested.append({a.tobytes(), b.tobytes()})
        return p_of_swaps(labels, a, b, *args, **{**kwargs, "n_swaps": 9})

    monkeypatch.setattr(swaps, "p_of_swaps", watched)
    compare(models, "elastic", primary="gated", alone=["elastic", "late"], n_resamples=20, n_permutations=10)
    assert len(tested) == 3
    assert all(tested.count(pair) == 1 for pair in tested)


def test_models_hold_every_metric_with_its_interval(found, models):
    assert found.models["model"].tolist() == ["elastic", "late", "gated"]
    row = found.models.set_index("model").loc["late"]
    for _, alone in metric_intervals(models["late"], n_resamples=200).iterrows():
        name = alone["metric"] if alone["class"] == "all" else f"{alone['metric']}:{alone['class']}"
        expected = alone[["value", "ci_low", "ci_high"]].tolist()
        np.testing.assert_array_equal(row[[name, f"{name}_low", f"{name}_high"]].tolist(), expected)


def test_accuracy_is_tested_by_mcnemar_over_the_models_asked_about(found, models):
    tests = found.tests
    alone = [mcnemar(models[name], models["elastic"]) for name in ("late", "gated")]
    assert tests["statistic"].tolist() == [result.chi2 for result in alone]
    np.testing.assert_allclose(tests["p_holm"], holm(np.array([result.p for result in alone])))
    assert tests[["a_alone", "b_alone"]].to_numpy().tolist() == [[r.table[0][1], r.table[1][0]] for r in alone]
    claims = tests["a_alone"] > tests["b_alone"]
    assert (tests["false_claim"].notna() == claims).all()
    assert (tests["false_claim"][claims] < 0.5).all()


def test_no_false_claim_is_computed_from_nodes_that_go_together(models):
    def of_nodes(of: Predictions) -> Predictions:
        names = [f"{place // 2:03d}::{place % 2}" for place in range(len(of.patients))]
        return predictions_from_logits(CLASSES, names, of.folds, of.labels, of.logits)

    nodes = {name: of_nodes(each) for name, each in models.items()}
    tests = compare(nodes, "elastic", n_resamples=20, n_permutations=10).tests
    assert (tests["a_alone"] > tests["b_alone"]).any()
    assert tests["false_claim"].isna().all()
    assert tests["p"].notna().all()


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
