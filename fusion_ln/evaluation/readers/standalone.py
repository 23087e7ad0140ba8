"""A model standing alone against the mean of readers: one-treatment Obuchowski-Rockette, readers and cases random."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
import pandas as pd
from scipy import stats

from fusion_ln.decode.readers import Reader
from fusion_ln.evaluation.limits.auc import covariance
from fusion_ln.evaluation.limits.shares import LEVEL
from fusion_ln.evaluation.readers.cases import Cases, cases_of, has_measure, measures_of
from fusion_ln.predictions import Predictions

FEWEST_READERS = 3  # the test was simulated with 3 to 10
NEEDS_WRONG, NEEDS_MISPLACED = 5, 3  # patients; with fewer the test rejects too often
NO_VARIANCE = 1e-15  # what rounding leaves of none
NO_TEST = (np.nan,) * 7
STANDALONE_COLUMNS = [
    "measure", "class", "readers", "patients", "model", "readers_mean", "difference", "ci_low", "ci_high", "t", "df",
    "p", "hillis_df", "hillis_p",
]  # fmt: skip


@dataclass(frozen=True)
class StandAlone:
    """Model minus the mean of the readers, with its interval and test, and the test with Hillis' degrees of freedom."""

    difference: float
    ci_low: float
    ci_high: float
    t: float
    df: float
    p: float
    hillis_df: float
    hillis_p: float


def stand_alone_test(values: np.ndarray, influence: np.ndarray, groups: np.ndarray) -> StandAlone:
    """Test a model against the mean of the readers, for readers and cases like these.

    The J differences reader - model follow the Obuchowski-Rockette model with a single treatment (Obuchowski &
    Rockette 1995; Hillis 2005, 2007; for a stand-alone system Hillis et al. 2008 and Chakraborty 2017, ch. 22): their
    mean has the variance ``(MSR + S) / J``, where MSR is their mean square and S is ``max(J Cov2, 0)``, of the mean
    covariance Cov2 of two of them over cases, and Hillis' degrees of freedom ``(J - 1) (1 + S / MSR)^2``.

    These are large whenever MSR happens to be small, take S as known, and reject in up to 0.1 where nothing differs.
    Interval and ``p`` take ``(J - 1) (1 + S^2 / (MSR (MSR + S)))``, of which S, in its share of the variance, has those
    of Satterthwaite: chosen by simulation (``experiments/benchmarks/readers_size.md``). Where nothing varies, neither
    over readers nor over cases, there is neither interval nor test.

    Args:
        values: The measure of the model, then of each reader. Shape (1 + J,).
        influence: What each case adds to them. Shape (1 + J, P).
        groups: Group of each case, over which a value is a mean (for an AUC: with or without the class). Shape (P,).
    """
    differences, own = values[1:] - values[0], influence[1:] - influence[0]
    n_readers, free = len(differences), len(differences) - 1
    between = float(np.var(differences, ddof=1))
    together = own.sum(axis=0)
    all_pairs, own_pairs = covariance(together, together, groups), covariance(own, own, groups)
    shared = max(float(all_pairs - own_pairs.sum()) / free, 0.0)  # J Cov2
    difference, denominator = -float(differences.mean()), between + shared
    if denominator <= NO_VARIANCE:
        return StandAlone(difference, *NO_TEST)
    hillis_df, readers_df = np.inf, np.inf
    if between > NO_VARIANCE:
        hillis_df = free * (denominator / between) ** 2
        readers_df = free * (1 + shared**2 / (between * denominator))
    df = 1 / (1 / readers_df + (shared / denominator) ** 2 / _df_of_cases(own.mean(axis=0), groups))
    error = float(np.sqrt(denominator / n_readers))
    half = float(stats.t.ppf((1 + LEVEL) / 2, df)) * error
    p, hillis_p = (float(2 * stats.t.sf(abs(difference) / error, of)) for of in (df, hillis_df))
    return StandAlone(difference, difference - half, difference + half, difference / error, df, p, hillis_df, hillis_p)


def _df_of_cases(influence: np.ndarray, groups: np.ndarray) -> float:
    """Compute the degrees of freedom of a variance over cases (Satterthwaite), the kurtosis of each group counted."""
    variance, uncertainty = 0.0, 0.0
    for group in np.unique(groups):
        squares = np.square(influence[groups == group] - influence[groups == group].mean())
        n, total = len(squares), float(squares.sum())
        if total <= NO_VARIANCE:
            continue
        excess = max(n * float(np.square(squares).sum()) / total**2 - 3, 0.0)
        part = total * n / (n - 1)
        variance, uncertainty = variance + part, uncertainty + part**2 * (2 / (n - 1) + excess / n)
    return 2 * variance**2 / uncertainty if uncertainty else np.inf


def stand_alone(predictions: Predictions, readers: Sequence[Reader]) -> pd.DataFrame:
    """Compare the model with the mean of the readers, on the patients whom all of them read.

    Returns:
        ``measure, class, readers, patients, model, readers_mean, difference`` (model - readers) ``, ci_low, ci_high, t,
        df, p, hillis_df, hillis_p``; no row for a measure with fewer than `FEWEST_READERS` readers or too few patients,
        no test where `testable` says so.
    """
    rows = []
    for measure, of_class in measures_of(readers, predictions.classes):
        able = [reader for reader in readers if has_measure(reader, measure, of_class)]
        if len(able) < FEWEST_READERS:
            continue
        cases = cases_of(predictions, able, measure, of_class)
        if cases.enough:
            model, mean = float(cases.figures[0]), float(cases.figures[1:].mean())
            found = StandAlone(model - mean, *NO_TEST)
            if testable(cases):
                found = stand_alone_test(cases.figures, cases.influence, cases.positive)
            rows.append([measure, of_class, len(able), cases.patients, model, mean, *astuple(found)])
    return pd.DataFrame(rows, columns=STANDALONE_COLUMNS)


def testable(cases: Cases) -> bool:
    """Test whether model and readers erred often enough, in the mean, for the test to hold, and were right as often.

    Of the smallest group at least `NEEDS_WRONG` patients; for an AUC `NEEDS_MISPLACED`, as parts of patients.
    """
    figure = float(cases.figures[0] + cases.figures[1:].mean()) / 2
    wrong = cases.smallest * min(figure, 1 - figure)
    return wrong >= (NEEDS_MISPLACED if cases.measure == "auc" else NEEDS_WRONG)
