"""Large samples: bootstrap and permutations from sums over cells of patients, not patient by patient.

Patients of one true class whom all models give the same classes are a cell. How many of each cell stand in a resample
is multinomial, as patient by patient; so everything that follows from confusion matrices is drawn exactly. What else a
metric sums up (errors, what each patient adds to an AUC) is the cell's mean times that number, and a normal part with
the covariance within cells. Mean and covariance are those of the bootstrap; the time follows patients + resamples.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fusion_ln.evaluation.limits.auc import aucs, one_vs_one
from fusion_ln.resamples import CALIBRATION_BINS, Summary, equal_mass_bins, log_errors, squared_errors

LARGE = 20_000  # patients from which on the sums are as good as normal, and resampling patients takes minutes


def draws_by_sums(labels: np.ndarray, clusters: np.ndarray | None) -> bool:
    """Tell if a sample is drawn by sums: a large one whose patients have one node each."""
    return clusters is None and len(labels) >= LARGE


@dataclass(frozen=True)
class Terms:
    """Terms of each patient in the sums of one model's metrics.

    Attributes:
        labels: True class 0..C-1. Shape (P,).
        predicted: Most probable class. Shape (P,).
        auc: One-vs-rest AUCs of the sample and their mean over ordered pairs of classes. Shape (C + 1,).
        each: Influence on each of these, squared error, log error, and the gap of confidence in the patient's bin.
            Shape (P, K).
    """

    labels: np.ndarray
    predicted: np.ndarray
    auc: np.ndarray
    each: np.ndarray

    @property
    def n_classes(self) -> int:
        return len(self.auc) - 1


@dataclass(frozen=True)
class Sums(Summary):
    """R samples, known by sums over their patients.

    Attributes:
        auc: See `Terms`.
        matrices: Patients by true (rows) and most probable class (columns). Shape (R, C, C).
        sums: Of `Terms.each`. Shape (R, K).
    """

    auc: np.ndarray
    matrices: np.ndarray
    sums: np.ndarray

    @property
    def one_vs_rest(self) -> np.ndarray:
        return np.asarray((self.auc[:-1] + self.sums[:, : len(self.auc) - 1]).clip(0, 1))

    @property
    def one_vs_one(self) -> np.ndarray:
        return np.asarray((self.auc[-1] + self.sums[:, len(self.auc) - 1]).clip(0, 1))

    @property
    def confusion(self) -> np.ndarray:
        return self.matrices

    @property
    def accuracy(self) -> np.ndarray:
        return np.asarray(np.einsum("rcc->r", self.matrices) / self._n)

    @property
    def brier(self) -> np.ndarray:
        return np.asarray(self.sums[:, len(self.auc)] / self._n)

    @property
    def log_loss(self) -> np.ndarray:
        return np.asarray(self.sums[:, len(self.auc) + 1] / self._n)

    @property
    def calibration_error(self) -> np.ndarray:
        return np.asarray(np.abs(self.sums[:, -CALIBRATION_BINS:]).sum(axis=1) / self._n)

    @cached_property
    def _n(self) -> np.ndarray:
        return np.asarray(self.matrices.sum(axis=(1, 2)))


def terms_of(labels: np.ndarray, probs: np.ndarray, ranking: np.ndarray | None = None) -> Terms:
    """Compute what each patient adds; ``ranking``: scores whose order the AUC takes in place of ``probs`` (P, C)."""
    ranked = probs if ranking is None else ranking
    by_class = aucs(labels, ranked)
    pairs, _, _, pair_influence = one_vs_one(labels, ranked, few=np.array(False))
    predicted, confidence = probs.argmax(axis=1), probs.max(axis=1)
    gaps = np.zeros((len(labels), CALIBRATION_BINS))
    gaps[np.arange(len(labels)), equal_mass_bins(confidence)] = confidence - (predicted == labels)
    errors = [squared_errors(labels, probs), log_errors(labels, probs)]
    return Terms(
        labels,
        predicted,
        np.append(by_class.by_class, pairs),
        np.column_stack([by_class.influence, pair_influence, *errors, gaps]),
    )


def bootstrap_sums(models: Sequence[Terms], n: int, seed: int) -> list[Sums]:
    """Draw ``n`` bootstrap resamples of the patients, with replacement within each class, the same for all models."""
    rng = np.random.default_rng(seed)
    cells = _Cells.of([models[0].labels, *(model.predicted for model in models)])
    counts = np.zeros((n, len(cells.sizes)))
    for c in range(models[0].n_classes):
        own = np.flatnonzero(cells.keys[:, 0] == c)
        sizes = cells.sizes[own]
        counts[:, own] = rng.multinomial(int(sizes.sum()), sizes / sizes.sum(), size=n)
    alike = _first_alike([column for model in models for column in model.each.T])  # models may agree to the last bit
    kinds, places = np.unique(alike, return_inverse=True)
    means, within = cells.moments(np.hstack([model.each for model in models])[:, kinds])
    sums = (counts @ means + _normal(rng, within, n))[:, places]
    widths = np.cumsum([model.each.shape[1] for model in models])[:-1]
    parts = np.split(sums, widths, axis=1)
    return [
        Sums(model.auc, cells.confusion(counts, place, model.n_classes), part)
        for place, (model, part) in enumerate(zip(models, parts, strict=True), start=1)
    ]


def sums_without_groups(model: Terms, members: np.ndarray, n_groups: int) -> Sums:
    """Leave out each of as many equal groups of a class's patients; ``members`` are their places."""
    groups = np.arange(len(members)) % n_groups
    size = model.n_classes**2
    places = (model.labels * model.n_classes + model.predicted)[members]
    left_out = np.bincount(groups * size + places, minlength=n_groups * size).reshape(n_groups, -1)
    whole = np.bincount(model.labels * model.n_classes + model.predicted, minlength=size)
    matrices = (whole - left_out).reshape(n_groups, model.n_classes, model.n_classes).astype(np.float64)
    return Sums(model.auc, matrices, model.each.sum(axis=0) - _sum_by(groups, model.each[members], n_groups))


def swapped_sums(a: Terms, b: Terms, n: int, rng: np.random.Generator) -> tuple[Sums, Sums]:
    """Swap two models' predictions of each patient with probability a half; returns both halves after ``n`` swaps.

    What each patient adds must be that to a half of the joint sample of both models.
    """
    cells = _Cells.of([a.labels, a.predicted, b.predicted])
    counts = rng.binomial(cells.sizes, 0.5, size=(n, len(cells.sizes))).astype(np.float64)
    means, within = cells.moments(b.each - a.each)
    moved = counts @ means + _normal(rng, within / 4, n)
    kept = cells.sizes - counts
    halves = []
    for own, place, sign in ((a, 1, 1), (b, 2, -1)):
        matrices = cells.confusion(kept, place, a.n_classes) + cells.confusion(counts, 3 - place, a.n_classes)
        halves.append(Sums(own.auc, matrices, own.each.sum(axis=0) + sign * moved))
    return halves[0], halves[1]


@dataclass(frozen=True)
class _Cells:
    """Patients who are alike in true and predicted classes.

    Attributes:
        keys: True class and most probable class by each model. Shape (G, 1 + M).
        sizes: Patients. Shape (G,).
        places: Cell of each patient. Shape (P,).
    """

    keys: np.ndarray
    sizes: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, columns: Sequence[np.ndarray]) -> "_Cells":
        base = max(int(column.max()) for column in columns) + 1
        codes = columns[0].astype(np.int64)
        for column in columns[1:]:
            codes = np.unique(codes, return_inverse=True)[1] * base + column  # small, however many the models
        _, first, places, sizes = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
        return cls(np.column_stack(columns)[first], sizes, places)

    def moments(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute the cells' means (G, K) of values (P, K), and the sum of products within cells (K, K)."""
        means = _sum_by(self.places, values, len(self.sizes)) / self.sizes[:, None]
        return means, values.T @ values - (means * self.sizes[:, None]).T @ means

    def confusion(self, counts: np.ndarray, model: int, n_classes: int) -> np.ndarray:
        """Sum counts (R, G) to confusion matrices (R, C, C) of the model in column ``model`` of the keys."""
        table = np.eye(n_classes**2)[self.keys[:, 0] * n_classes + self.keys[:, model]]
        return np.reshape(counts @ table, (-1, n_classes, n_classes))


def _sum_by(groups: np.ndarray, values: np.ndarray, n_groups: int) -> np.ndarray:
    """Sum values (P, K) by group: shape (n_groups, K)."""
    return np.stack([np.bincount(groups, column, minlength=n_groups) for column in values.T], axis=1)


def _first_alike(columns: Sequence[np.ndarray]) -> list[int]:
    """Find for each column the first one that equals it."""
    first: dict[bytes, int] = {}
    return [first.setdefault(hashlib.sha256(column.tobytes()).digest(), k) for k, column in enumerate(columns)]


def _normal(rng: np.random.Generator, covariance: np.ndarray, n: int) -> np.ndarray:
    """Draw ``n`` normal vectors of mean 0; the covariance may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((rng.standard_normal((n, len(values))) * np.sqrt(values.clip(min=0))) @ vectors.T)
