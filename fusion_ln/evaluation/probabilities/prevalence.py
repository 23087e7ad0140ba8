"""Another population: figures of a model where the classes have other shares than in the cohort.

Patients are weighted by class, which is exact where patients of a class look alike in both places, and only there.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fusion_ln.errors import SettingsError, unknown
from fusion_ln.evaluation.intervals import ALL_CLASSES, resample_counts
from fusion_ln.evaluation.limits.shares import middle
from fusion_ln.evaluation.probabilities.decision import flag, positive_patients
from fusion_ln.evaluation.probabilities.weights import class_weights
from fusion_ln.metrics import Resamples, need_patients
from fusion_ln.predictions import Predictions

PREVALENCE_OPTION = "--prevalence"
TOLERANCE = 0.005  # shares given with two digits need not sum to 1 exactly


def parse_prevalence(text: str, classes: tuple[str, ...]) -> np.ndarray:
    """Parse the share of each class, as in ``benign=0.7,lymphoma=0.1,metastatic=0.2``. Sums to 1, shape (C,).

    Raises:
        SettingsError: If a class is unknown, missing or named twice, a share is no number above 0, or they do not sum
            to 1.
    """
    example = ",".join(f"{name}={share:.2g}" for name, share in zip(classes, _example(len(classes)), strict=True))
    way_out = f"Give a share above 0 of every class, together 1, as in `{PREVALENCE_OPTION} {example}`."
    shares: dict[str, float] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, _, value = (each.strip() for each in part.rpartition("="))
        if not name:
            raise SettingsError(f"{PREVALENCE_OPTION} {part}: is not of the form CLASS=SHARE.", way_out)
        if name not in classes:
            raise SettingsError(*unknown("class", name, classes, where=PREVALENCE_OPTION))
        if name in shares:
            raise SettingsError(f"{PREVALENCE_OPTION}: class {name!r} is given twice.", way_out)
        shares[name] = _parse_share(part, value, way_out)
    if missing := [name for name in classes if name not in shares]:
        raise SettingsError(f"{PREVALENCE_OPTION}: no share of class {missing[0]!r}.", way_out)
    total = math.fsum(shares.values())
    if abs(total - 1) > TOLERANCE:
        raise SettingsError(f"{PREVALENCE_OPTION}: the shares sum to {total:.4g}; expected 1.", way_out)
    return np.array([shares[name] for name in classes]) / total


def figures_at(
    predictions: Predictions, prevalence: np.ndarray, *, n_resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Compute accuracy, predictive values and AUC where the classes have other shares.

    Args:
        predictions: Of patients that the model was not trained on, their probabilities those of that population.
        prevalence: Share of each class there. Shape (C,).
        n_resamples, seed: Number of bootstrap draws within classes; same seed, same interval.

    Returns:
        ``metric, class, value, ci_low, ci_high`` (percentile bootstrap): ``accuracy`` and ``auc_ovr`` over all
        classes, then ``auc, ppv, npv`` of each, the most probable class being the prediction. A class that is never
        predicted has no ppv (NaN); one that is not in some draw has no interval.

    Raises:
        PredictionsError: If a class has fewer than 2 patients.
    """
    labels, probs = predictions.labels, predictions.probs
    need_patients(labels, predictions.classes, at_least=2)
    sample = _weighted_figures(Resamples(labels, probs, np.ones((1, len(labels))), probs), prevalence)[0]
    draws = np.concatenate(
        [
            _weighted_figures(Resamples(labels, probs, counts, probs), prevalence)
            for counts in resample_counts(labels, n_resamples, seed)
        ]
    )
    names = [("accuracy", ALL_CLASSES), ("auc_ovr", ALL_CLASSES)]
    names += [(metric, name) for metric in ("auc", "ppv", "npv") for name in predictions.classes]
    table = pd.DataFrame(names, columns=["metric", "class"]).assign(value=sample)
    return _with_limits(table, draws)


def point_at(
    predictions: Predictions,
    thresholds: Mapping[int, float],
    positive: Sequence[str],
    *,
    prevalence: np.ndarray | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compute what a frozen operating point gives where the classes have other shares.

    Args:
        predictions: Out-of-fold predictions for the population in which the thresholds were chosen: not shifted.
        thresholds: Threshold of each fold.
        positive: Classes that the test shall find.
        prevalence: Share of each class. Shape (C,). None: as they are.
        n_resamples, seed: Number of bootstrap draws within classes; same seed, same interval.

    Returns:
        ``metric, value, ci_low, ci_high`` of ``sensitivity, specificity, ppv, npv``; NaN where nothing defines one.
    """
    labels, flagged = predictions.labels, flag(predictions, thresholds, positive)
    diseased = positive_patients(predictions, positive)
    cells = np.stack([flagged & diseased, ~flagged & diseased, flagged & ~diseased, ~flagged & ~diseased], axis=1)
    sums = cells * class_weights(labels, prevalence)[:, None]
    draws = np.concatenate([_point(counts @ sums) for counts in resample_counts(labels, n_resamples, seed)])
    table = pd.DataFrame({"metric": ["sensitivity", "specificity", "ppv", "npv"]})
    return _with_limits(table.assign(value=_point(sums.sum(axis=0, keepdims=True))[0]), draws)


def _with_limits(table: pd.DataFrame, draws: np.ndarray) -> pd.DataFrame:
    """Add the middle 95 % of the draws (R, rows); a value that some draw leaves undefined has no interval."""
    low, high = middle(draws)
    return table.assign(ci_low=low, ci_high=high)


def _point(sums: np.ndarray) -> np.ndarray:
    """Make sensitivity, specificity, ppv and npv (R, 4) of found, missed, falsely flagged and spared (R, 4)."""
    found, missed, wrong, spared = sums.T
    parts = [(found, missed), (spared, wrong), (found, wrong), (spared, missed)]
    with np.errstate(invalid="ignore"):
        return np.stack([hits / (hits + others) for hits, others in parts], axis=1)


def _weighted_figures(resamples: Resamples, prevalence: np.ndarray) -> np.ndarray:
    """Compute the figures of `figures_at` of each resample. Shape (R, figures)."""
    by_class = resamples.confusion / resamples.confusion.sum(axis=2, keepdims=True)  # P(predicted | true)
    joint = by_class * prevalence[:, None]
    hits, predicted = np.einsum("rcc->rc", joint), joint.sum(axis=1)
    against = prevalence * (1 - np.eye(len(prevalence)))  # the rest of each class, in its shares
    aucs = (resamples.pairwise * (against / against.sum(axis=1, keepdims=True))).sum(axis=2)
    with np.errstate(invalid="ignore"):
        ppv = hits / predicted
        npv = (1 - prevalence - predicted + hits) / (1 - predicted)
    return np.column_stack([hits.sum(axis=1), aucs.mean(axis=1), aucs, ppv, npv])


def _parse_share(part: str, value: str, way_out: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise SettingsError(f"{PREVALENCE_OPTION} {part}: the share is no number above 0 and below 1.", way_out)
    return share


def _example(n: int) -> list[float]:
    """Make shares that sum to 1, the first the largest."""
    rest = round(0.3 / max(n - 1, 1), 2)
    return [round(1 - rest * (n - 1), 2), *([rest] * (n - 1))]
