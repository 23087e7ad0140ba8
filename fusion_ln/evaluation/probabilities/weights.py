"""Means over patients who are weighted by class."""

import numpy as np


def class_weights(labels: np.ndarray, prevalence: np.ndarray | None) -> np.ndarray:
    """Weigh each patient so that the classes have the shares ``prevalence`` (C,); without, all patients alike.

    Returns:
        Weights that sum to 1. Shape (P,).
    """
    if prevalence is None:
        return np.full(len(labels), 1 / len(labels))
    counts = np.bincount(labels, minlength=len(prevalence))
    return np.asarray((prevalence / np.maximum(counts, 1))[labels])


def class_means(values: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Average values (P, K) over the patients of each class; 0 for a class without any. Shape (K, C)."""
    means = np.zeros((values.shape[1], n_classes))
    for c in np.unique(labels):
        means[:, c] = values[labels == c].mean(axis=0)
    return means


def class_correlation(a: np.ndarray, b: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Correlate what patients add to two totals (P, K), within true class; 0 where one does not vary. Shape (K,)."""
    a, b = (each - class_means(each, labels, int(labels.max()) + 1).T[labels] for each in (a, b))
    spread = np.sqrt(np.square(a).sum(axis=0) * np.square(b).sum(axis=0))
    return np.asarray(np.divide((a * b).sum(axis=0), spread, out=np.zeros_like(spread), where=spread > 0))
