"""Another population: figures of a model where the classes have other shares than in the cohort.

Patients are weighted by class, which is exact where patients of a class look alike in both places, and only there.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fusion_ln.errors import SettingsError, unknown
from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.evaluation.limits.auc import weighted_auc
from fusion_ln.evaluation.limits.shares import Limits
from fusion_ln.evaluation.limits.sums import ratio_limits, sum_limits
from fusion_ln.evaluation.probabilities.decision import flag, positive_patients
from fusion_ln.evaluation.probabilities.weights import class_means
from fusion_ln.metrics import need_patients
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


def figures_at(predictions: Predictions, prevalence: np.ndarray) -> pd.DataFrame:
    """Compute accuracy, predictive values and AUC where the classes have other shares.

    Args:
        predictions: Of patients that the model was not trained on, their probabilities those of that population.
        prevalence: Share of each class there. Shape (C,).

    Returns:
        ``metric, class, value, ci_low, ci_high`` (see `sum_limits`, `ratio_limits`, `weighted_auc`): ``accuracy`` and
        ``auc_ovr`` over all classes, then ``auc, ppv, npv`` of each, the most probable class being the prediction. A
        class that is never predicted has no ppv (NaN).

    Raises:
        PredictionsError: If a class has fewer than 2 patients.
    """
    labels, probs, classes = predictions.labels, predictions.probs, predictions.classes
    need_patients(labels, classes, at_least=2)
    of, is_class = np.bincount(labels, minlength=len(classes)), np.eye(len(classes), dtype=bool)
    chosen = class_means(is_class[probs.argmax(axis=1)], labels, len(classes))  # P(predicted | true), (predicted, true)
    right = np.diagonal(chosen)
    low, high = sum_limits(right[:, None], prevalence[:, None], of)
    rows = [("accuracy", ALL_CLASSES, right @ prevalence, float(low), float(high))]
    against = prevalence * ~is_class
    pairs = against / against.sum(axis=1, keepdims=True)  # the rest of each class, in its shares
    rows.append(("auc_ovr", ALL_CLASSES, *weighted_auc(labels, probs, pairs / len(classes))))
    rows += [("auc", n, *weighted_auc(labels, probs, pairs * is_class[c][:, None])) for c, n in enumerate(classes)]
    rows += [("ppv", n, *_predictive(chosen[c], is_class[c], prevalence, of)) for c, n in enumerate(classes)]
    rows += [("npv", n, *_predictive(1 - chosen[c], ~is_class[c], prevalence, of)) for c, n in enumerate(classes)]
    return pd.DataFrame(rows, columns=["metric", "class", "value", "ci_low", "ci_high"])


def point_at(
    predictions: Predictions,
    thresholds: Mapping[int, float],
    positive: Sequence[str],
    *,
    prevalence: np.ndarray | None = None,
) -> pd.DataFrame:
    """Compute what a frozen operating point gives where the classes have other shares.

    Args:
        predictions: Out-of-fold predictions for the population in which the thresholds were chosen: not shifted.
        thresholds: Threshold of each fold.
        positive: Classes that the test shall find.
        prevalence: Share of each class. Shape (C,). None: as they are.

    Returns:
        ``metric, value, ci_low, ci_high`` of ``sensitivity, specificity, ppv, npv``; NaN where nothing defines one.
    """
    positive_patients(predictions, positive)  # refuses classes that make no decision
    labels, of = predictions.labels, np.bincount(predictions.labels, minlength=len(predictions.classes))
    flagged = class_means(flag(predictions, thresholds, positive)[:, None], labels, len(of))[0]
    shares, diseased = of / of.sum() if prevalence is None else prevalence, np.isin(predictions.classes, positive)
    shares = np.where(of > 0, shares, 0)
    rows = []
    for name, found, those in (("sensitivity", flagged, diseased), ("specificity", 1 - flagged, ~diseased)):
        weights = np.where(those, shares, 0) / shares[those].sum()
        low, high = sum_limits(found[:, None], weights[:, None], of)
        rows.append((name, found @ weights, float(low), float(high)))
    rows.append(("ppv", *_predictive(flagged, diseased, shares, of)))
    rows.append(("npv", *_predictive(1 - flagged, ~diseased, shares, of)))
    return pd.DataFrame(rows, columns=["metric", "value", "ci_low", "ci_high"])


def _predictive(
    found: np.ndarray, those: np.ndarray, prevalence: np.ndarray, of: np.ndarray
) -> tuple[float, float, float]:
    """Compute a predictive value and its limits: of patients with a result, the share who are ``those``.

    Args:
        found: Share of each class's patients with the result. Shape (C,).
        those: The classes that the result speaks of. bool, shape (C,).
        prevalence, of: Share in the population, and number of patients, of each class. Shape (C,).
    """
    joint = found * prevalence
    value = float(joint[those].sum() / joint.sum()) if joint.any() else np.nan

    def difference(share: float) -> Limits:
        return sum_limits(found[:, None], (prevalence * (those - share))[:, None], of)

    return value, *ratio_limits(value, difference)


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
