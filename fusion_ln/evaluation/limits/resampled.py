"""Metrics of models on bootstrap resamples, and the influence of patients on them, each computed once."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fusion_ln.evaluation.limits.remembered import Drawn, remembered
from fusion_ln.evaluation.limits.resampling import BLOCK, resample_counts, strata
from fusion_ln.metrics import Metric, score
from fusion_ln.threads import cores

# The influence of single patients is measured one by one up to this many per class, beyond in as many equal groups.
JACKKNIFE_GROUPS = 500
MODELS_AT_ONCE = 4  # whose draws are computed side by side: each takes some hundred megabytes


def draw_metrics(
    labels: np.ndarray,
    probs: list[np.ndarray],
    classes: tuple[str, ...],
    metrics: Sequence[Metric],
    clusters: np.ndarray | None,
    n_resamples: int,
    seed: int,
) -> list[Drawn]:
    """Draw each model's metrics on the same resamples, and the influence of patients; see `remembered`."""

    def draw(some: list[np.ndarray]) -> list[Drawn]:
        blocks = resample_counts(labels, n_resamples, seed, clusters)
        drawn = _draws(labels, some, classes, metrics, blocks)
        return list(zip(drawn, _influences(labels, some, classes, metrics, clusters), strict=True))

    names = [metric.name for metric in metrics]
    return remembered(probs, [labels, classes, clusters, n_resamples, seed, names, JACKKNIFE_GROUPS], draw)


def columns_of(scores: dict[str, np.ndarray]) -> np.ndarray:
    """Stack scores to shape (R, M)."""
    return np.stack(list(scores.values()), axis=1)


def _draws(
    labels: np.ndarray,
    probs: list[np.ndarray],
    classes: tuple[str, ...],
    metrics: Sequence[Metric],
    blocks: Iterable[np.ndarray],
) -> list[np.ndarray]:
    """Compute each model's metrics on resamples with these counts, the models on several cores. Shape (R, M) each."""

    def values(p: np.ndarray, block: np.ndarray) -> np.ndarray:
        return columns_of(score(labels, p, classes, block, metrics=metrics))

    with ThreadPoolExecutor(min(cores(), len(probs), MODELS_AT_ONCE)) as pool:
        scored = [list(pool.map(values, probs, [block] * len(probs))) for block in blocks]
    return [np.concatenate(parts) for parts in zip(*scored, strict=True)]


def _influences(
    labels: np.ndarray,
    probs: list[np.ndarray],
    classes: tuple[str, ...],
    metrics: Sequence[Metric],
    clusters: np.ndarray | None,
) -> list[np.ndarray]:
    """Compute each model's `Resampled.influence`: jackknife influence over the number of groups of its stratum."""
    influences: list[list[np.ndarray]] = [[] for _ in probs]
    n_patients = len(labels) if clusters is None else int(clusters.max()) + 1
    for members in strata(labels, clusters):
        if len(members) == 1:
            continue  # its only patient stands in every resample
        n_groups = min(len(members), JACKKNIFE_GROUPS)
        left_out: list[list[np.ndarray]] = [[] for _ in probs]
        for first in range(0, n_groups, step := max(1, BLOCK // len(labels))):
            groups = range(first, min(first + step, n_groups))
            counts = np.ones((len(groups), n_patients), dtype=np.float32)
            for row, group in enumerate(groups):
                counts[row, members[group::n_groups]] = 0
            counts = counts if clusters is None else counts[:, clusters]
            for values, p in zip(left_out, probs, strict=True):
                values.append(columns_of(score(labels, p, classes, counts, metrics=metrics)))
        for influence, values in zip(influences, left_out, strict=True):
            without = np.concatenate(values)
            influence.append((n_groups - 1) * (without.mean(axis=0) - without) / n_groups)
    nothing = np.zeros((0, sum(len(metric.titles(classes)) for metric in metrics)))
    return [np.concatenate([nothing, *influence]) for influence in influences]
