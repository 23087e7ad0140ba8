"""Figures of a model at each site that it was not trained on, and the thresholds that it brings there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.evaluation.limits.auc import Aucs, aucs
from fusion_ln.evaluation.limits.shares import Z, share_interval
from fusion_ln.evaluation.probabilities.decision import POOLED, operating_points, positive_patients, threshold_for
from fusion_ln.evaluation.sites.pooling import PooledEstimate, pool
from fusion_ln.metrics import PRIMARY
from fusion_ln.predictions import Predictions
from fusion_ln.terms import FOLD, PATIENT, SITE

FEWEST_AT_SITE = 10  # patients of each class at a site whose AUC gets an interval and is pooled


@dataclass(frozen=True)
class SiteFigures:
    """A model at each site.

    Attributes:
        counts: ``site, n, <class>..., pooled``: patients, and if the site's AUC is pooled.
        metrics: ``site, metric, class, value, ci_low, ci_high``: macro AUC (logit DeLong) where each class has two
            patients, an interval where it has `FEWEST_AT_SITE`; recall of each class that is there (Wilson).
        auc: Meta-analysis of the logit of the macro AUC; None with fewer than two pooled sites.
    """

    counts: pd.DataFrame
    metrics: pd.DataFrame
    auc: PooledEstimate | None


def sites_of_folds(patients: pd.DataFrame, folds: pd.DataFrame) -> dict[int, str]:
    """Name the site of each fold; empty where folds are not sites.

    Args:
        patients: ``patient_id, site``.
        folds: ``patient_id, fold``.
    """
    pairs = folds[[PATIENT, FOLD]].merge(patients[[PATIENT, SITE]], on=PATIENT)[[FOLD, SITE]].drop_duplicates()
    if len(pairs) < 2 or pairs[FOLD].duplicated().any() or pairs[SITE].duplicated().any():
        return {}
    return {int(fold): str(site) for fold, site in zip(pairs[FOLD], pairs[SITE], strict=True)}


def score_sites(predictions: Predictions, sites: Mapping[int, str]) -> SiteFigures:
    """Score each site by the model of its fold, which learnt from the other sites alone.

    Args:
        predictions: Out-of-fold predictions.
        sites: Site by fold.
    """
    counts, metrics, values, errors = [], [], [], []
    for fold, site in sorted(sites.items(), key=lambda item: item[1]):
        labels = predictions.labels[predictions.folds == fold]
        probs = predictions.probs[predictions.folds == fold]
        sizes = np.bincount(labels, minlength=len(predictions.classes))
        pooled = int(sizes.min()) >= FEWEST_AT_SITE
        counts.append((site, len(labels), *sizes.tolist(), pooled))
        if sizes.min() >= 2:
            ranked = aucs(labels, probs)
            limits = [float(end) for end in ranked.macro_limits] if pooled else [np.nan, np.nan]
            metrics.append((site, PRIMARY, ALL_CLASSES, float(ranked.macro), *limits))
            if pooled:
                value, error = logit_auc(ranked)
                values.append(value)
                errors.append(error)
        right = probs.argmax(axis=1) == labels
        for c, name in enumerate(predictions.classes):
            if sizes[c]:
                hits = int(right[labels == c].sum())
                metrics.append((site, "recall", name, hits / sizes[c], *share_interval(hits, int(sizes[c]))))
    return SiteFigures(
        pd.DataFrame(counts, columns=["site", "n", *predictions.classes, "pooled"]),
        pd.DataFrame(metrics, columns=["site", "metric", "class", "value", "ci_low", "ci_high"]),
        pool(np.array(values), np.array(errors)) if len(values) > 1 else None,
    )


def logit_auc(ranked: Aucs) -> tuple[float, float]:
    """Compute the logit of a macro AUC and its standard error: DeLong's.

    Where few patients are misplaced the error follows from the AUC's lower limit, and an AUC of 1 counts as if half a
    pair were out of order.
    """
    auc = float(ranked.macro)
    if not ranked.few:
        return float(logit(auc)), float(np.sqrt(ranked.macro_covariance(ranked))) / (auc * (1 - auc))
    sizes = np.bincount(ranked.labels)
    pairs = int((sizes * (len(ranked.labels) - sizes)).max())
    value = float(logit(min(auc, 1 - 0.5 / pairs)))
    return value, (value - float(logit(ranked.macro_limits[0]))) / Z


def pooled_row(pooled: PooledEstimate) -> dict[str, float | int | None]:
    """List a meta-analysis of logits as AUCs: ``sites, auc, ci_low, ci_high, new_low, new_high, q, p, i2, tau2``."""
    ends = {"auc": pooled.mean, "ci_low": pooled.low, "ci_high": pooled.high}
    ends |= {name: end for name in ("new_low", "new_high") if (end := getattr(pooled, name)) is not None}
    row: dict[str, float | int | None] = {"sites": pooled.k, "new_low": None, "new_high": None}
    row |= {name: float(expit(end)) for name, end in ends.items()}
    return row | {"q": pooled.q, "p": pooled.p, "i2": pooled.i2, "tau2": pooled.tau2}


def threshold_drift(
    predictions: Predictions,
    inner: Predictions,
    sites: Mapping[int, str],
    positive: Sequence[str],
    *,
    sensitivity: float,
) -> pd.DataFrame:
    """Apply to each site the threshold learnt on inner patients of the others, see `operating_points`.

    Returns:
        ``site, threshold, own_threshold, found, positive, sensitivity, sensitivity_low, ...``; ``own_threshold`` is the
        one that the site's own patients would have asked for, None where none of them is positive.

    Raises:
        PredictionsError: See `operating_points`.
    """
    points = operating_points(predictions, inner, positive, sensitivity=sensitivity)
    points = points[points["fold"] != POOLED]
    diseased = positive_patients(predictions, positive)
    columns = [predictions.classes.index(name) for name in positive]
    risk, own = predictions.probs[:, columns].sum(axis=1), []
    for fold in points["fold"].astype(int):
        of = risk[(predictions.folds == fold) & diseased]
        own.append(threshold_for(of, sensitivity) if len(of) else None)
    points.insert(2, "own_threshold", pd.Series(own, index=points.index, dtype=object))
    points.insert(0, "site", [sites[int(fold)] for fold in points["fold"]])
    return points.drop(columns=FOLD).sort_values("site", ignore_index=True)
