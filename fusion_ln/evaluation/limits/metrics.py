"""Limits of every metric that has a closed form, and which of the others resampling may give limits."""

from collections.abc import Callable, Sequence

import numpy as np

from fusion_ln.evaluation.limits.auc import aucs, one_vs_one
from fusion_ln.evaluation.limits.clusters import count_patients, effective_number
from fusion_ln.evaluation.limits.shares import Limits, mean_limits, mean_share_limits, wilson
from fusion_ln.metrics import PRIMARY, Metric
from fusion_ln.resamples import Resamples

NEEDS_WRONG = 5  # with fewer wrong predictions the draws vary too little
_BLOCK = 1 << 22  # counts held at once: 16 MiB


ShareLimits = Callable[[np.ndarray, np.ndarray], Limits]  # from hits and of how many


def closed_limits(
    labels: np.ndarray,
    probs: np.ndarray,
    classes: tuple[str, ...],
    metrics: Sequence[Metric],
    share_limits: ShareLimits = wilson,
    clusters: np.ndarray | None = None,
) -> Limits:
    """Compute the limits of shares, of their means over the classes, and of AUCs; NaN for other metrics. Shape (M,).

    With ``clusters`` (see `Predictions.clusters`) shares are those of their `effective_number` of nodes.
    """
    sample = Resamples(labels, probs, np.ones((1, len(labels))), probs)
    found: dict[str, Limits] = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for metric in metrics:
            if metric.of is not None:
                values, of = metric.compute(sample)[0], metric.of(sample)[0]
                by_patient = None if clusters is None else _by_patient(labels, probs, metric, clusters)
                if by_patient:
                    of = effective_number(*by_patient)
                limits = share_limits(values * of, of)
                found |= _by_name(metric, classes, limits)
                if metric.per_class:
                    alone = mean_share_limits(values, of)
                    found[metric.name] = _mean_limits(values, limits, *by_patient) if by_patient else alone
    names = [name for metric in metrics for name in metric.titles(classes)]
    if PRIMARY in names:
        found |= _auc_limits(labels, probs, classes, clusters)
    nothing = (np.array(np.nan), np.array(np.nan))
    low, high = (np.array([float(found.get(name, nothing)[end]) for name in names]) for end in (0, 1))
    return low, high


def resampling_holds(
    labels: np.ndarray,
    probs: np.ndarray,
    classes: tuple[str, ...],
    metrics: Sequence[Metric],
    clusters: np.ndarray | None = None,
) -> np.ndarray:
    """Tell of which metrics resampling gives an interval that holds. Shape (M,)."""
    smallest = min(int(count_patients(labels == c, clusters)) for c in range(len(classes)))
    wrong = int(count_patients(probs.argmax(axis=1) != labels, clusters))
    held = [not m.caveat and smallest >= m.needs and wrong >= NEEDS_WRONG for m in metrics]
    return np.repeat(held, [len(metric.titles(classes)) for metric in metrics])


def _by_name(metric: Metric, classes: tuple[str, ...], limits: Limits) -> dict[str, Limits]:
    """Name the limits of a metric, or of each class's."""
    if not metric.per_class:
        return {metric.name: limits}
    return {name: (low, high) for name, low, high in zip(metric.titles(classes), *limits, strict=True)}


def _by_patient(
    labels: np.ndarray, probs: np.ndarray, metric: Metric, clusters: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute each patient's hits, and the nodes of which they are a share. Two of shape (I,) or (I, C)."""
    assert metric.of is not None
    parts, step = [], max(1, _BLOCK // len(labels))
    patients = np.arange(int(clusters.max()) + 1)
    for start in range(0, len(patients), step):
        own = (patients[start : start + step, None] == clusters).astype(np.float32)
        alone = Resamples(labels, probs, own, probs)
        shares, of = metric.compute(alone), metric.of(alone)
        parts.append((np.where(of > 0, np.nan_to_num(shares) * of, 0), of))
    hits, of = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    return hits, of


def _mean_limits(values: np.ndarray, limits: Limits, hits: np.ndarray, of: np.ndarray) -> Limits:
    """Compute the limits of the mean over the classes of shares that go together within patients.

    MOVER from the limits of each share and their correlation over patients, but never inside those of as many
    independent classes.
    """
    added = (hits - values * of) / of.sum(axis=0)  # to each share, by a patient: (I, C)
    spread = np.sqrt(np.square(added).sum(axis=0))
    r = np.divide(
        added.T @ added, spread[:, None] * spread, out=np.eye(len(values)), where=spread[:, None] * spread > 0
    )
    low, high = mean_limits(values[:, None], (limits[0][:, None], limits[1][:, None]), r[:, :, None])
    alone_low, alone_high = mean_share_limits(values, effective_number(hits, of))
    return np.minimum(low[0], alone_low), np.maximum(high[0], alone_high)


def _auc_limits(
    labels: np.ndarray, probs: np.ndarray, classes: tuple[str, ...], clusters: np.ndarray | None
) -> dict[str, Limits]:
    ranked = aucs(labels, probs, clusters)
    _, *one_vs_one_limits, _ = one_vs_one(labels, probs, few=ranked.few, clusters=clusters)
    by_class = {f"auc:{c}": (low, high) for c, low, high in zip(classes, *ranked.limits, strict=True)}
    return {PRIMARY: ranked.macro_limits, "auc_ovo": (one_vs_one_limits[0], one_vs_one_limits[1]), **by_class}
