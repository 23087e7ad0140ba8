import numpy as np
import pytest
from sklearn.metrics import recall_score, roc_auc_score

from fusion_ln.cohort.phantom.findings import (
    attainable,
    attainable_by_tables,
    draw_findings,
    posterior,
    tables,
)
from fusion_ln.terms import subsets

MODALITIES = ("2d", "cdfi", "elastic")

ALL = subsets(MODALITIES)


def draw(n, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(tables().classes), n, p=tables().prevalence)
    return labels, draw_findings(labels, rng)


@pytest.fixture(scope="module")
def many():
    return draw(200_000)


def test_every_level_is_possible_in_every_class_and_shares_sum_to_one():
    for name, shares in tables().shares.items():
        assert shares.shape == (len(tables().classes), len(tables().levels[name])), name
        assert (shares > 0).all(), name
        np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_findings_come_as_often_as_the_tables_say(many):
    labels, findings = many
    for name, shares in tables().shares.items():
        for label, expected in enumerate(shares):
            seen = findings.loc[labels == label, name].value_counts(normalize=True)
            np.testing.assert_allclose(seen[tables().levels[name]], expected, atol=0.01)


@pytest.mark.parametrize("modality", MODALITIES)
def test_posterior_is_the_share_of_classes_among_the_same_findings(many, modality):
    labels, findings = many
    shown = list(tables().shown[modality])
    for _, alike in findings.groupby(shown):
        if len(alike) >= 2000:
            share = np.bincount(labels[alike.index], minlength=len(tables().classes)) / len(alike)
            np.testing.assert_allclose(posterior(alike.iloc[:1], [modality])[0], share, atol=0.04)


def test_posterior_without_a_modality_is_the_prevalence():
    _, findings = draw(3)
    np.testing.assert_allclose(posterior(findings, []), np.tile(tables().prevalence, (3, 1)))


def test_a_finding_that_two_modalities_show_counts_once():
    _, findings = draw(50)
    once = posterior(findings, ["cdfi", "elastic"])
    likelihood = np.ones_like(once)
    for name in ("flow", "elastography_score", "shape"):
        for row, level in enumerate(findings[name]):
            likelihood[row] *= tables().shares[name][:, tables().levels[name].index(level)]
    expected = likelihood * tables().prevalence
    np.testing.assert_allclose(once, expected / expected.sum(axis=1, keepdims=True))


def test_attainable_figures_agree_with_scikit_learn():
    labels, findings = draw(500)
    probs = posterior(findings, ["cdfi"])
    figures = attainable(probs, labels)
    assert figures["auc"] == pytest.approx(roc_auc_score(labels, probs, multi_class="ovr"), abs=1e-9)
    recalls = recall_score(labels, probs.argmax(axis=1), average=None)
    for label, name in enumerate(tables().classes):
        assert figures[f"auc_{name}"] == pytest.approx(roc_auc_score(labels == label, probs[:, label]), abs=1e-9)
        assert figures[f"recall_{name}"] == pytest.approx(recalls[label])


def test_the_most_probable_class_is_no_bound_of_a_recall():
    """Weighing classes equally finds more lymphoma; over all patients of the tables, 0.884 against 0.813."""
    figures = attainable_by_tables(MODALITIES)
    assert figures["recall_lymphoma"] == pytest.approx(0.8126, abs=1e-4)
    assert figures["balanced_recall_lymphoma"] == pytest.approx(0.8841, abs=1e-4)
    labels, findings = draw(300)
    probs = posterior(findings, MODALITIES)
    balanced = recall_score(labels, (probs / tables().prevalence).argmax(axis=1), average=None)
    assert attainable(probs, labels)["balanced_recall_lymphoma"] == pytest.approx(balanced[1])


def test_a_class_without_patients_has_no_figures():
    labels, findings = draw(60)
    kept = labels != 1
    figures = attainable(posterior(findings[kept], ["2d"]), labels[kept])
    assert "auc_lymphoma" not in figures
    assert figures["auc"] == pytest.approx((figures["auc_benign"] + figures["auc_metastatic"]) / 2)


@pytest.mark.parametrize("name", ALL)
def test_attainable_by_tables_is_what_a_large_draw_attains(many, name):
    labels, findings = many
    drawn = attainable(posterior(findings, ALL[name]), labels)
    assert attainable_by_tables(ALL[name]) == pytest.approx(drawn, abs=0.01)


def test_ceilings_are_as_designed():
    auc = {name: attainable_by_tables(subset)["auc"] for name, subset in ALL.items()}
    singles = {name: auc[name] for name in MODALITIES}
    assert singles == pytest.approx({"2d": 0.92, "cdfi": 0.90, "elastic": 0.94}, abs=0.01)
    assert max(singles, key=singles.get) == "elastic"
    assert auc["2d+cdfi+elastic"] >= 0.98
    assert all(auc[pair] > max(auc[name] for name in ALL[pair]) for pair in ALL if len(ALL[pair]) == 2)


def test_lymphoma_needs_all_three_modalities():
    recall = {name: attainable_by_tables(subset)["recall_lymphoma"] for name, subset in ALL.items()}
    assert all(recall[name] < 0.7 for name in MODALITIES)
    assert recall["2d+cdfi+elastic"] > 0.8
    assert recall["2d+cdfi+elastic"] > 0.05 + max(value for name, value in recall.items() if len(ALL[name]) < 3)
