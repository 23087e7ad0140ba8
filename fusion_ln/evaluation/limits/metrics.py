"""Limits of every metric that has a closed form, and which of the others resampling may give limits."""

from collections.abc import Callable, Sequence

import numpy as np

from fusion_ln.evaluation.limits.auc import aucs, one_vs_one
from fusion_ln.evaluation.limits.shares import Limits, mean_share_limits, wilson
from fusion_ln.metrics import PRIMARY, Metric, Resamples

NEEDS_WRONG = 5  # with fewer wrong predictions the draws vary too little


ShareLimits = Callable[[np.ndarray, np.ndarray], Limits]  # from hits and of how many


def closed_limits(
    labels: np.ndarray,
    probs: np.ndarray,
    classes: tuple[str, ...],
    metrics: Sequence[Metric],
    share_limits: ShareLimits = wilson,
) -> Limits:
    """Compute the limits of shares, of their means over the classes, and of AUCs; NaN for other metrics. Shape (M,)."""
    sample = Resamples(labels, probs, np.ones((1, len(labels))), probs)
    found: dict[str, Limits] = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for metric in metrics:
            if metric.of is not None:
                values, of = metric.compute(sample)[0], metric.of(sample)[0]
                limits = share_limits(values * of, of)
                found |= _by_name(metric, classes, limits)
                if metric.per_class:
                    found[metric.name] = mean_share_limits(values, of)
    names = [name for metric in metrics for name in metric.titles(classes)]
    if PRIMARY in names:
        found |= _auc_limits(labels, probs, classes)
    nothing = (np.array(np.nan), np.array(np.nan))
    low, high = (np.array([float(found.get(name, nothing)[end]) for name in names]) for end in (0, 1))
    return low, high


def resampling_holds(
    labels: np.ndarray, probs: np.ndarray, classes: tuple[str, ...], metrics: Sequence[Metric]
) -> np.ndarray:
    """Tell of which metrics resampling gives an interval that holds. Shape (M,)."""
    smallest = int(np.bincount(labels, minlength=len(classes)).min())
    wrong = int((probs.argmax(axis=1) != labels).sum())
    held = [not m.caveat and smallest >= m.needs and wrong >= NEEDS_WRONG for m in metrics]
    return np.repeat(held, [len(metric.titles(classes)) for metric in metrics])


def _by_name(metric: Metric, classes: tuple[str, ...], limits: Limits) -> dict[str, Limits]:
    """Name the limits of a metric, or of each class's."""
    if not metric.per_class:
        return {metric.name: limits}
    return {name: (low, high) for name, low, high in zip(metric.titles(classes), *limits, strict=True)}


def _auc_limits(labels: np.ndarray, probs: np.ndarray, classes: tuple[str, ...]) -> dict[str, Limits]:
    ranked = aucs(labels, probs)
    _, *one_vs_one_limits, _ = one_vs_one(labels, probs, few=ranked.few)
    by_class = {f"auc:{c}": (low, high) for c, low, high in zip(classes, *ranked.limits, strict=True)}
    return {PRIMARY: ranked.macro_limits, "auc_ovo": (one_vs_one_limits[0], one_vs_one_limits[1]), **by_class}
