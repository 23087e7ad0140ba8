"""Parts of the metrics of R resamples at once, from weights of patients or from sums over them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np

CALIBRATION_BINS = 10
LEAST_PROB = 1e-15  # of the true class, in the log loss: bounds what one certain error adds by 34.5
_BLOCK = 1 << 18  # numbers held at once per intermediate array: bounds memory, and fits a cache


class Summary(ABC):
    """Quantities of R samples that metrics are made of, each computed once."""

    @property
    @abstractmethod
    def one_vs_rest(self) -> np.ndarray:
        """AUC of each class against the rest. Shape (R, C)."""

    @property
    @abstractmethod
    def one_vs_one(self) -> np.ndarray:
        """Macro one-vs-one AUC: M of Hand & Till 2001, eq. 7. Shape (R,)."""

    @property
    @abstractmethod
    def confusion(self) -> np.ndarray:
        """Patients by true (rows) and most probable class (columns). Shape (R, C, C)."""

    @property
    @abstractmethod
    def accuracy(self) -> np.ndarray:
        """Share of patients whose most probable class is the true one. Shape (R,)."""

    @property
    @abstractmethod
    def brier(self) -> np.ndarray:
        """Brier score: sum over the classes of squared errors, 0 to 2. Shape (R,)."""

    @property
    @abstractmethod
    def log_loss(self) -> np.ndarray:
        """Cross-entropy, with probabilities below `LEAST_PROB` taken for it. Shape (R,)."""

    @property
    @abstractmethod
    def calibration_error(self) -> np.ndarray:
        """Calibration error of the most probable class, in bins of equal mass with the sample's edges. Shape (R,)."""

    @property
    def precision(self) -> np.ndarray:
        """Precision of each class; 0 where it is never predicted, as in scikit-learn. Shape (R, C)."""
        hits, true, predicted = self._margins
        return np.where((predicted == 0) & (true > 0), 0.0, hits / predicted)

    @property
    def recall(self) -> np.ndarray:
        """Recall of each class. Shape (R, C)."""
        hits, true, _ = self._margins
        return np.asarray(hits / true)

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of precision and recall of each class. Shape (R, C)."""
        hits, true, predicted = self._margins
        return np.asarray(2 * hits / (true + predicted))

    @property
    def mcc(self) -> np.ndarray:
        """Matthews' correlation for C classes (Gorodkin 2004); 0 where one class alone is predicted. Shape (R,)."""
        hits, true, predicted = self._margins
        n = true.sum(axis=1)
        spread_true, spread_predicted = n**2 - np.square(true).sum(axis=1), n**2 - np.square(predicted).sum(axis=1)
        mcc = (hits.sum(axis=1) * n - (true * predicted).sum(axis=1)) / np.sqrt(spread_true * spread_predicted)
        return np.where((spread_predicted == 0) & (spread_true > 0), 0.0, mcc)

    @cached_property
    def _margins(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Patients recognised, of the class, and predicted to be of it. Three of shape (R, C)."""
        return np.einsum("rcc->rc", self.confusion), self.confusion.sum(axis=2), self.confusion.sum(axis=1)


@dataclass(frozen=True)
class Resamples(Summary):
    """R weighted resamples of P patients, with the quantities that metrics are made of, each computed once.

    Attributes:
        labels: True class 0..C-1. Shape (P,).
        probs: Class probabilities, rows summing to 1. Shape (P, C).
        counts: How often each patient stands in each resample, as whole numbers. Shape (R, P).
        ranking: Scores whose order within each class the AUC takes, usually ``probs``. Shape (P, C).
    """

    labels: np.ndarray
    probs: np.ndarray
    counts: np.ndarray
    ranking: np.ndarray

    @property
    def n_classes(self) -> int:
        return int(self.probs.shape[1])

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Average a quantity of each patient, shape (P,) or (P, K), over every resample: shape (R,) or (R, K)."""
        n = self._weights.sum(axis=1)
        return np.asarray((self._weights @ values) / (n if values.ndim == 1 else n[:, None]))

    @cached_property
    def one_vs_rest(self) -> np.ndarray:
        """AUC of each class against the rest. Shape (R, C)."""
        sizes = self._sizes
        return np.asarray(self._wins.sum(axis=2) / (sizes * (sizes.sum(axis=1, keepdims=True) - sizes)))

    @property
    def one_vs_one(self) -> np.ndarray:
        """Macro one-vs-one AUC: M of Hand & Till 2001, eq. 7. Shape (R,).

        The mean over ordered pairs of classes (i, j) of the chance that a patient of class i has a higher probability
        of i than a patient of class j.
        """
        return np.asarray(self.pairwise[:, ~np.eye(self.n_classes, dtype=bool)].mean(axis=1))

    @property
    def pairwise(self) -> np.ndarray:
        """Chance that a patient of class i has a higher probability of i than one of class j. Shape (R, C, C)."""
        return np.asarray(self._wins / (self._sizes[:, :, None] * self._sizes[:, None, :]))

    @cached_property
    def confusion(self) -> np.ndarray:
        """Patients by true (rows) and most probable class (columns). Shape (R, C, C)."""
        cells = np.eye(self.n_classes**2)[self.labels * self.n_classes + self.probs.argmax(axis=1)]
        return np.reshape(self._weights @ cells, (-1, self.n_classes, self.n_classes))

    @property
    def accuracy(self) -> np.ndarray:
        return self.mean(self.probs.argmax(axis=1) == self.labels)

    @property
    def brier(self) -> np.ndarray:
        """Brier score: sum over the classes of squared errors, 0 to 2. Shape (R,)."""
        return self.mean(squared_errors(self.labels, self.probs))

    @property
    def log_loss(self) -> np.ndarray:
        """Cross-entropy, with probabilities below `LEAST_PROB` taken for it. Shape (R,)."""
        return self.mean(log_errors(self.labels, self.probs))

    @property
    def calibration_error(self) -> np.ndarray:
        """Calibration error of the most probable class, in bins of equal mass with the sample's edges. Shape (R,)."""
        predicted, confidence = self.probs.argmax(axis=1), self.probs.max(axis=1)
        gaps = (confidence - (predicted == self.labels))[:, None]
        by_bin = self.mean(np.eye(CALIBRATION_BINS)[equal_mass_bins(confidence)] * gaps)
        return np.asarray(np.abs(by_bin).sum(axis=1))

    @cached_property
    def _weights(self) -> np.ndarray:
        return self.counts.astype(np.float64)

    @cached_property
    def _by_class(self) -> list[np.ndarray]:
        """Counts of each class's patients: C arrays of shape (patients of the class, R), float32."""
        parts = (self.counts[:, self.labels == c].T for c in range(self.n_classes))
        return [np.ascontiguousarray(part, dtype=np.float32) for part in parts]

    @cached_property
    def _sizes(self) -> np.ndarray:
        """Patients of each class. Shape (R, C)."""
        return np.stack([part.sum(axis=0, dtype=np.float64) for part in self._by_class], axis=1)

    @cached_property
    def _wins(self) -> np.ndarray:
        """Pairs of patients of classes i and j of which the first ranks higher for class i; ties half. (R, C, C).

        The diagonal is 0. The share of wins among pairs is the AUC (Mann & Whitney 1947).
        """
        wins = np.zeros((len(self.counts), self.n_classes, self.n_classes))
        for i, j in permutations(range(self.n_classes), 2):
            high, low = self.ranking[self.labels == i, i], self.ranking[self.labels == j, i]
            wins[:, i, j] = _count_wins(high, low, self._by_class[i], self._by_class[j])
        return wins


def squared_errors(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Sum over the classes the squared errors of each patient's probabilities (P, C). Shape (P,)."""
    return np.asarray(np.square(probs - np.eye(probs.shape[1])[labels]).sum(axis=1))


def log_errors(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Compute each patient's part of the log loss from probabilities (P, C). Shape (P,)."""
    return np.asarray(-np.log(np.maximum(probs[np.arange(len(labels)), labels], LEAST_PROB)))


def equal_mass_bins(values: np.ndarray, n_bins: int = CALIBRATION_BINS) -> np.ndarray:
    """Assign each value a bin 0..n_bins-1 of about equally many; equal values share a bin. Shape (P,)."""
    edges = np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1])
    bins: np.ndarray = np.searchsorted(edges, values, side="left")
    return bins


def _count_wins(high: np.ndarray, low: np.ndarray, high_counts: np.ndarray, low_counts: np.ndarray) -> np.ndarray:
    """Count pairs with ``high`` above ``low`` in each resample, from one sort for all of them. Shape (R,)."""
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
