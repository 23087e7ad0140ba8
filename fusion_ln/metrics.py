"""Every metric of a model, in one table: of the sample itself, or of many weighted resamples of it at once.

A new metric is an entry of `METRICS`: scores, intervals, comparisons, reports and studies all read that table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np

from fusion_ln.errors import PredictionsError

PRIMARY = "auc_ovr"  # the metric by which models are chosen and compared
CALIBRATION_BINS = 10
LEAST_PROB = 1e-15  # of the true class, in the log loss: bounds what one certain error adds by 34.5
_BLOCK = 1 << 18  # numbers held at once per intermediate array: bounds memory, and fits a cache


@dataclass(frozen=True)
class Resamples:
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

    @property
    def brier(self) -> np.ndarray:
        """Brier score: sum over the classes of squared errors, 0 to 2. Shape (R,)."""
        return self.mean(np.square(self.probs - np.eye(self.n_classes)[self.labels]).sum(axis=1))

    @property
    def log_loss(self) -> np.ndarray:
        """Cross-entropy, with probabilities below `LEAST_PROB` taken for it. Shape (R,)."""
        of_truth = self.probs[np.arange(len(self.labels)), self.labels]
        return self.mean(-np.log(np.maximum(of_truth, LEAST_PROB)))

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
    def _margins(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Patients recognised, of the class, and predicted to be of it. Three of shape (R, C)."""
        return np.einsum("rcc->rc", self.confusion), self.confusion.sum(axis=2), self.confusion.sum(axis=1)

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


@dataclass(frozen=True)
class Metric:
    """A metric over all classes or, where ``per_class``, of each class against the rest.

    Attributes:
        name: In every table; of a class ``<name>:<class>``.
        title: Heading of its column on a page.
        compute: Its values. Shape (R,), or (R, C) where ``per_class``; NaN where a resample lacks the class.
        lower_is_better: The direction in which a study searches.
        shown: The table of models on a page has it, not the CSV file alone.
        of: Patients that the metric is a share of, shaped as ``compute``; None where it is no share.
        needs: Patients of each class from which on resampling gives an interval that holds, by simulation
            (``experiments/evidence/evidence_calibration.py``); of no account where the interval has a closed form.
        caveat: Why it has no interval; empty where it may have one.
    """

    name: str
    title: str
    compute: Callable[[Resamples], np.ndarray]
    per_class: bool = False
    lower_is_better: bool = False
    shown: bool = False
    of: Callable[[Resamples], np.ndarray] | None = None
    needs: int = 20
    caveat: str = ""

    def titles(self, classes: tuple[str, ...]) -> dict[str, str]:
        """Title each value by its name: one entry, or one per class."""
        if not self.per_class:
            return {self.name: self.title}
        return {f"{self.name}:{each}": f"{self.title}, {each}" for each in classes}


# Metrics of a class that are averaged over the classes have two entries.
METRICS: tuple[Metric, ...] = (
    Metric(PRIMARY, "AUC, one vs rest", lambda r: r.one_vs_rest.mean(axis=1), shown=True),
    Metric("auc_ovo", "AUC, one vs one", lambda r: r.one_vs_one, shown=True),
    Metric("auc", "AUC", lambda r: r.one_vs_rest, per_class=True),
    Metric(
        "accuracy",
        "Accuracy",
        lambda r: r.mean(r.probs.argmax(axis=1) == r.labels),
        of=lambda r: r.confusion.sum(axis=(1, 2)),
        shown=True,
    ),
    Metric("mcc", "MCC", lambda r: r.mcc, shown=True),
    Metric("precision", "Precision", lambda r: r.precision.mean(axis=1), shown=True),
    Metric("recall", "Recall", lambda r: r.recall.mean(axis=1), shown=True),
    Metric("f1", "F1", lambda r: r.f1.mean(axis=1), shown=True),
    Metric("precision", "Precision", lambda r: r.precision, of=lambda r: r.confusion.sum(axis=1), per_class=True),
    Metric("recall", "Recall", lambda r: r.recall, of=lambda r: r.confusion.sum(axis=2), per_class=True, shown=True),
    Metric("f1", "F1", lambda r: r.f1, per_class=True),
    Metric("brier", "Brier score", lambda r: r.brier, lower_is_better=True, needs=100),
    Metric("log_loss", "Log loss", lambda r: r.log_loss, lower_is_better=True, needs=100),
    Metric(
        "ece",
        "Calibration error",
        lambda r: r.calibration_error,
        lower_is_better=True,
        caveat="The calibration error of a sample is larger than the model's, the more so the fewer the patients: "
        "no interval holds the model's value often enough.",
    ),
)


def score(
    labels: np.ndarray,
    probs: np.ndarray,
    classes: tuple[str, ...],
    counts: np.ndarray | None = None,
    *,
    ranking: np.ndarray | None = None,
    metrics: Sequence[Metric] = METRICS,
) -> dict[str, np.ndarray]:
    """Compute every metric of the sample, or of each of R resamples of it.

    Args:
        labels, probs: See `Resamples`.
        classes: Names of the C classes.
        counts: See `Resamples`. None: the sample.
        ranking: Scores to rank for the AUC in place of ``probs``.
        metrics: The metrics to compute.

    Returns:
        Values by name, ``<name>:<class>`` for a metric per class; each of shape (R,), R = 1 for the sample. NaN where
        a resample lacks the class that the metric needs.

    Raises:
        PredictionsError: If the sample has no patient of some class.
    """
    if counts is None:
        need_patients(labels, classes)
        counts = np.ones((1, len(labels)))
    resamples = Resamples(labels, probs, counts, probs if ranking is None else ranking)
    scores: dict[str, np.ndarray] = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for metric in metrics:
            values = metric.compute(resamples)
            scores |= zip(metric.titles(classes), values.T if metric.per_class else [values], strict=True)
    return scores


def need_patients(
    labels: np.ndarray, classes: tuple[str, ...], at_least: int = 1, clusters: np.ndarray | None = None
) -> None:
    """Refuse a sample that has fewer than ``at_least`` patients with some class; ``clusters`` as in the predictions.

    Raises:
        PredictionsError: With the class and its count.
    """
    for c, name in enumerate(classes):
        of_class = labels == c if clusters is None else np.bincount(clusters, labels == c) > 0
        if (count := int(np.sum(of_class))) < at_least:
            raise PredictionsError(
                f"class {name!r} has {count} of the {len(of_class)} patients; at least {at_least} of each class "
                f"({', '.join(classes)}) must be there.",
                "Take predictions of a larger cohort, or leave the class out of the cohort.",
            )


def confusion(labels: np.ndarray, probs: np.ndarray, n_classes: int) -> np.ndarray:
    """Count patients by true class (rows) and most probable class (columns). Shape (C, C)."""
    cells = labels * n_classes + probs.argmax(axis=1)
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


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
