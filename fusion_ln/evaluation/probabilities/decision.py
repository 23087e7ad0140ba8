"""Decision analysis: net benefit over thresholds, and operating points chosen on inner validation."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.intervals import align
from fusion_ln.evaluation.limits.shares import Limits, difference_limits, share_interval
from fusion_ln.evaluation.limits.sums import sum_limits
from fusion_ln.evaluation.probabilities.maps import inner_part
from fusion_ln.evaluation.probabilities.weights import class_correlation, class_means, class_weights
from fusion_ln.predictions import Predictions

TARGET_SENSITIVITY = 0.95  # required of an operating point
THRESHOLDS = np.arange(1, 100) / 100
POOLED = "pooled"


def decision_curve(
    predictions: Predictions,
    positive: Sequence[str],
    *,
    prevalence: np.ndarray | None = None,
) -> pd.DataFrame:
    """Compute the net benefit of acting on patients whose probability of the ``positive`` classes reaches a threshold.

    Net benefit = true positives / n - false positives / n x t / (1 - t) (Vickers & Elkin 2006); the probability is the
    sum over the positive classes, such as all malignant ones. The share of each class is held.

    Args:
        predictions: Of patients that the model was not trained on.
        positive: Classes on which one acts.
        prevalence: Share of each class in the population that the patients stand for. Shape (C,). None: as they are.

    Returns:
        One row per threshold 0.01..0.99: ``threshold, net_benefit, ci_low, ci_high`` (see `sum_limits`) ``, treat_all,
        treat_none``.

    Raises:
        PredictionsError: If a positive class is unknown, or no patient or every patient is positive.
    """
    gain, labels = _gains(predictions, positive, prevalence), predictions.labels
    low, high = _limits(predictions, positive, prevalence)
    share = class_weights(labels, prevalence)[positive_patients(predictions, positive)].sum()
    return pd.DataFrame(
        {
            "threshold": THRESHOLDS,
            "net_benefit": gain.sum(axis=0),
            "ci_low": low,
            "ci_high": high,
            "treat_all": share - (1 - share) * THRESHOLDS / (1 - THRESHOLDS),
            "treat_none": 0.0,
        }
    )


def net_benefit_difference(
    a: Predictions,
    b: Predictions,
    positive: Sequence[str],
    *,
    prevalence: np.ndarray | None = None,
) -> pd.DataFrame:
    """Compute the net benefit of ``a`` less that of ``b`` on the same patients, as `decision_curve` does.

    Returns:
        One row per threshold: ``threshold, net_benefit_a, net_benefit_b, difference, ci_low, ci_high``: see
        `difference_limits`, at each threshold by itself.

    Raises:
        PredictionsError: See `decision_curve` and `align`.
    """
    a, b = align(a, b, common_only=True)
    gain_a, gain_b = (_gains(each, positive, prevalence) for each in (a, b))
    benefit_a, benefit_b = gain_a.sum(axis=0), gain_b.sum(axis=0)
    limits_a, limits_b = (_limits(each, positive, prevalence) for each in (a, b))
    low, high = difference_limits(benefit_a, benefit_b, limits_a, limits_b, class_correlation(gain_a, gain_b, a.labels))
    return pd.DataFrame(
        {
            "threshold": THRESHOLDS,
            "net_benefit_a": benefit_a,
            "net_benefit_b": benefit_b,
            "difference": benefit_a - benefit_b,
            "ci_low": low,
            "ci_high": high,
        }
    )


def net_benefits(predictions: Predictions, positive: Sequence[str]) -> np.ndarray:
    """Compute the net benefit at each of `THRESHOLDS`, see `decision_curve`."""
    return np.asarray(_gains(predictions, positive, None).sum(axis=0))


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
    thresholds = choose_thresholds(predictions, inner, positive, sensitivity=sensitivity)
    flagged, diseased = flag(predictions, thresholds, positive), positive_patients(predictions, positive)
    rows = []
    for fold, threshold in thresholds.items():
        held_out = predictions.folds == fold
        rows.append({"fold": str(fold), "threshold": threshold, **_shares(flagged[held_out], diseased[held_out])})
    rows.append({"fold": POOLED, "threshold": None, **_shares(flagged, diseased)})
    return pd.DataFrame(rows, dtype=object)  # None stays None


def choose_thresholds(
    predictions: Predictions, inner: Predictions, positive: Sequence[str], *, sensitivity: float = 0.95
) -> dict[int, float]:
    """Choose each fold's threshold on its inner validation patients, see `operating_points`."""
    risk, diseased = _risk(inner, positive), positive_patients(inner, positive)
    thresholds = {}
    for fold in np.unique(predictions.folds).tolist():
        learn_from = risk[inner_part(inner, fold) & diseased]
        if not len(learn_from):
            raise PredictionsError(f"fold {fold}: no patient of {', '.join(positive)} in inner validation.")
        thresholds[fold] = threshold_for(learn_from, sensitivity)
    return thresholds


def flag(predictions: Predictions, thresholds: Mapping[int, float], positive: Sequence[str]) -> np.ndarray:
    """Mask the patients whose probability of the positive classes reaches their fold's threshold. bool, shape (P,)."""
    return np.asarray(_risk(predictions, positive) >= np.array([thresholds[fold] for fold in predictions.folds]))


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
        low, high = share_interval(hits, n) if n else (None, None)
        row |= {hit_name: hits, n_name: n, share: hits / n if n else None, f"{share}_low": low, f"{share}_high": high}
    return row


def positive_patients(predictions: Predictions, positive: Sequence[str]) -> np.ndarray:
    """Mask the patients of the positive classes. bool, shape (P,).

    Raises:
        PredictionsError: If a positive class is unknown, or no patient or every patient is positive.
    """
    diseased = np.isin(predictions.labels, _columns(predictions, positive))
    if diseased.all() or not diseased.any():
        raise PredictionsError(
            f"{int(diseased.sum())} of {len(diseased)} patients are positive ({', '.join(positive) or 'no class'}); "
            "a decision needs both kinds."
        )
    return diseased


def _risk(predictions: Predictions, positive: Sequence[str]) -> np.ndarray:
    """Sum each patient's probability of the positive classes. Shape (P,)."""
    return np.asarray(predictions.probs[:, _columns(predictions, positive)].sum(axis=1))


def _columns(predictions: Predictions, positive: Sequence[str]) -> list[int]:
    if missing := [name for name in positive if name not in predictions.classes]:
        raise PredictionsError(f"{missing[0]!r}: no such class. Known: {', '.join(predictions.classes)}.")
    return [predictions.classes.index(name) for name in positive]


def _gains(predictions: Predictions, positive: Sequence[str], prevalence: np.ndarray | None) -> np.ndarray:
    """Compute what each patient adds to the net benefit at each threshold. Shape (P, thresholds)."""
    diseased = positive_patients(predictions, positive)
    worth = np.where(diseased[:, None], 1.0, -THRESHOLDS / (1 - THRESHOLDS))
    acted = _acted(predictions, positive)
    return np.asarray(worth * acted * class_weights(predictions.labels, prevalence)[:, None])


def _acted(predictions: Predictions, positive: Sequence[str]) -> np.ndarray:
    """Mask the patients on whom one acts at each threshold. bool, shape (P, thresholds)."""
    return np.asarray(_risk(predictions, positive)[:, None] >= THRESHOLDS)


def _limits(predictions: Predictions, positive: Sequence[str], prevalence: np.ndarray | None) -> Limits:
    """Compute the limits of the net benefit at each threshold, from those of the share of each class acted on."""
    sizes = np.bincount(predictions.labels, minlength=len(predictions.classes))
    shares = sizes / sizes.sum() if prevalence is None else prevalence
    odds = (THRESHOLDS / (1 - THRESHOLDS))[:, None]
    worths = np.where(np.isin(predictions.classes, positive), 1.0, -odds) * shares  # of acting on all of a class
    acted = class_means(_acted(predictions, positive), predictions.labels, len(sizes))
    return sum_limits(acted[..., None], worths[..., None], sizes)
