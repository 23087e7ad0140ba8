"""A model standing alone against the mean of readers: one-treatment Obuchowski-Rockette, readers and cases random."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
import pandas as pd
from scipy import stats

from fusion_ln.decode.readers import Reader
from fusion_ln.evaluation.limits.shares import LEVEL
from fusion_ln.evaluation.readers.cases import cases_of, has_measure, measures_of
from fusion_ln.predictions import Predictions

FEWEST_READERS = 3  # the test was simulated with 3 to 10
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


def stand_alone_test(figures: np.ndarray, covariance: np.ndarray) -> StandAlone:
    """Test a model against the mean of the readers, for readers and cases like these.

    The J differences reader - model follow the Obuchowski-Rockette model with a single treatment (Obuchowski &
    Rockette 1995; Hillis 2005, 2007; for a stand-alone system Hillis et al. 2008 and Chakraborty 2017, ch. 22): their
    mean has the variance ``(MSR + max(J Cov2, 0)) / J``, where MSR is their mean square and Cov2 the mean covariance of
    two of them over cases, and Hillis' degrees of freedom ``(MSR + max(J Cov2, 0))^2 / (MSR^2 / (J - 1))``.

    These degrees of freedom are large whenever MSR happens to be small, and then reject in up to 0.09 where nothing
    differs. With S = max(J Cov2, 0), interval and ``p`` therefore take ``(J - 1) (1 + S^2 / (MSR (MSR + S)))`` instead
    of Hillis' ``(J - 1) (1 + S / MSR)^2``: chosen by simulation (``experiments/benchmarks/readers_size.md``). Where
    nothing varies, neither over readers nor over cases, there is neither interval nor test.

    Args:
        figures: The measure of the model, then of each reader. Shape (1 + J,).
        covariance: Their covariance over cases. Shape (1 + J, 1 + J).
    """
    contrast = np.hstack([-np.ones((len(figures) - 1, 1)), np.eye(len(figures) - 1)])
    differences, fixed = contrast @ figures, contrast @ covariance @ contrast.T
    n_readers = len(differences)
    between = float(np.var(differences, ddof=1))
    shared = max(float(fixed.sum() - np.trace(fixed)) / (n_readers - 1), 0.0)  # J Cov2
    denominator = between + shared
    free = n_readers - 1
    hillis_df = free * (denominator / between) ** 2 if between else np.inf
    df = free * (1 + shared**2 / (between * denominator)) if between else np.inf
    difference, error = -float(differences.mean()), float(np.sqrt(denominator / n_readers))
    if not error:
        return StandAlone(difference, *[np.nan] * 7)
    t = difference / error
    half = float(stats.t.ppf((1 + LEVEL) / 2, df)) * error
    p, hillis_p = (float(2 * stats.t.sf(abs(t), of)) for of in (df, hillis_df))
    return StandAlone(difference, difference - half, difference + half, float(t), df, p, float(hillis_df), hillis_p)


def stand_alone(predictions: Predictions, readers: Sequence[Reader]) -> pd.DataFrame:
    """Compare the model with the mean of the readers, on the patients whom all of them read.

    Returns:
        ``measure, class, readers, patients, model, readers_mean, difference`` (model - readers) ``, ci_low, ci_high, t,
        df, p, hillis_df, hillis_p``; no row for a measure with fewer than `FEWEST_READERS` readers or too few patients.
    """
    rows = []
    for measure, of_class in measures_of(readers, predictions.classes):
        able = [reader for reader in readers if has_measure(reader, measure, of_class)]
        if len(able) < FEWEST_READERS:
            continue
        cases = cases_of(predictions, able, measure, of_class)
        if cases.enough:
            figures, covariance = cases.figures()
            found = stand_alone_test(figures, covariance)
            means = (figures[0], figures[1:].mean())
            rows.append([measure, of_class, len(able), cases.patients, *means, *astuple(found)])
    return pd.DataFrame(rows, columns=STANDALONE_COLUMNS)
