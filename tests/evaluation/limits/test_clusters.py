"""Patients with several nodes: clustered tests and intervals, against their papers' formulas written out plainly."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.delong import MACRO, delong, p_of_means
from fusion_ln.evaluation.intervals import metric_intervals, paired_differences, resample
from fusion_ln.evaluation.limits.auc import aucs, covariance
from fusion_ln.evaluation.limits.clusters import alike_patients, drawn_among, effective_number
from fusion_ln.evaluation.limits.resampling import resample_counts
from fusion_ln.evaluation.significance import mcnemar, permutation_test
from fusion_ln.evaluation.swaps import swap_test
from fusion_ln.predictions import Predictions, predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")


def of_nodes(
    owners: np.ndarray, labels: np.ndarray, logits: np.ndarray, classes: tuple[str, ...] = CLASSES
) -> Predictions:
    """Predictions of nodes; ``owners`` numbers their patients."""
    names = [f"P{owner:03d}::{k:04d}" for k, owner in enumerate(owners)]
    return predictions_from_logits(classes, names, labels * 0, labels, logits)


def simulate(rng: np.random.Generator, n_classes: int = 3, n_patients: int = 40, models: int = 2) -> list[Predictions]:
    """Models that see one to three nodes of each patient through noise, half of it the patient's."""
    owners = np.repeat(np.arange(n_patients), rng.integers(1, 4, n_patients))
    own_class = rng.permutation(np.arange(n_patients) % n_classes)
    labels = np.where(rng.random(len(owners)) < 0.7, own_class[owners], rng.integers(0, n_classes, len(owners)))
    made = []
    for _ in range(models):
        noise = rng.normal(size=(n_patients, n_classes))[owners] + rng.normal(size=(len(owners), n_classes))
        made.append(of_nodes(owners, labels, 1.5 * np.eye(n_classes)[labels] + noise, CLASSES[:n_classes]))
    return made


def obuchowski(owners: np.ndarray, positive: np.ndarray, r: np.ndarray, s: np.ndarray) -> float:
    """Covariance of two AUCs as Obuchowski 1997 writes it: sums over patients of placements of their nodes."""

    def placements(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        wins = np.array([[(x > y) + 0.5 * (x == y) for y in scores[~positive]] for x in scores[positive]], dtype=float)
        return wins.mean(axis=1), wins.mean(axis=0), float(wins.mean())

    def sums(values: np.ndarray, members: np.ndarray, auc: float) -> np.ndarray:
        return np.array([np.sum(values[members == i] - auc) for i in np.unique(owners)])

    of, rest = owners[positive], owners[~positive]
    (x_r, y_r, auc_r), (x_s, y_s, auc_s) = placements(r), placements(s)
    ten, one = (
        [sums(x, of, a) for x, a in ((x_r, auc_r), (x_s, auc_s))],
        [sums(y, rest, a) for y, a in ((y_r, auc_r), (y_s, auc_s))],
    )
    m, n, i = len(of), len(rest), len(np.unique(owners))
    i10, i01 = len(np.unique(of)), len(np.unique(rest))
    s10, s01 = i10 / ((i10 - 1) * m) * np.sum(ten[0] * ten[1]), i01 / ((i01 - 1) * n) * np.sum(one[0] * one[1])
    s11 = [i / (i - 1) * np.sum(ten[0] * one[1]), i / (i - 1) * np.sum(ten[1] * one[0])]
    return float(s10 / m + s01 / n + sum(s11) / (m * n))


def test_delong_of_nodes_is_obuchowskis(rng):
    a, b = simulate(rng, 2)
    owners, positive = a.clusters, a.labels == 1
    scores = [model.probs[:, 1].round(1) for model in (a, b)]  # ties happen
    a, b = (of_nodes(owners, a.labels, np.column_stack([-s, s]), CLASSES[:2]) for s in scores)
    found = delong(a, b).set_index("class").loc["lymphoma"]
    expected = [obuchowski(owners, positive, x, y) for x, y in ((*scores[:1] * 2,), (*scores[1:] * 2,), scores)]
    np.testing.assert_allclose(found[["var_a", "var_b", "cov_ab"]].tolist(), expected)


def test_with_two_classes_the_macro_test_of_nodes_is_that_of_a_class(rng):
    table = delong(*simulate(rng, 2)).set_index("class")
    columns = ["auc_a", "var_a", "cov_ab", "z", "p"]
    np.testing.assert_allclose(table.loc[MACRO, columns].tolist(), table.loc["benign", columns].tolist())


def test_mcnemar_of_nodes_is_obuchowskis(rng):
    """Counts of each patient, under one share of hits of both models, as the paper of 1998 has them."""
    a, b = simulate(rng)
    right = [(m.probs.argmax(axis=1) == m.labels).astype(float) for m in (a, b)]
    hits = np.array([[r[a.clusters == i].sum() for i in range(40)] for r in right])
    nodes, total = np.bincount(a.clusters), len(a.labels)
    share = hits.sum() / 2 / total
    off = hits - nodes * share
    variance = 40 / 39 * (np.sum(off[0] ** 2) + np.sum(off[1] ** 2) - 2 * np.sum(off[0] * off[1])) / total**2
    expected = ((hits[0].sum() - hits[1].sum()) / total) ** 2 / variance
    found = mcnemar(a, b)
    assert (found.chi2, found.p) == pytest.approx((expected, chi2.sf(expected, 1)))
    assert np.sum(found.table) == total


def test_the_effective_number_has_the_variance_of_the_bootstrap_over_patients(rng):
    of = rng.integers(1, 4, 200)
    hits = np.where(rng.random(200) < 0.5, of, rng.binomial(of, 0.5))
    draws = rng.integers(0, 200, (4000, 200))
    variance = (hits[draws].sum(axis=1) / of[draws].sum(axis=1)).var()
    share = hits.sum() / of.sum()
    assert share * (1 - share) / effective_number(hits, of) == pytest.approx(variance, rel=0.08)


def test_alike_patients_have_the_degrees_of_freedom_of_their_sum_of_squares(rng):
    nodes = np.array([1, 1, 2, 3, 5])
    drawn = np.square(nodes * rng.normal(size=(40_000, 5))).sum(axis=1)
    owners = np.repeat(np.arange(5), nodes)
    found = alike_patients(np.ones(12, dtype=bool), owners)
    assert found == pytest.approx(2 * drawn.mean() ** 2 / drawn.var(), rel=0.05)
    assert alike_patients(owners > 1, np.arange(12)) == (owners > 1).sum()


def test_nodes_that_all_hit_are_worth_less_than_one_each():
    assert effective_number(np.full(30, 3), np.full(30, 3)) < 30
    assert effective_number(np.zeros(30), np.ones(30)) < 30


def test_patients_of_one_node_have_the_figures_of_patients(rng):
    labels = np.arange(60) % 3
    logits = rng.normal(size=(2, 60, 3)) + np.eye(3)[labels]
    nodes = [of_nodes(np.arange(60), labels, own) for own in logits]
    patients = [
        predictions_from_logits(CLASSES, [f"P{i:03d}" for i in range(60)], labels * 0, labels, o) for o in logits
    ]
    assert nodes[0].clusters is None
    for figures in (delong, permutation_test, lambda a, b: paired_differences(a, b, n_resamples=50)):
        pd.testing.assert_frame_equal(figures(*nodes), figures(*patients), check_exact=True)
    assert mcnemar(*nodes) == mcnemar(*patients)


def test_doubled_nodes_leave_the_intervals_of_patients_as_wide(rng):
    """A node that stands twice tells nothing new: limits that count nodes would shrink by a third."""
    labels = np.arange(90) % 3
    logits = rng.normal(size=(90, 3)) + 1.5 * np.eye(3)[labels]
    once, twice = (of_nodes(np.repeat(np.arange(90), k), np.repeat(labels, k), np.repeat(logits, k, 0)) for k in (1, 2))
    widths = [
        (table := metric_intervals(each, n_resamples=400).set_index(["metric", "class"]))["ci_high"] - table["ci_low"]
        for each in (once, twice)
    ]
    ratio = (widths[1] / widths[0]).dropna()
    assert len(ratio) > 15
    assert ratio.between(0.9, 1.15).all(), ratio


def test_patients_are_drawn_among_those_of_one_rarest_class():
    owners = np.array([0, 1, 1, 2, 2, 3, 4, 4, 5])
    labels = np.array([0, 0, 1, 0, 2, 0, 1, 2, 1])  # patients with each class: 4, 3 and 2
    groups = drawn_among(labels, owners)
    assert [set(np.flatnonzero(groups == each)) for each in np.unique(groups)] == [{0, 3}, {1, 5}, {2, 4}]
    owners, labels = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4]), np.array([0, 1, 0, 1, 0, 2, 0, 2, 1])
    groups = drawn_among(labels, owners)  # class 0 is nobody's rarest
    assert [set(np.flatnonzero(groups == each)) for each in groups[[0, 2, 4]]] == [{0, 1}, {2, 3}, {4}]


def test_nodes_of_a_patient_are_drawn_together_and_no_class_is_lost(rng):
    a = simulate(rng)[0]
    counts = np.concatenate(list(resample_counts(a.labels, 300, 0, a.clusters)))
    assert all((counts[:, a.clusters == i] == counts[:, [np.argmax(a.clusters == i)]]).all() for i in range(40))
    assert all((counts[:, a.labels == c].sum(axis=1) > 0).all() for c in range(3))


def test_the_seeds_of_a_model_are_tested_as_one_where_they_agree(rng):
    a, b = simulate(rng)
    probs = (np.stack([each.probs, each.probs]) for each in (a, b))
    assert p_of_means(a.labels, *probs, a.clusters) == pytest.approx(delong(a, b)["p"].to_numpy())
    assert swap_test([a, a], [b, b], n_swaps=99).tolist() == swap_test([a], [b], n_swaps=99).tolist()


def test_tests_that_ignore_who_goes_together_reject_too_often(rng):
    """Equal models of 40 patients with three nodes nearly alike."""
    owners, labels = np.repeat(np.arange(40), 3), np.repeat(np.arange(40) % 3, 3)
    rejected = []
    for _ in range(150):
        noise = rng.normal(size=(2, 40, 3))[:, owners] + 0.3 * rng.normal(size=(2, 120, 3))
        models = [aucs(labels, np.eye(3)[labels] + own, owners) for own in noise]
        gap, influence = models[0].macro - models[1].macro, models[0].macro_influence - models[1].macro_influence
        z = [gap / np.sqrt(covariance(influence, influence, labels, who)) for who in (None, owners)]
        rejected.append(np.abs(z) > 1.96)
    alone, ours = np.mean(rejected, axis=0)
    assert alone > 0.15
    assert ours < 0.1


def test_a_class_with_the_nodes_of_one_patient_is_refused(rng):
    owners, labels = np.array([0, 1, 2, 3, 3]), np.array([0, 0, 0, 1, 1])
    model = of_nodes(owners, labels, rng.normal(size=(5, 2)), CLASSES[:2])
    with pytest.raises(PredictionsError, match="'lymphoma' has 1 of the 4 patients"):
        resample([model], n_resamples=2, seed=0)
