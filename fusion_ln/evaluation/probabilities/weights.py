"""Means over patients who are weighted by class, with bootstrap intervals."""

import numpy as np

from fusion_ln.evaluation.intervals import resample_counts
from fusion_ln.evaluation.limits.shares import middle


def class_weights(labels: np.ndarray, prevalence: np.ndarray | None) -> np.ndarray:
    """Weigh each patient so that the classes have the shares ``prevalence`` (C,); without, all patients alike.

    Returns:
        Weights that sum to 1. Shape (P,).
    """
    if prevalence is None:
        return np.full(len(labels), 1 / len(labels))
    counts = np.bincount(labels, minlength=len(prevalence))
    return np.asarray((prevalence / np.maximum(counts, 1))[labels])


def total_interval(parts: np.ndarray, labels: np.ndarray, n_resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute the 95 % percentile interval of the patients' sum, drawn with replacement within each class.

    Args:
        parts: What each patient adds to each of K totals. Shape (P, K).
        labels: True class. Shape (P,).
        n_resamples, seed: Number of draws; same seed, same interval.

    Returns:
        Lower and upper limits. Two of shape (K,).
    """
    draws = np.concatenate([counts @ parts for counts in resample_counts(labels, n_resamples, seed)])
    low, high = middle(draws)
    return low, high
