"""Patients with several nodes: sums by patient, and the number of independent nodes that a share is worth.

``clusters`` numbers the patient of each node from 0, see `Predictions.clusters`; None: every patient is one unit.
"""

import numpy as np

from fusion_ln.evaluation.limits.shares import Z, student_quantile


def sum_by_patient(values: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Sum values (..., P) over the nodes of each patient. Shape (..., I)."""
    order = np.argsort(clusters, kind="stable")
    starts = np.flatnonzero(np.diff(clusters[order], prepend=-1))
    return np.asarray(np.add.reduceat(values[..., order], starts, axis=-1))


def count_patients(members: np.ndarray, clusters: np.ndarray | None) -> np.ndarray:
    """Count the patients who have a node among ``members`` (..., P), bool. Shape (...)."""
    if clusters is None:
        return np.asarray(members.sum(axis=-1))
    return np.asarray((sum_by_patient(members.astype(np.int64), clusters) > 0).sum(axis=-1))


def alike_patients(members: np.ndarray, clusters: np.ndarray | None) -> float:
    """Compute how many patients with equally many nodes would tell a variance between patients as well.

    Of a sum of squares, to each of which the k nodes of a patient add k times a patient's own deviation, it is one more
    than the degrees of freedom (Satterthwaite 1946, Biometrics Bull. 2, 110): few patients with many nodes rule it.

    Args:
        members: The nodes that count. Bool, shape (P,).
    """
    if clusters is None:
        return float(members.sum())
    squares = np.square(sum_by_patient(members.astype(np.float64), clusters))
    return float(squares.sum() ** 2 / max(np.square(squares).sum(), 1))


def drawn_among(labels: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Assign each patient the group within which resamples draw, so that none loses a class. Shape (I,).

    Patients of a group are those whose rarest class is the same, which keeps how often classes stand in one patient
    free to vary: with patients of one set of classes, F1 and MCC of 120 patients held in 0.92 to 0.93 of simulations.
    Where some class is nobody's rarest they are those of one set of classes.
    """
    members = np.stack([labels == c for c in np.unique(labels)]).astype(np.int64)
    has = sum_by_patient(members, clusters) > 0  # (C, I)
    counts = has.sum(axis=1)
    rarest = np.asarray(np.where(has, counts[:, None], len(labels) + 1).argmin(axis=0))
    if len(np.unique(rarest)) == len(counts):
        return rarest
    return np.asarray(np.unique(has.T, axis=0, return_inverse=True)[1]).reshape(-1)


def effective_number(hits: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Compute how many independent nodes would tell a share as well as the nodes of these patients.

    The variance of the share is that of the bootstrap over patients, in its linear form (Rao & Scott 1992, Biometrics
    48, 577). It is never taken for less than that of independent nodes, and never for more than that of nodes which
    are all alike in a patient; this one holds where all nodes, or none, are hits. The quantile of Student's t, with one
    degree of freedom less than the patients, stands in it.

    Args:
        hits, of: Hits, and nodes of which they are a share, of each patient. Shapes (I, ...).

    Returns:
        Shape (...); 0 where it is a share of nobody.
    """
    hits, of = hits.astype(np.float64), of.astype(np.float64)
    total, patients = of.sum(axis=0), (of > 0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        alike = total**2 / np.square(of).sum(axis=0)
        share = hits.sum(axis=0) / total
        variance = np.square(hits - share * of).sum(axis=0) / total**2 * patients / (patients - 1)
        found = np.where(variance > 0, share * (1 - share) / variance, alike)
        narrowed = (Z / student_quantile(patients - 1)) ** 2
        return np.where(total > 0, np.clip(found, alike, total) * narrowed, 0)
