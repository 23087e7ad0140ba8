import itertools

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import accuracy_score, roc_auc_score
from statsmodels.stats.multitest import multipletests

from fusion_ln.evaluation.significance import all_better, benjamini_hochberg, holm, mcnemar, permutation_test
from fusion_ln.predictions import Predictions, predictions_from_logits

SIX_DIGITS = 5e-7


def two_class_model(logits: list[float], labels: list[int]) -> Predictions:
    patients = [f"P{i}" for i in range(len(labels))]
    columns = np.column_stack([np.zeros(len(labels)), logits])
    return predictions_from_logits(("benign", "malignant"), patients, np.zeros(len(labels)), np.array(labels), columns)


def test_mcnemar_agrees_with_r(r_models, r_figures):
    found, expected = mcnemar(*r_models), r_figures["mcnemar"]
    assert [list(row[::-1]) for row in found.table[::-1]] == expected["table"]  # R names wrong before right
    assert [found.chi2, found.p] == pytest.approx(list(expected["uncorrected"].values()), rel=SIX_DIGITS)
    corrected = [found.chi2_corrected, found.p_corrected]
    assert corrected == pytest.approx(list(expected["corrected"].values()), rel=SIX_DIGITS)


def test_mcnemar_of_models_that_err_alike_finds_nothing(r_models):
    found = mcnemar(r_models[0], r_models[0])
    assert (found.chi2, found.p, found.p_corrected) == (0, 1, 1)


def test_corrections_agree_with_r(r_figures):
    expected = r_figures["p_adjust"]
    np.testing.assert_allclose(holm(np.array(expected["p"])), expected["holm"], rtol=SIX_DIGITS)
    np.testing.assert_allclose(benjamini_hochberg(np.array(expected["p"])), expected["bh"], rtol=SIX_DIGITS)


def test_permutation_p_values_are_those_of_all_swaps():
    """Eight patients have 256 ways to swap: enough to count them all."""
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    a = two_class_model([-3, -1, 0.5, -2, 1, 3, 2, -0.4], labels)
    b = two_class_model([0.2, -1, 1.5, -2, -1.2, 3.3, 0.3, 0.4], labels)
    ranks = [np.argsort(np.argsort(m.probs[:, 1])) for m in (a, b)]
    guesses = [m.probs.argmax(axis=1) for m in (a, b)]
    swaps = [np.array(swap) for swap in itertools.product([False, True], repeat=8)]

    def share_as_extreme(metric, values):
        differences = [
            metric(labels, np.where(s, values[1], values[0])) - metric(labels, np.where(s, values[0], values[1]))
            for s in swaps
        ]
        return np.mean(np.abs(differences) >= abs(differences[0]) - 1e-12)

    found = permutation_test(a, b, n_permutations=20_000).set_index(["metric", "class"])["permutation_p"]
    assert found["auc_ovo", "all"] == pytest.approx(share_as_extreme(roc_auc_score, ranks), abs=0.015)
    assert found["accuracy", "all"] == pytest.approx(share_as_extreme(accuracy_score, guesses), abs=0.015)


def test_permutation_sees_no_auc_difference_in_scales_of_one_order():
    labels = [0, 1, 0, 1, 0, 1, 1]
    logits = np.array([-1, 0.5, 0.7, 1, -2, 3, 0.1])
    found = permutation_test(two_class_model(list(logits), labels), two_class_model(list(5 * logits), labels))
    table = found.set_index(["metric", "class"])
    assert table.loc[("auc_ovr", "all"), "permutation_p"] == 1
    assert table.loc[("brier", "all"), "difference"] != 0


def test_permutation_is_seeded_and_never_certain(r_models):
    tables = [permutation_test(*r_models, n_permutations=100, seed=3) for _ in range(2)]
    assert tables[0].equals(tables[1])
    assert (tables[0]["permutation_p"] > 0).all()


def test_holm_corrects_each_sample_along_the_first_axis(rng):
    families = rng.random((4, 3))
    expected = np.column_stack([multipletests(family, method="holm")[1] for family in families.T])
    np.testing.assert_allclose(holm(families), expected)


def test_all_must_be_beaten_and_the_weakest_decides():
    z = np.array([[3.0, 3.0, -1.0], [2.5, 1.0, 9.0]])
    p, decides = all_better(z, 2 * norm.sf(np.abs(z)))
    assert p.tolist() == pytest.approx([2 * norm.sf(2.5), 2 * norm.sf(1.0), 1.0])
    assert decides.tolist() == [1, 1, 0]
