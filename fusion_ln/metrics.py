"""Every metric of a model on plain arrays: of the sample itself, or of many weighted resamples of it at once."""

from typing import Any

import numpy as np

from fusion_ln.errors import PredictionsError
from fusion_ln.predictions import Predictions

# Names of what `score` returns: over all classes, and per class as `<name>:<class>`.
OVERALL = ("auc_ovr", "auc_ovo", "accuracy", "precision", "recall", "f1", "mcc", "brier", "log_loss", "ece")
PER_CLASS = ("auc", "precision", "recall", "f1")

CALIBRATION_BINS = 10
_BLOCK = 1 << 18  # numbers held at once per intermediate array: bounds memory, and fits a cache


def score(
    labels: np.ndarray, probs: np.ndarray, classes: tuple[str, ...], counts: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Every metric of the sample, or of each of R resamples of it.

    ``precision``, ``recall`` and ``f1`` are means over the classes; the predicted class is the most probable one.
    A class that is never predicted has precision 0, and a model that always predicts one class has MCC 0, as in
    scikit-learn. ``brier`` is the sum over classes of squared errors (0 to 2), ``ece`` the calibration error of the
    most probable class over `CALIBRATION_BINS` bins of equal mass, whose edges are those of the sample.

    Args:
        labels: True class 0..C-1. Shape (P,).
        probs: Class probabilities, rows summing to 1. Shape (P, C).
        classes: Names of the C classes.
        counts: How often each patient stands in each resample, as whole numbers. Shape (R, P). None: the sample.

    Returns:
        The names in `OVERALL`, and ``<name>:<class>`` for those in `PER_CLASS`; each of shape (R,), R = 1 for the
        sample. NaN where a resample lacks the class that the metric needs.

    Raises:
        PredictionsError: If the sample has no patient of some class.
    """
    if counts is None:
        need_patients(labels, classes)
        counts = np.ones((1, len(labels)))
    return {**score_auc(labels, probs, classes, counts), **score_rest(labels, probs, classes, counts)}


def score_auc(
    labels: np.ndarray, probs: np.ndarray, classes: tuple[str, ...], counts: np.ndarray
) -> dict[str, np.ndarray]:
    """The AUC part of `score`: each class against the rest, their mean, and the macro one-vs-one AUC.

    The latter is M of Hand & Till 2001, eq. 7: the mean over ordered pairs of classes (i, j) of the chance that a
    patient of class i has a higher probability of i than a patient of class j.
    """
    n_classes = len(classes)
    by_class = [np.ascontiguousarray(counts[:, labels == c].T, dtype=np.float32) for c in range(n_classes)]
    sizes = np.stack([part.sum(axis=0, dtype=np.float64) for part in by_class], axis=1)  # (R, C)
    wins = _wins(labels, probs, by_class)
    with np.errstate(invalid="ignore", divide="ignore"):
        one_vs_rest = wins.sum(axis=2) / (sizes * (sizes.sum(axis=1, keepdims=True) - sizes))
        pairs = wins / (sizes[:, :, None] * sizes[:, None, :])
    ordered_pairs = ~np.eye(n_classes, dtype=bool)
    overall = {"auc_ovr": one_vs_rest.mean(axis=1), "auc_ovo": pairs[:, ordered_pairs].mean(axis=1)}
    return overall | {f"auc:{name}": one_vs_rest[:, c] for c, name in enumerate(classes)}


def score_rest(
    labels: np.ndarray, probs: np.ndarray, classes: tuple[str, ...], counts: np.ndarray
) -> dict[str, np.ndarray]:
    """The rest of `score`: functions of sums over patients, so one matrix product gives them for every resample."""
    n_classes, rows = len(classes), np.arange(len(labels))
    predicted, confidence = probs.argmax(axis=1), probs.max(axis=1)
    cell = _one_hot(labels * n_classes + predicted, n_classes**2)
    squared_error = np.square(probs - _one_hot(labels, n_classes)).sum(axis=1)
    surprise = -np.log(np.maximum(probs[rows, labels], np.finfo(np.float64).tiny))
    gap = _one_hot(equal_mass_bins(confidence), CALIBRATION_BINS) * (confidence - (predicted == labels))[:, None]

    terms = np.column_stack([cell, squared_error, surprise, gap])
    sums = counts @ terms
    matrix, brier, log_loss, gaps = np.split(sums, np.cumsum([n_classes**2, 1, 1]), axis=1)
    n = matrix.sum(axis=1)
    calibration = {"brier": brier[:, 0] / n, "log_loss": log_loss[:, 0] / n, "ece": np.abs(gaps).sum(axis=1) / n}
    return _score_confusion(matrix.reshape(-1, n_classes, n_classes), classes) | calibration


def need_patients(labels: np.ndarray, classes: tuple[str, ...], at_least: int = 1) -> None:
    """Refuse a sample that has fewer than ``at_least`` patients of some class.

    Raises:
        PredictionsError: With the class and its count.
    """
    for c, name in enumerate(classes):
        if (count := int(np.sum(labels == c))) < at_least:
            raise PredictionsError(
                f"class {name!r} has {count} of the {len(labels)} patients; at least {at_least} of each class "
                f"({', '.join(classes)}) must be there.",
                "Take predictions of a larger cohort, or leave the class out of the cohort.",
            )


def describe(predictions: Predictions) -> dict[str, Any]:
    """What metrics.json holds: every metric and the confusion matrix, pooled over the folds and in each of them.

    A metric that a fold leaves undefined, for want of patients of a class, is None there.

    Raises:
        PredictionsError: If no fold has a patient of some class.
    """
    classes, labels, probs = predictions.classes, predictions.labels, predictions.probs
    folds = [(int(fold), predictions.folds == fold) for fold in np.unique(predictions.folds)]
    by_fold = []
    for fold, part in folds:
        scores = score(labels[part], probs[part], classes, np.ones((1, int(part.sum()))))  # NaN where undefined
        by_fold.append({"fold": fold, "n": int(part.sum()), **_plain(scores)})
    return {
        "pooled": _plain(score(labels, probs, classes)),
        "folds": by_fold,
        "confusion": {
            "classes": list(classes),
            "pooled": confusion(labels, probs, len(classes)).tolist(),
            "folds": [confusion(labels[part], probs[part], len(classes)).tolist() for _, part in folds],
        },
    }


def confusion(labels: np.ndarray, probs: np.ndarray, n_classes: int) -> np.ndarray:
    """Patients by true class (rows) and most probable class (columns). Shape (C, C)."""
    cells = labels * n_classes + probs.argmax(axis=1)
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def equal_mass_bins(values: np.ndarray, n_bins: int = CALIBRATION_BINS) -> np.ndarray:
    """The bin 0..n_bins-1 of each value; bins hold about equally many, and equal values share one. Shape (P,)."""
    edges = np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1])
    bins: np.ndarray = np.searchsorted(edges, values, side="left")
    return bins


def _plain(scores: dict[str, np.ndarray]) -> dict[str, float | None]:
    return {name: float(value[0]) if np.isfinite(value[0]) else None for name, value in scores.items()}


def _wins(labels: np.ndarray, probs: np.ndarray, by_class: list[np.ndarray]) -> np.ndarray:
    """Pairs of patients of classes i and j of which the first has the higher probability of class i; ties half.

    Args:
        labels, probs: As for `score`.
        by_class: The counts of each class's patients. C arrays of shape (patients of the class, R), float32.

    Returns:
        Shape (R, C, C), float64; the diagonal is 0. The share of wins among pairs is the AUC (Mann & Whitney 1947).
    """
    n_classes = probs.shape[1]
    wins = np.zeros((by_class[0].shape[1], n_classes, n_classes))
    for i in range(n_classes):
        for j in range(n_classes):
            if i != j:
                high, low = probs[labels == i, i], probs[labels == j, i]
                wins[:, i, j] = _count_wins(high, low, by_class[i], by_class[j])
    return wins


def _count_wins(high: np.ndarray, low: np.ndarray, high_counts: np.ndarray, low_counts: np.ndarray) -> np.ndarray:
    """Pairs with ``high`` above ``low`` in each resample, from one sort for all of them. Shape (R,)."""
    order = np.argsort(low)
    below = np.searchsorted(low, high, side="left", sorter=order)
    up_to = np.searchsorted(low, high, side="right", sorter=order)
    wins = np.empty(high_counts.shape[1])
    step = max(64, _BLOCK // (len(high) + len(low) + 1))
    for part in (slice(start, start + step) for start in range(0, len(wins), step)):
        ordered = low_counts[:, part][order]
        passed = np.zeros((len(low) + 1, ordered.shape[1]), dtype=np.float32)  # whole numbers: exact below 2^24
        np.cumsum(ordered, axis=0, out=passed[1:])
        twice = passed[below]
        twice += passed[up_to]
        twice *= high_counts[:, part]
        wins[part] = twice.sum(axis=0, dtype=np.float64) / 2
    return wins


def _one_hot(values: np.ndarray, n_values: int) -> np.ndarray:
    table: np.ndarray = np.eye(n_values)[values]
    return table


def _score_confusion(matrix: np.ndarray, classes: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Metrics of confusion matrices of shape (R, C, C), rows true; MCC for C classes is that of Gorodkin 2004."""
    hits, true, predicted = np.einsum("rcc->rc", matrix), matrix.sum(axis=2), matrix.sum(axis=1)
    n = true.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        # 0 / 0 stays undefined where the class is absent, and is 0 where it was there to be predicted.
        precision = np.where((predicted == 0) & (true > 0), 0.0, hits / predicted)
        recall = hits / true
        f1 = 2 * hits / (true + predicted)
        spread_true, spread_predicted = n**2 - np.square(true).sum(axis=1), n**2 - np.square(predicted).sum(axis=1)
        mcc = (hits.sum(axis=1) * n - (true * predicted).sum(axis=1)) / np.sqrt(spread_true * spread_predicted)
        mcc = np.where((spread_predicted == 0) & (spread_true > 0), 0.0, mcc)
        accuracy = hits.sum(axis=1) / n
    by_class = {"precision": precision, "recall": recall, "f1": f1}
    overall = {"accuracy": accuracy, "mcc": mcc} | {name: values.mean(axis=1) for name, values in by_class.items()}
    return overall | {
        f"{name}:{label}": values[:, c] for name, values in by_class.items() for c, label in enumerate(classes)
    }
