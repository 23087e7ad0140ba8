"""Permutation test of two models' AUCs: their answers swapped within patients, DeLong's z as the statistic."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from fusion_ln.evaluation.delong import p_of_means, z_test
from fusion_ln.evaluation.limits.auc import covariance
from fusion_ln.metrics import need_patients
from fusion_ln.predictions import Predictions
from fusion_ln.resamples import LEAST_PROB
from fusion_ln.threads import cores, one_blas_thread

SWAPS = 10_000
SWAPPED_UP_TO = 1000  # patients or nodes; beyond, DeLong's p is near it (experiments/benchmarks/auc_tests.md)
_BLOCK = 1 << 18  # placements held at once: 2 MiB
_ALIKE = 1e-5  # relative difference below which two statistics, of float32, differ by rounding
_ROUNDING = 1e-5  # share of the squares that is no variance
_MOST = 1e9  # stands for the z of a difference without variance


def swap_test(a: Sequence[Predictions], b: Sequence[Predictions], *, n_swaps: int = SWAPS, seed: int = 0) -> np.ndarray:
    """Test the differences of two models' AUCs, each the mean over its seeds, by swaps.

    Each swap exchanges all that the two models say of a patient, of all nodes and seeds, with probability a half. A
    draw's statistic is DeLong's z of its two halves: studentised, the test holds its level where models are alike in
    AUC but not exchangeable (Chung & Romano 2013, Ann. Statist. 41, 484; Pauly et al. 2016, Biom. J. 58, 1319). Near an
    AUC of 1, where z rests on few patients and the normal p is too large, it keeps the level that the orders allow.

    The order within a model is that of its probabilities. A patient's place among answers of the other model follows
    from the logit of the class, standardised over the patients: models may differ in scale and in offset. Ranks in
    place of logits close the gap between the classes, and what a swap then puts out of order hides what the models did.

    The p-value is two-sided; draws that equal the sample's statistic count half (mid-p; Lancaster 1961). Beyond
    `SWAPPED_UP_TO` patients it is DeLong's, the normal one.

    Args:
        a, b: Predictions with every seed, as many of either model, of the same patients in the same order.
        n_swaps, seed: Number of draws; same seed, same p-values.

    Returns:
        P-values of the one-vs-rest AUC of each class, and of their mean. Shape (C + 1,).

    Raises:
        PredictionsError: If a class has fewer than 2 patients.
    """
    labels, clusters = a[0].labels, a[0].clusters
    need_patients(labels, a[0].classes, at_least=2, clusters=clusters)
    probs_a, probs_b = (np.stack([each.probs for each in model]) for model in (a, b))
    if len(labels) > SWAPPED_UP_TO:
        return p_of_means(labels, probs_a, probs_b, clusters)
    return p_of_swaps(labels, probs_a, probs_b, clusters, n_swaps=n_swaps, seed=seed)


def name_test(*n_units: int) -> str:
    """Name the test of `swap_test` for as many patients or nodes, for pages; of several comparisons those of each."""
    swaps = f"a permutation test that swaps the two models’ answers within patients {SWAPS:,} times, with DeLong’s z"
    if max(n_units) <= SWAPPED_UP_TO:
        return swaps
    if min(n_units) > SWAPPED_UP_TO:
        return "DeLong’s test"
    return f"{swaps}; of more than {SWAPPED_UP_TO:,} DeLong’s test"


def p_of_swaps(
    labels: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    clusters: np.ndarray | None = None,
    *,
    n_swaps: int = SWAPS,
    seed: int | Sequence[int] = 0,
) -> np.ndarray:
    """Compute the p-values of `swap_test` from labels (P,) and two models' probabilities (S, P, C), S seeds each."""
    order = np.argsort(labels, kind="stable")  # the patients of a class are neighbours
    labels, a, b = labels[order], a[:, order], b[:, order]
    owner = order if clusters is None else clusters[order]
    classes = [_OneVsRest.of(np.flatnonzero(labels == c), a[..., c], b[..., c]) for c in range(a.shape[-1])]
    of_nodes = None if clusters is None else owner
    sample = _statistics(classes, labels, np.ones((1, len(labels)), dtype=np.float32), of_nodes)[0]

    def count_above(kept: np.ndarray) -> np.ndarray:
        drawn = _statistics(classes, labels, 2 * kept[:, owner].astype(np.float32) - 1, of_nodes)
        alike = np.abs(drawn - sample) <= _ALIKE * (1 + sample)
        return np.asarray(np.where(alike, 0.5, drawn > sample).sum(axis=0))

    rng, step = np.random.default_rng(seed), max(1, _BLOCK // len(labels))
    rows = (min(step, n_swaps - start) for start in range(0, n_swaps, step))
    blocks = [rng.random((n, int(owner.max()) + 1)) < 0.5 for n in rows]
    with one_blas_thread(), ThreadPoolExecutor(min(cores(), len(blocks))) as pool:
        above = 0.5 + sum(pool.map(count_above, blocks))
    return np.where(sample <= _ALIKE, 1.0, above / (n_swaps + 1))  # no difference is no sign of one, however many agree


@dataclass(frozen=True)
class _OneVsRest:
    """Pairs that a class's patients win in one half less those that they win in the other, after swaps.

    The number of each patient, of the class or of the rest, is linear in the signs of all: 1 who is kept, -1 who is
    swapped. It is summed over the seeds and taken four times, whole and below 2^24, so that float32 sums are exact.

    Attributes:
        inside: Places of the class's patients, who are neighbours.
        own: What a patient's own sign counts for. Shape (P,).
        of_inside: What the sign of each of the rest counts for the class's patients. Shape (P, M), 0 within the class.
        of_rest: What the sign of each patient of the class counts for the rest. Shape (M, P), likewise.
        pairs: Pairs of all seeds, four times.
    """

    inside: slice
    own: np.ndarray
    of_inside: np.ndarray
    of_rest: np.ndarray
    pairs: float

    @classmethod
    def of(cls, places: np.ndarray, a: np.ndarray, b: np.ndarray) -> "_OneVsRest":
        """Compare the class's patients with all others, by two models' probabilities of the class (S, P)."""
        m, n = len(places), a.shape[1]
        inside = slice(int(places[0]), int(places[-1]) + 1)
        of_inside, of_rest = (np.zeros((m, n), dtype=np.float32) for _ in range(2))
        for of_a, of_b in zip(a, b, strict=True):
            x, y = _common_scale(of_a), _common_scale(of_b)
            same = _ahead(of_a[inside], of_a) - _ahead(of_b[inside], of_b)
            mixed = _ahead(x[inside], y) - _ahead(y[inside], x)
            of_rest += same + mixed
            of_inside += same - mixed
        of_rest[:, inside] = of_inside[:, inside] = 0
        own = of_inside.sum(axis=0)
        own[inside] = of_rest.sum(axis=1)
        return cls(inside, own, np.ascontiguousarray(of_inside.T), of_rest, 4.0 * len(a) * m * (n - m))

    def wins(self, signs: np.ndarray) -> np.ndarray:
        """Compute the number of each patient after swaps. Shape (R, P), as ``signs``."""
        found, inside = signs * self.own, self.inside
        for part in (slice(0, inside.start), slice(inside.stop, None)):  # before the class, and after it
            found[:, part] += signs[:, inside] @ self.of_rest[:, part]
            found[:, inside] += signs[:, part] @ self.of_inside[part]
        return np.asarray(found)


def _statistics(
    classes: Sequence[_OneVsRest], labels: np.ndarray, signs: np.ndarray, clusters: np.ndarray | None
) -> np.ndarray:
    """Compute the size of DeLong's z after swaps (R, P), of each class and of the mean. Shape (R, C + 1)."""
    gaps, influence, found = [], np.zeros(signs.shape), []
    for c, of_class in enumerate(classes):
        wins = of_class.wins(signs).astype(np.float64)  # exact, so that no order of sums tells draws apart
        wins /= of_class.pairs  # influence, but for a constant of the group
        gaps.append(wins[:, of_class.inside].sum(axis=1))
        found.append(z_test(gaps[-1], _variance(wins, classes, labels, labels == c, clusters))[0])
        influence += wins
    influence /= len(classes)
    found.append(z_test(np.mean(gaps, axis=0), _variance(influence, classes, labels, labels, clusters))[0])
    return np.asarray(np.abs(np.stack(found, axis=1)).clip(max=_MOST))


def _variance(
    influence: np.ndarray,
    classes: Sequence[_OneVsRest],
    labels: np.ndarray,
    groups: np.ndarray,
    clusters: np.ndarray | None,
) -> np.ndarray:
    """Compute `covariance` of influences (R, P) with themselves: shape (R,). Sums of each class make it fast."""
    if clusters is not None:
        return covariance(influence, influence, groups, clusters)
    parts = [influence[:, each.inside] for each in classes]
    sums = np.stack([part.sum(axis=1) for part in parts], axis=1)
    squares = np.stack([np.vecdot(part, part) for part in parts], axis=1)
    members = np.unique(groups) == groups[[each.inside.start for each in classes]][:, None]  # (C, G)
    sizes = np.bincount(labels) @ members
    variance = (squares @ members - (sums @ members) ** 2 / sizes) @ (sizes / (sizes - 1))
    return np.where(variance > _ROUNDING * squares.sum(axis=1), variance, 0)


def _ahead(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Tell who of x (rows) ranks above y (columns): 1, or -1 below, or 0 where alike. int8."""
    return np.asarray((x[:, None] > y[None]).view(np.int8) - (x[:, None] < y[None]).view(np.int8))


def _common_scale(probs: np.ndarray) -> np.ndarray:
    """Standardise the logits of probabilities (P,), so that two models' answers can be compared."""
    held = probs.clip(LEAST_PROB, 1 - LEAST_PROB)
    logits = np.log(held) - np.log1p(-held)
    spread = logits.std()
    return np.asarray((logits - logits.mean()) / (spread if spread > 0 else 1))
