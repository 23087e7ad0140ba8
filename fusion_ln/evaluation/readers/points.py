"""Each reader by itself, and the model on the patients whom this reader read."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from fusion_ln.decode.readers import Reader
from fusion_ln.evaluation.delong import z_test
from fusion_ln.evaluation.limits.auc import aucs, covariance
from fusion_ln.evaluation.limits.shares import Limits, difference_limits, wilson
from fusion_ln.evaluation.readers.cases import Cases, cases_of, has_measure, measures_of
from fusion_ln.predictions import Predictions

NONE = (np.nan, np.nan)
POINT_COLUMNS = [
    "reader", "measure", "class", "patients", "value", "ci_low", "ci_high", "model", "difference", "difference_low",
    "difference_high", "p",
]  # fmt: skip


def reader_points(predictions: Predictions, readers: Sequence[Reader]) -> pd.DataFrame:
    """Compare each reader with the model, paired, on the patients whom the reader read.

    Intervals are those of models: Wilson's for shares, `fusion_ln.evaluation.limits.auc` for an AUC, MOVER's for the
    differences (of shares Newcombe's paired ones). p: exact McNemar, DeLong.

    Args:
        predictions: Of the model; its call is the class of the highest probability.
        readers: See `fusion_ln.decode.readers.find_readers`.

    Returns:
        ``reader, measure, class, patients, value, ci_low, ci_high, model, difference`` (model - reader)
        ``, difference_low, difference_high, p``. ``patients`` are those of the measure: for a sensitivity those of the
        class. No interval and no p where there are fewer than `FEWEST_READ`.
    """
    rows = []
    for reader in readers:
        for measure, of_class in measures_of([reader], predictions.classes):
            if has_measure(reader, measure, of_class):
                cases = cases_of(predictions, [reader], measure, of_class)
                if cases.patients and (measure != "auc" or 0 < cases.positive.sum() < cases.patients):
                    rows.append([reader.name, measure, of_class, cases.patients, *compare_with_reader(cases)])
    return pd.DataFrame(rows, columns=POINT_COLUMNS)


def compare_with_reader(cases: Cases) -> list[float]:
    """Compare a model with one reader: the columns of `reader_points` from ``value`` on."""
    model, reader = cases.figures
    if not cases.enough:
        return [reader, *NONE, model, model - reader, *NONE, np.nan]
    variance = [[covariance(a, b, cases.positive) for b in cases.influence] for a in cases.influence]
    (of_model, shared), (_, of_reader) = variance
    low, high = _limits(cases)
    r = np.asarray(shared / np.sqrt(of_model * of_reader) if of_model * of_reader > 0 else 0.0)
    ends = difference_limits(model, reader, (low[0], high[0]), (low[1], high[1]), r)
    if cases.measure == "auc":
        p = float(z_test(model - reader, np.asarray(of_model + of_reader - 2 * shared))[1])
    else:
        p = _mcnemar(cases.held)
    return [reader, low[1], high[1], model, model - reader, *map(float, ends), p]


def _limits(cases: Cases) -> Limits:
    """Compute the limits of the model's measure and of the reader's. Two of shape (2,)."""
    if cases.measure != "auc":
        return wilson(cases.held.sum(axis=1), np.asarray(cases.patients))
    low, high = aucs(cases.positive.astype(int), np.stack([-cases.held, cases.held], axis=-1)).limits
    return low[:, 1], high[:, 1]


def _mcnemar(right: np.ndarray) -> float:
    """Compute the exact McNemar p of two paired shares (2, P)."""
    model_only, reader_only = int((right[0] > right[1]).sum()), int((right[0] < right[1]).sum())
    discordant = model_only + reader_only
    return float(binomtest(model_only, discordant).pvalue) if discordant else 1.0
