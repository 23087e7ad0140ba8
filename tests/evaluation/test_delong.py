import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.delong import MACRO, delong, z_test
from fusion_ln.evaluation.intervals import resample
from fusion_ln.evaluation.limits.auc import aucs
from fusion_ln.metrics import score
from fusion_ln.predictions import predictions_from_logits

SIX_DIGITS = 5e-7


def test_agrees_with_r(r_models, r_figures):
    of_classes = delong(*r_models).query("`class` != @MACRO")
    for (_, found), expected in zip(of_classes.iterrows(), r_figures["delong"], strict=True):
        assert found["class"] == expected["class"]
        for name in ("auc_a", "auc_b", "var_a", "var_b", "cov_ab", "z", "p"):
            assert found[name] == pytest.approx(expected[name], rel=SIX_DIGITS)
        for model in "ab":
            limits = [found[f"{model}_low"], found[f"auc_{model}"], found[f"{model}_high"]]
            assert limits == pytest.approx(expected[f"ci_{model}"], rel=SIX_DIGITS)


def test_hand_till_agrees_with_r(r_models, r_figures):
    b = r_models[1]
    found = score(b.labels, b.probs, b.classes)["auc_ovo"][0]
    assert found == pytest.approx(r_figures["hand_till_b"], rel=SIX_DIGITS)


def test_covariance_is_that_of_the_placements(rng):
    """The definition of DeLong et al., pair by pair, ties counting half."""
    positive = np.arange(30) % 3 == 0
    scores = rng.integers(0, 6, (2, 30)).astype(float)
    above = [[np.mean((x > s[~positive]) + 0.5 * (x == s[~positive])) for x in s[positive]] for s in scores]
    below = [[np.mean((s[positive] > y) + 0.5 * (s[positive] == y)) for y in s[~positive]] for s in scores]
    of_a, of_b = (aucs(positive.astype(int), np.column_stack([-s, s])) for s in scores)
    np.testing.assert_allclose([a.by_class[1] for a in (of_a, of_b)], [roc_auc_score(positive, s) for s in scores])
    expected = np.cov(above) / 10 + np.cov(below) / 20
    found = [[x.covariance(y)[1] for y in (of_a, of_b)] for x in (of_a, of_b)]
    np.testing.assert_allclose(found, expected)


def two_models(rng, n_classes: int, n: int = 60):
    labels, names = np.arange(n) % n_classes, tuple("abc"[:n_classes])
    logits = rng.normal(size=(2, n, n_classes)) + np.eye(n_classes)[labels]
    return [predictions_from_logits(names, [f"P{i:02d}" for i in range(n)], labels * 0, labels, own) for own in logits]


def test_with_two_classes_the_macro_test_is_delongs(rng):
    table = delong(*two_models(rng, 2)).set_index("class")
    columns = ["auc_a", "auc_b", "var_a", "var_b", "cov_ab", "z", "p"]
    np.testing.assert_allclose(table.loc[MACRO, columns].tolist(), table.loc["a", columns].tolist())


def test_the_macro_variance_is_that_of_the_bootstrap_within_classes(rng):
    a, b = two_models(rng, 3, 90)
    found = delong(a, b).set_index("class").loc[MACRO]
    draws = resample([a, b], n_resamples=4000, seed=0)
    difference = draws[0].minus(draws[1])
    column = difference.names.index("auc_ovr")
    assert found["difference"] == pytest.approx(difference.value[column])
    variance = found["var_a"] + found["var_b"] - 2 * found["cov_ab"]
    assert variance == pytest.approx(difference.draws[:, column].var(), rel=0.08)
    assert found["z"] == pytest.approx(found["difference"] / np.sqrt(variance))


def test_a_certain_difference_has_a_p_value_of_zero():
    z, p = z_test(np.array([0.0, 0.2]), np.zeros(2))
    assert z.tolist() == [0, np.inf]
    assert p.tolist() == [1, 0]


def test_a_model_does_not_differ_from_itself_even_if_perfect():
    labels = np.array([0, 0, 0, 1, 1, 1])
    perfect = predictions_from_logits(("a", "b"), list("uvwxyz"), labels * 0, labels, 9 * np.eye(2)[labels])
    table = delong(perfect, perfect)
    assert table["z"].tolist() == [0, 0, 0]
    assert table["p"].tolist() == [1, 1, 1]
    assert not table.isna().any().any()


def test_a_class_of_one_patient_is_refused_by_name():
    labels = np.array([0, 0, 1])
    model = predictions_from_logits(("benign", "lymphoma"), list("xyz"), labels, labels, np.eye(2)[labels])
    with pytest.raises(PredictionsError, match="'lymphoma' has 1 of the 3"):
        delong(model, model)
