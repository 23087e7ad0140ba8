"""Intervals of the calibration of evidence: which hold the true value."""

from collections import defaultdict

import numpy as np
from evidence_models import CLASSES, labels_of, simulate, skills_for, truth_at
from scipy.special import softmax

from fusion_ln.evaluation.intervals import Resampled
from fusion_ln.evaluation.limits.auc import aucs, covariance, one_vs_one
from fusion_ln.evaluation.limits.metrics import NEEDS_WRONG
from fusion_ln.evaluation.limits.resampling import resample_counts
from fusion_ln.evaluation.limits.shares import Limits, difference_limits, mean_share_limits, wilson
from fusion_ln.metrics import METRICS, Metric, score
from fusion_ln.resamples import Resamples

BLOCK = 200  # replicates ranked at once
DRAWN = ("f1", "mcc", "brier", "log_loss")  # what the product resamples
COUNTED = ("mcc", "precision", "recall", "f1")  # what the counts of true and predicted class decide
METRIC, DIFFERENCE = "coverage of a metric", "coverage of a difference"
Figures = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # value, limits, influence; (2, R), the last (2, R, P)
Hits = dict[tuple[str, str, str], list[float]]  # by what, metric and method: 1 hit, 0 missed, NaN not printed


def replicate_models(
    n: int, ranges: tuple[tuple[float, float], ...], draws: int, replicates: int, seed: list[int]
) -> Hits:
    """Hits of intervals on the models of `MODELS`."""
    rng, labels = np.random.default_rng(seed), labels_of(n)
    hits: Hits = defaultdict(list)
    for start in range(0, replicates, BLOCK):
        skills = skills_for(ranges, rng.random(min(BLOCK, replicates - start)))
        probs = softmax(simulate(labels, skills, rng), axis=-1)
        truths = [truth_at(n, skill) for skill in skills]
        count_closed(hits, "printed", closed_figures(labels, probs), truths)
        for name, (metric, columns) in drawn_figures(labels, probs, draws, start).items():
            count_drawn(hits, "printed", name, metric, columns, truths)
    return hits


def closed_figures(labels: np.ndarray, probs: np.ndarray) -> dict[str, Figures]:
    """Value, limits and influence of what has limits in closed form, for both models (2, R, ...)."""
    ranked = aucs(labels, probs)
    guesses = probs.argmax(axis=-1)
    found: dict[str, Figures] = {}
    right = guesses == labels
    for name, own in (("recall", labels[None, None]), ("precision", guesses)):
        of = np.stack([own == c for c in range(3)], axis=-1) & np.ones((*right.shape, 1), dtype=bool)
        total, hits = of.sum(axis=-2), (of & right[..., None]).sum(axis=-2)
        low, high = wilson(hits, total)
        value = hits / np.maximum(total, 1)
        influence = of * (right[..., None] - value[..., None, :]) / np.maximum(total, 1)[..., None, :]
        found |= {
            f"{name}:{c}": (value[..., k], low[..., k], high[..., k], influence[..., k]) for k, c in enumerate(CLASSES)
        }
        found[name] = (value.mean(axis=-1), *mean_share_limits(value, total), influence.mean(axis=-1))
    found["accuracy"] = (right.mean(axis=-1), *wilson(right.sum(axis=-1), np.array(len(labels))), right / len(labels))
    low, high = ranked.limits
    found |= {
        f"auc:{c}": (ranked.by_class[..., k], low[..., k], high[..., k], ranked.influence[..., k])
        for k, c in enumerate(CLASSES)
    }
    found["auc_ovr"] = (ranked.macro, *ranked.macro_limits, ranked.macro_influence)
    found["auc_ovo"] = one_vs_one(labels, probs, few=ranked.few)
    return found


def count_closed(hits: Hits, method: str, figures: dict[str, Figures], truths: list[dict[str, np.ndarray]]) -> None:
    """Add the hits of both kinds of intervals, all replicates at once."""
    for name, (value, low, high, influence) in figures.items():
        groups = labels_of(influence.shape[-1])
        covariances = [covariance(influence[i], influence[k], groups) for i, k in ((0, 0), (1, 1), (0, 1))]
        spread = np.sqrt(covariances[0] * covariances[1])
        r = np.divide(covariances[2], spread, out=np.zeros_like(spread), where=spread > 0)
        both = difference_limits(value[0], value[1], (low[0], high[0]), (low[1], high[1]), r)
        _count(hits, (METRIC, name, method), (low[0], high[0]), truths[0][name])
        _count(hits, (DIFFERENCE, name, method), both, truths[0][name] - truths[1][name])


def drawn_figures(
    labels: np.ndarray, probs: np.ndarray, draws: int, seed: int
) -> dict[str, tuple[Metric, list[Resampled]]]:
    """Both models' resamples of what the product resamples, one column per replicate: `Resampled` is column-wise."""
    counts = np.concatenate(list(resample_counts(labels, draws, seed)))
    guesses, found = probs.argmax(axis=-1), {}
    cells = np.eye(9, dtype=np.float32)[labels * 3 + guesses]  # (2, R, P, 9)
    sample = cells.sum(axis=2)  # (2, R, 9)
    drawn = np.einsum("bp,mrpk->bmrk", counts, cells, optimize=True)
    without = sample[:, :, None] - np.eye(9, dtype=np.float32)  # one patient of each cell left out: (2, R, 9, 9)
    place = labels * 3 + guesses
    for metric in METRICS:
        if metric.name in COUNTED:
            of = [metric.compute(_of_confusion(part)) for part in (sample, drawn, without)]
            of = [each[..., None] if not metric.per_class else each for each in of]
            value, resampled, left_out = (
                of[0].reshape(*sample.shape[:2], -1),
                of[1].reshape(draws, *sample.shape[:2], -1),
                of[2].reshape(*without.shape[:3], -1),
            )
            for k, name in enumerate(metric.titles(CLASSES)):
                left = np.take_along_axis(left_out[..., k], place, axis=2)  # (2, R, P)
                found[name] = (metric, _columns(labels, probs, value[..., k], resampled[..., k], left, metric))
    if n_smallest(labels) >= 100:
        for metric in METRICS:
            if metric.name in ("brier", "log_loss"):
                losses = _losses(metric.name, labels, probs)
                resampled = np.einsum("bp,mrp->bmr", counts, losses) / len(labels)
                left = (losses.sum(axis=2, keepdims=True) - losses) / (len(labels) - 1)
                found[metric.name] = (metric, _columns(labels, probs, losses.mean(axis=2), resampled, left, metric))
    return found


def n_smallest(labels: np.ndarray) -> int:
    return int(np.bincount(labels).min())


def _of_confusion(cells: np.ndarray) -> Resamples:
    """Resamples of which only the confusion matrices (..., 9) are known."""
    found = Resamples(np.zeros(1, int), np.full((1, 3), 1 / 3), np.ones((1, 1)), np.zeros((1, 3)))
    found.__dict__["confusion"] = cells.reshape(-1, 3, 3).astype(np.float64)
    return found


def _losses(name: str, labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Loss of each patient, of the metric of this name. Shape of ``probs`` without its last axis."""
    if name == "brier":
        losses: np.ndarray = np.square(probs - np.eye(3)[labels]).sum(axis=-1)
    else:
        own = np.take_along_axis(probs, np.broadcast_to(labels, probs.shape[:-1])[..., None], -1)[..., 0]
        losses = -np.log(np.maximum(own, 1e-15))
    return losses


def _columns(
    labels: np.ndarray, probs: np.ndarray, value: np.ndarray, drawn: np.ndarray, left: np.ndarray, metric: Metric
) -> list[Resampled]:
    """Build both models' `Resampled`, a column per replicate, from values (2, R), draws and leave-one-out values."""
    influence = np.empty(left.shape)
    for c in range(3):
        own = left[..., labels == c]
        size = own.shape[-1]
        influence[..., labels == c] = (size - 1) * (own.mean(axis=-1, keepdims=True) - own) / size
    wrong = (probs.argmax(axis=-1) != labels).sum(axis=-1)
    holds = (wrong >= NEEDS_WRONG) & (n_smallest(labels) >= metric.needs)
    names = tuple(map(str, range(value.shape[1])))
    nothing = np.full(value.shape[1], np.nan)
    return [Resampled(names, value[m], drawn[:, m], influence[m].T, holds[m], (nothing, nothing)) for m in range(2)]


def count_drawn(
    hits: Hits, method: str, name: str, metric: Metric, pair: list[Resampled], truths: list[dict[str, np.ndarray]]
) -> None:
    """Add the hits of intervals by resampling: of what has no closed form, and of everything as it was before."""
    a, b = pair
    difference = truths[0][name] - truths[1][name]
    if metric.name in DRAWN:
        _count(hits, (METRIC, name, method), a.interval, truths[0][name])
        _count(hits, (DIFFERENCE, name, method), a.difference_interval(b), difference)
    if method == "printed":
        _count(hits, (METRIC, name, "before"), a.bca_interval(), truths[0][name])
        _count(hits, (DIFFERENCE, name, "before"), a.minus(b).percentile_interval(), difference)


def _count(hits: Hits, key: tuple[str, str, str], limits: Limits, target: np.ndarray) -> None:
    low, high = limits
    hits[key] += np.where(np.isnan(low), np.nan, (low <= target) & (target <= high)).tolist()


def replicate_unstable(n: int, draws: int, replicates: int, seed: list[int]) -> Hits:
    """Hits of intervals on learners whose five fits differ: given these trainings, and of the procedure."""
    rng, labels = np.random.default_rng(seed), labels_of(n)
    found = [[fit_unstable(labels, rng) for _ in range(2)] for _ in range(replicates)]
    probs = softmax(np.stack([[pair[m][0] for pair in found] for m in range(2)]), axis=-1)
    these = [{k: np.array([pair[m][1][k] for pair in found]) for k in found[0][m][1]} for m in range(2)]
    procedure = [{name: np.full(replicates, values.mean()) for name, values in of.items()} for of in these]
    hits: Hits = defaultdict(list)
    for start in range(0, replicates, BLOCK):
        part = slice(start, start + BLOCK)
        figures, drawn = closed_figures(labels, probs[:, part]), drawn_figures(labels, probs[:, part], draws, start)
        for method, of in (("these trainings", these), ("procedure", procedure)):
            truths = [{name: values[part] for name, values in each.items()} for each in of]
            count_closed(hits, method, figures, truths)
            for name, (metric, columns) in drawn.items():
                count_drawn(hits, method, name, metric, columns, truths)
    return hits


def fit_unstable(
    labels: np.ndarray, rng: np.random.Generator, *, features: int = 30, used: int = 14, new: int = 30_000
) -> tuple[np.ndarray, dict[str, float]]:
    """Out-of-fold logits (P, 3) of nearest centroids, and what the five fits reach on new patients."""
    centres = 0.6 * np.random.default_rng(1).normal(size=(3, features))
    pictures = centres[labels] + rng.normal(size=(len(labels), features))
    folds = rng.permutation(len(labels)) % 5
    out, new_labels, new_logits = np.empty((len(labels), 3)), [], []
    for fold in range(5):
        train = np.flatnonzero(folds != fold)
        drawn = np.concatenate([rng.choice(train[labels[train] == c], (labels[train] == c).sum()) for c in range(3)])
        weights = np.zeros((3, features))
        chosen = rng.choice(features, used, replace=False)
        weights[:, chosen] = [pictures[drawn[labels[drawn] == c]][:, chosen].mean(axis=0) for c in range(3)]
        bias = -np.square(weights).sum(axis=1) / 2
        out[folds == fold] = pictures[folds == fold] @ weights.T + bias
        fresh = rng.choice(labels, new // 5)
        u, s, _ = np.linalg.svd(weights @ weights.T)
        noise = rng.normal(size=(len(fresh), 3)) @ (u * np.sqrt(s)).T
        new_labels.append(fresh)
        new_logits.append(centres[fresh] @ weights.T + bias + noise)
    every = [metric for metric in METRICS if metric.name != "ece"]
    truth = score(np.concatenate(new_labels), softmax(np.concatenate(new_logits), axis=1), CLASSES, metrics=every)
    return out, {name: float(value[0]) for name, value in truth.items()}
