"""DeLong's test of two AUCs on the same patients, by mid-ranks (Sun & Xu 2014)."""

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from fusion_ln.evaluation.intervals import LEVEL, align
from fusion_ln.metrics import need_patients
from fusion_ln.predictions import Predictions


def auc_covariance(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute AUCs of M scores of the same patients, and their covariance (DeLong, DeLong & Clarke-Pearson 1988).

    The placement values come from mid-ranks, in O(P log P): Sun & Xu 2014, IEEE Signal Process. Lett. 21, eq. 5-10.

    Args:
        positive: Patients of the class: at least two, and two others. bool, shape (P,).
        scores: Higher means more likely positive. Shape (M, P).

    Returns:
        AUCs (M,) and covariance (M, M).
    """
    m, n = int(positive.sum()), int((~positive).sum())
    overall = rankdata(scores, axis=1)
    # Share of negatives that each positive outranks, and of positives that outrank each negative.
    above = (overall[:, positive] - rankdata(scores[:, positive], axis=1)) / n
    below = 1 - (overall[:, ~positive] - rankdata(scores[:, ~positive], axis=1)) / m
    covariance = np.atleast_2d(np.cov(above)) / m + np.atleast_2d(np.cov(below)) / n
    return above.mean(axis=1), covariance


def delong(a: Predictions, b: Predictions) -> pd.DataFrame:
    """Test the difference of two models' one-vs-rest AUC of each class.

    The intervals rest on a normal approximation and are too narrow for small classes (they held in 0.91 to 0.93 of
    simulated cohorts of 150 patients, where BCa held in 0.94 to 0.95); the test rejected in 0.035 to 0.053 of those
    without a difference.

    Returns:
        One row per class: ``class, auc_a, a_low, a_high, auc_b, b_low, b_high, var_a, var_b, cov_ab, difference``
        (a - b) ``, z, p``. Where the difference is 0 without any variance, z is 0 and p is 1.

    Raises:
        PredictionsError: If the two do not fit together (see `align`), or a class has fewer than 2 patients.
    """
    a, b = align(a, b)
    need_patients(a.labels, a.classes, at_least=2)
    rows = []
    for c, name in enumerate(a.classes):
        auc, covariance = auc_covariance(a.labels == c, np.stack([a.probs[:, c], b.probs[:, c]]))
        variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
        difference = auc[0] - auc[1]
        z = difference / np.sqrt(variance) if variance > 0 else np.copysign(np.inf, difference) if difference else 0.0
        half = ndtri((1 + LEVEL) / 2) * np.sqrt(np.diag(covariance))
        low, high = (auc - half).clip(min=0), (auc + half).clip(max=1)
        rows.append(
            {
                "class": name,
                "auc_a": auc[0],
                "a_low": low[0],
                "a_high": high[0],
                "auc_b": auc[1],
                "b_low": low[1],
                "b_high": high[1],
                "var_a": covariance[0, 0],
                "var_b": covariance[1, 1],
                "cov_ab": covariance[0, 1],
                "difference": difference,
                "z": z,
                "p": 2 * ndtr(-abs(z)),
            }
        )
    return pd.DataFrame(rows)
