import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.delong import auc_covariance, delong
from fusion_ln.metrics import score
from fusion_ln.predictions import predictions_from_logits

SIX_DIGITS = 5e-7


def test_agrees_with_r(r_models, r_figures):
    for (_, found), expected in zip(delong(*r_models).iterrows(), r_figures["delong"], strict=True):
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
    auc, covariance = auc_covariance(positive, scores)
    np.testing.assert_allclose(auc, [roc_auc_score(positive, s) for s in scores])
    np.testing.assert_allclose(covariance, np.cov(above) / 10 + np.cov(below) / 20)


def test_a_model_does_not_differ_from_itself_even_if_perfect():
    labels = np.array([0, 0, 0, 1, 1, 1])
    perfect = predictions_from_logits(("a", "b"), list("uvwxyz"), labels * 0, labels, 9 * np.eye(2)[labels])
    table = delong(perfect, perfect)
    assert table["z"].tolist() == [0, 0]
    assert table["p"].tolist() == [1, 1]
    assert not table.isna().any().any()


def test_a_class_of_one_patient_is_refused_by_name():
    labels = np.array([0, 0, 1])
    model = predictions_from_logits(("benign", "lymphoma"), list("xyz"), labels, labels, np.eye(2)[labels])
    with pytest.raises(PredictionsError, match="'lymphoma' has 1 of the 3"):
        delong(model, model)
