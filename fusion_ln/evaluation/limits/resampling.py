"""Bootstrap resamples of patients, within each class or set of classes."""

from collections.abc import Iterator

import numpy as np

from fusion_ln.evaluation.limits.clusters import class_sets

BLOCK = 1 << 23  # counts held at once: 32 MiB


def resample_counts(labels: np.ndarray, n: int, seed: int, clusters: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Draw ``n`` bootstrap resamples of the patients, with replacement within each class.

    With ``clusters`` (see `Predictions.clusters`) patients are drawn with all their nodes, among those whose nodes have
    the same classes.

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
    """List the patients of each class, or of each set of classes that the nodes of a patient have."""
    of_patients = labels if clusters is None else class_sets(labels, clusters)
    return [np.flatnonzero(of_patients == each) for each in np.unique(of_patients)]
