"""Each reader by itself, and the model on the patients whom this reader read."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import expit, logit, ndtr
from scipy.stats import binomtest

from fusion_ln.decode.readers import Reader
from fusion_ln.evaluation.limits.shares import Z, share_interval
from fusion_ln.evaluation.readers.cases import Cases, cases_of, has_measure, measures_of
from fusion_ln.predictions import Predictions

NONE = (np.nan, np.nan)
POINT_COLUMNS = [
    "reader", "measure", "class", "patients", "value", "ci_low", "ci_high", "model", "difference", "difference_low",
    "difference_high", "p",
]  # fmt: skip


def reader_points(predictions: Predictions, readers: Sequence[Reader]) -> pd.DataFrame:
    """Compare each reader with the model, paired, on the patients whom the reader read.

    Intervals: Wilson for shares, DeLong on the logit for an AUC; of differences DeLong, and for shares the adjusted
    Wald interval of Bonett & Price (2012, J. Educ. Behav. Stat. 37, 479-488). p: exact McNemar, DeLong.

    Args:
        predictions: Of the model; its call is the class of the highest probability.
        readers: See `fusion_ln.decode.readers.find_readers`.

    Returns:
        ``reader, measure, class, patients, value, ci_low, ci_high, model, difference`` (model - reader)
        ``, difference_low, difference_high, p``. ``patients`` are those of the measure: for a sensitivity those of the
        class. No interval and no p where there are fewer than `FEWEST`.
    """
    rows = []
    for reader in readers:
        for measure, of_class in measures_of([reader], predictions.classes):
            if has_measure(reader, measure, of_class):
                cases = cases_of(predictions, [reader], measure, of_class)
                if cases.patients and (measure != "auc" or 0 < cases.positive.sum() < cases.patients):
                    rows.append([reader.name, measure, of_class, cases.patients, *_compare(cases)])
    return pd.DataFrame(rows, columns=POINT_COLUMNS)


def _compare(cases: Cases) -> list[float]:
    if not cases.enough:
        model, reader = _value_alone(cases)
        return [reader, *NONE, model, model - reader, *NONE, np.nan]
    (model, reader), covariance = cases.figures()
    difference = float(model - reader)
    if cases.measure == "auc":
        own = _logit_interval(float(reader), float(np.sqrt(covariance[1, 1])))
        error = float(np.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0)))
        p = float(2 * ndtr(-abs(difference) / error)) if error else float(difference == 0)
        return [reader, *own, model, difference, difference - Z * error, difference + Z * error, p]
    own = share_interval(int(cases.held[1].sum()), cases.patients)
    return [reader, *own, model, difference, *_paired_shares(cases.held)]


def _value_alone(cases: Cases) -> tuple[float, float]:
    """Compute the measure of model and reader where there are too few patients for a covariance."""
    if cases.measure != "auc":
        return float(cases.held[0].mean()), float(cases.held[1].mean())
    pairs = cases.held[:, cases.positive][:, :, None] - cases.held[:, ~cases.positive][:, None, :]
    model, reader = ((pairs > 0) + 0.5 * (pairs == 0)).mean(axis=(1, 2))
    return float(model), float(reader)


def _logit_interval(auc: float, error: float) -> tuple[float, float]:
    if not (0 < auc < 1 and error):
        return NONE
    half = Z * error / (auc * (1 - auc))
    return float(expit(logit(auc) - half)), float(expit(logit(auc) + half))


def _paired_shares(right: np.ndarray) -> tuple[float, float, float]:
    """Compute interval and exact McNemar p of the difference of two paired shares (2, P)."""
    model_only, reader_only = int((right[0] > right[1]).sum()), int((right[0] < right[1]).sum())
    n = right.shape[1] + 2
    a, b = (model_only + 1) / n, (reader_only + 1) / n
    half = Z * np.sqrt((a + b - (a - b) ** 2) / n)
    discordant = model_only + reader_only
    p = float(binomtest(model_only, discordant).pvalue) if discordant else 1.0
    return max(a - b - half, -1.0), min(a - b + half, 1.0), p
