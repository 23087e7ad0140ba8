"""Decision analysis: net benefit over thresholds, and operating points chosen on inner validation."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.intervals import LEVEL, resample_counts
from fusion_ln.evaluation.probabilities.calibration import inner_part, wilson
from fusion_ln.predictions import Predictions

THRESHOLDS = np.arange(1, 100) / 100
POOLED = "pooled"


def decision_curve(
    predictions: Predictions, positive: Sequence[str], *, n_resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Compute the net benefit of acting on patients whose probability of the ``positive`` classes reaches a threshold.

    Net benefit = true positives / n - false positives / n x t / (1 - t) (Vickers & Elkin 2006); the probability is the
    sum over the positive classes, such as all malignant ones. The bootstrap draws within classes, so the share of
    positive patients is held at the cohort's.

    Returns:
        One row per threshold 0.01..0.99: ``threshold, net_benefit, ci_low, ci_high`` (percentile bootstrap) ``,
        treat_all, treat_none``.

    Raises:
        PredictionsError: If a positive class is unknown, or no patient or every patient is positive.
    """
    risk, diseased = _risk(predictions, positive)
    n = len(diseased)
    odds = THRESHOLDS / (1 - THRESHOLDS)
    gain = np.where(diseased[:, None], 1.0, -odds) * (risk[:, None] >= THRESHOLDS) / n  # (P, thresholds)
    draws = np.concatenate([counts @ gain for counts in resample_counts(predictions.labels, n_resamples, seed)])
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return pd.DataFrame(
        {
            "threshold": THRESHOLDS,
            "net_benefit": gain.sum(axis=0),
            "ci_low": low,
            "ci_high": high,
            "treat_all": diseased.mean() - (1 - diseased.mean()) * odds,
            "treat_none": 0.0,
        }
    )


def operating_points(
    predictions: Predictions, inner: Predictions, positive: Sequence[str], *, sensitivity: float = 0.95
) -> pd.DataFrame:
    """Compute sensitivity and specificity on held-out patients, at thresholds chosen on inner validation.

    Each fold's threshold is the highest at which its model finds at least ``sensitivity`` of the positive patients of
    its inner validation set; the held-out patients have no say, so what they show may fall short of it.

    Args:
        predictions: Out-of-fold predictions.
        inner: Predictions of each fold's inner validation patients by that fold's model; ``fold`` is the model's.
        positive: Classes that the test shall find.
        sensitivity: Least sensitivity on inner validation, in (0, 1].

    Returns:
        One row per fold and a last one `POOLED`: ``fold, threshold`` (None for the last) ``, found, positive,
        sensitivity, sensitivity_low, sensitivity_high, spared, negative, specificity, specificity_low,
        specificity_high``; 95 % Wilson intervals. Where a fold has no such patient, the share is None.

    Raises:
        PredictionsError: If a positive class is unknown, or a fold's inner validation set has no positive patient.
    """
    risk, diseased = _risk(predictions, positive)
    inner_risk, inner_sick = _risk(inner, positive)
    flagged = np.zeros(len(diseased), dtype=bool)
    rows = []
    for fold in np.unique(predictions.folds).tolist():
        learn_from = inner_risk[inner_part(inner, fold) & inner_sick]
        if not len(learn_from):
            raise PredictionsError(f"fold {fold}: no patient of {', '.join(positive)} in inner validation.")
        threshold = threshold_for(learn_from, sensitivity)
        held_out = predictions.folds == fold
        flagged[held_out] = risk[held_out] >= threshold
        rows.append({"fold": str(fold), "threshold": threshold, **_shares(flagged[held_out], diseased[held_out])})
    rows.append({"fold": POOLED, "threshold": None, **_shares(flagged, diseased)})
    return pd.DataFrame(rows, dtype=object)  # None stays None


def threshold_for(risks: np.ndarray, sensitivity: float) -> float:
    """Find the highest threshold that at least a share ``sensitivity`` of these positive patients reaches."""
    needed = int(np.ceil(sensitivity * len(risks) - 1e-9))
    return float(np.sort(risks)[::-1][max(needed, 1) - 1])


def _shares(flagged: np.ndarray, diseased: np.ndarray) -> dict[str, int | float | None]:
    found, positive = int(np.sum(flagged & diseased)), int(diseased.sum())
    spared, negative = int(np.sum(~flagged & ~diseased)), int(np.sum(~diseased))
    row: dict[str, int | float | None] = {}
    for hits, hit_name, n, n_name, share in (
        (found, "found", positive, "positive", "sensitivity"),
        (spared, "spared", negative, "negative", "specificity"),
    ):
        low, high = wilson(hits, n) if n else (None, None)
        row |= {hit_name: hits, n_name: n, share: hits / n if n else None, f"{share}_low": low, f"{share}_high": high}
    return row


def _risk(predictions: Predictions, positive: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Sum each patient's probability of the positive classes, and mask the positive patients. Two of shape (P,)."""
    if unknown := [name for name in positive if name not in predictions.classes]:
        raise PredictionsError(f"{unknown[0]!r}: no such class. Known: {', '.join(predictions.classes)}.")
    columns = [predictions.classes.index(name) for name in positive]
    diseased = np.isin(predictions.labels, columns)
    if diseased.all() or not diseased.any():
        raise PredictionsError(
            f"{int(diseased.sum())} of {len(diseased)} patients are positive ({', '.join(positive) or 'no class'}); "
            "a decision needs both kinds."
        )
    return predictions.probs[:, columns].sum(axis=1), diseased
