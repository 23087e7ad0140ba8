"""Paired tests of two models beside DeLong's, and corrections for multiple tests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import chdtrc
from scipy.stats import rankdata
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from fusion_ln.evaluation.intervals import align, name_columns, split_name
from fusion_ln.evaluation.limits import large
from fusion_ln.evaluation.limits.clusters import sum_by_patient
from fusion_ln.evaluation.swaps import swap_test
from fusion_ln.metrics import METRICS, PRIMARY, Metric, need_patients, score, score_summary
from fusion_ln.predictions import Predictions

SWAPPED = ("auc", PRIMARY)  # metrics that `swap_test` tests
_OTHERS = [metric for metric in METRICS if metric.name not in SWAPPED]
_BLOCK = 1 << 23  # counts held at once: 32 MiB


@dataclass(frozen=True)
class McNemar:
    """Result of McNemar's test; it rests on the patients on whom exactly one of two models is right.

    Attributes:
        table: Patients by model A right, wrong (rows) and model B right, wrong (columns).
        chi2, p: Without continuity correction: closest to its nominal level (Fagerland et al. 2013).
        chi2_corrected, p_corrected: With it, R's default; rejects too rarely. NaN where patients have several nodes.
    """

    table: tuple[tuple[int, int], tuple[int, int]]
    chi2: float
    p: float
    chi2_corrected: float
    p_corrected: float


def mcnemar(a: Predictions, b: Predictions) -> McNemar:
    """Test the accuracy of two models by McNemar's test.

    Where patients have several nodes it counts nodes and is the test of Obuchowski 1998 (Statist. Med. 17, 1495): with
    one node each its statistic is McNemar's, but for a factor of 1 - 1 / patients.

    Raises:
        PredictionsError: If the two do not fit together (see `align`).
    """
    a, b = align(a, b)
    right_a, right_b = (model.probs.argmax(axis=1) == model.labels for model in (a, b))
    table = np.array([[np.sum((right_a == i) & (right_b == j)) for j in (True, False)] for i in (True, False)])
    rows = ((int(table[0, 0]), int(table[0, 1])), (int(table[1, 0]), int(table[1, 1])))
    if table[0, 1] + table[1, 0] == 0:
        return McNemar(rows, 0.0, 1.0, 0.0, 1.0)
    if a.clusters is not None:
        ahead = sum_by_patient(right_a.astype(np.int64) - right_b, a.clusters)
        chi2 = _clustered_mcnemar(ahead)
        return McNemar(rows, chi2, float(chdtrc(1, chi2)), np.nan, np.nan)
    plain, corrected = (statsmodels_mcnemar(table, exact=False, correction=c) for c in (False, True))
    return McNemar(rows, plain.statistic, plain.pvalue, corrected.statistic, corrected.pvalue)


def _clustered_mcnemar(ahead: np.ndarray) -> float:
    """Compute Obuchowski's statistic from how many more nodes of each patient (I,) the first model recognises."""
    if ahead.sum() == 0:
        return 0.0
    return float((1 - 1 / len(ahead)) * ahead.sum() ** 2 / np.square(ahead).sum())


def permutation_test(a: Predictions, b: Predictions, *, n_permutations: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Test every metric's difference by swapping the two models' predictions of each patient, all nodes, at random.

    The one-vs-rest AUCs and their mean have the test of `swap_test`, which is studentised and has more draws. The
    hypothesis of the others is that a patient's predictions may be exchanged between the models, which is more than an
    equal value of the metric; of a count of few patients, such as the recall of a small class, it rejects more rarely
    than its level says. For the one-vs-one AUC mid-ranks within each model are swapped, not probabilities, so that two
    models with other scales but the same order do not differ (Bandos, Rockette & Gur 2005).

    Returns:
        One row per metric: ``metric, class, difference`` (a - b) ``, permutation_p`` (two-sided, never 0).

    Raises:
        PredictionsError: If the two do not fit together (see `align`), or a class has fewer than 2 patients.
    """
    a, b = align(a, b)
    need_patients(a.labels, a.classes, at_least=2, clusters=a.clusters)
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // (2 * len(a.labels)))
    owner = np.arange(len(a.labels)) if a.clusters is None else a.clusters
    observed = _swapped_differences(a, b, np.zeros((1, len(a.labels)), dtype=bool), METRICS)
    extreme = {
        name: 1 for name in observed if split_name(name)[0] not in SWAPPED
    }  # the observed order is a possible one
    if by_sums := large.draws_by_sums(a.labels, a.clusters):
        step = n_permutations
    for start in range(0, n_permutations, step):
        rows = min(step, n_permutations - start)
        if by_sums:
            permuted = _swapped_sums(a, b, rows, rng)
        else:
            swaps = rng.random((rows, int(owner.max()) + 1)) < 0.5
            permuted = _swapped_differences(a, b, swaps[:, owner], _OTHERS)
        for name, differences in permuted.items():
            # Equal differences may differ in the last bit, by the order of their sums.
            extreme[name] += int(np.sum(np.abs(differences) >= abs(observed[name][0]) - 1e-12))
    table = name_columns(tuple(observed))
    table["difference"] = [value[0] for value in observed.values()]
    found = {name: count / (n_permutations + 1) for name, count in extreme.items()}
    found |= zip([*(f"auc:{name}" for name in a.classes), PRIMARY], swap_test([a], [b], seed=seed), strict=True)
    table["permutation_p"] = [found[name] for name in observed]
    return table


def all_better(z: np.ndarray, p_values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Test by intersection and union that a model is better than each of several others (Berger 1982).

    Every single test must reject, so their number needs no correction: the p-value is the largest of theirs, and 1
    where the model is not ahead of everyone.

    Args:
        z: Standardised differences, the model minus each other. Shape (K, ...).
        p_values: Their two-sided p-values. Shape (K, ...).

    Returns:
        The p-value, and the place of the other model that decides. Both of shape (...).
    """
    sided = np.where(z > 0, p_values, 1.0)
    return sided.max(axis=0), sided.argmax(axis=0)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Correct p-values to bound the chance of any false rejection in the family, the first axis (Holm 1979)."""
    order = p_values.argsort(axis=0)
    left = np.arange(len(p_values), 0, -1).reshape(-1, *[1] * (p_values.ndim - 1))
    stepped = np.maximum.accumulate(np.take_along_axis(p_values, order, axis=0) * left, axis=0)
    adjusted = np.empty(p_values.shape)
    np.put_along_axis(adjusted, order, stepped.clip(max=1), axis=0)
    return adjusted


def benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """Correct p-values to bound the share of false rejections in the family (Benjamini & Hochberg 1995)."""
    adjusted: np.ndarray = multipletests(p_values, method="fdr_bh")[1]
    return adjusted


def _swapped_differences(
    a: Predictions, b: Predictions, swaps: np.ndarray, metrics: Sequence[Metric]
) -> dict[str, np.ndarray]:
    """Compute metrics' differences after swaps (R, P): both models are halves of one sample of 2P."""
    labels = np.concatenate([a.labels, a.labels])
    probs = np.concatenate([a.probs, b.probs])
    ranks = np.concatenate([rankdata(model.probs, axis=0) for model in (a, b)])
    first = np.concatenate([~swaps, swaps], axis=1).astype(np.float32)  # (R, 2P)
    halves = (first, 1 - first)
    scores = [score(labels, probs, a.classes, half, ranking=ranks, metrics=metrics) for half in halves]
    return {name: scores[0][name] - scores[1][name] for name in scores[0]}


def _swapped_sums(a: Predictions, b: Predictions, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Compute what `_swapped_differences` does for ``n`` random swaps in a large sample."""
    n_patients, classes = len(a.labels), a.classes
    probs = np.concatenate([a.probs, b.probs])
    ranks = np.concatenate([rankdata(model.probs, axis=0) for model in (a, b)])
    joint = large.terms_of(np.concatenate([a.labels, a.labels]), probs, ranks)
    halves = []
    for part in (slice(None, n_patients), slice(n_patients, None)):
        values = joint.each[part].copy()
        values[:, : len(joint.auc)] *= 2  # influence on a half is that on the whole, twice
        halves.append(large.Terms(joint.labels[part], joint.predicted[part], joint.auc, values))
    scores = [
        score_summary(half, classes, metrics=_OTHERS) for half in large.swapped_sums(halves[0], halves[1], n, rng)
    ]
    return {name: scores[0][name] - scores[1][name] for name in scores[0]}
