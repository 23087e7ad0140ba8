"""Bootstrap resamples of patients, within each class, and the limits that they give."""

from collections.abc import Iterator

import numpy as np
import scipy  # its parts load when they are first used

from fusion_ln.evaluation.limits.clusters import drawn_among
from fusion_ln.evaluation.limits.shares import Limits, Z

BLOCK = 1 << 23  # counts held at once: 32 MiB


def resample_counts(labels: np.ndarray, n: int, seed: int, clusters: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Draw ``n`` bootstrap resamples of the patients, with replacement within each class.

    With ``clusters`` (see `Predictions.clusters`) patients are drawn with all their nodes, see `drawn_among`.

    Yields:
        How often each patient, or node, stands in each resample, in blocks of shape (R, P), float32; the blocks' R add
        up to ``n``. Same labels and seed, same draws.
    """
    rng = np.random.default_rng(seed)
    members = strata(labels, clusters)
    n_patients, step = sum(map(len, members)), max(1, BLOCK // len(labels))
    for start in range(0, n, step):
        rows = min(step, n - start)
        counts = np.empty((rows, n_patients), dtype=np.float32)
        for patients in members:
            size = len(patients)
            cells = rng.integers(0, size, (rows, size)) + size * np.arange(rows)[:, None]
            counts[:, patients] = np.bincount(cells.ravel(), minlength=rows * size).reshape(rows, size)
        yield counts if clusters is None else counts[:, clusters]


def strata(labels: np.ndarray, clusters: np.ndarray | None) -> list[np.ndarray]:
    """List the patients of each class; of patients with several nodes those of `drawn_among`."""
    of_patients = labels if clusters is None else drawn_among(labels, clusters)
    return [np.flatnonzero(of_patients == each) for each in np.unique(of_patients)]


def bca(draws: np.ndarray, value: np.ndarray, influence: np.ndarray, quantile: float = Z) -> Limits:
    """Compute the interval corrected for bias and skewness (BCa; Efron & Tibshirani 1993, eq. 14.9-14.15).

    The acceleration is the one for several samples, here the classes (Davison & Hinkley 1997, sec. 5.3.2).

    Args:
        draws, value, influence: See `fusion_ln.evaluation.intervals.Resampled`. Shapes (R, M), (M,) and (G, M).
        quantile: Standard errors to either limit.

    Returns:
        Two of shape (M,).
    """
    n = len(draws)
    below = ((draws < value) + 0.5 * (draws == value)).mean(axis=0)
    bias = scipy.special.ndtri(np.clip(below, 0.5 / n, 1 - 0.5 / n))
    spread = np.square(influence).sum(axis=0)
    skew = np.power(influence, 3).sum(axis=0)
    acceleration = np.divide(skew, 6 * spread**1.5, out=np.zeros_like(skew), where=spread > 0)

    ordered, columns, limits = np.sort(draws, axis=0), np.arange(len(value)), []
    for z in (-quantile, quantile):
        place = (n - 1) * scipy.special.ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))
        below, part = np.floor(place).astype(int), place % 1
        above = np.minimum(below + 1, n - 1)
        limits.append((1 - part) * ordered[below, columns] + part * ordered[above, columns])
    return limits[0], limits[1]
