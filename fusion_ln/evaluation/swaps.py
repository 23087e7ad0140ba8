"""Permutation test of two models' AUCs: their answers swapped within patients, DeLong's z as the statistic."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fusion_ln.evaluation.delong import p_of_means, z_test
from fusion_ln.evaluation.limits.auc import covariance
from fusion_ln.metrics import need_patients
from fusion_ln.predictions import Predictions
from fusion_ln.resamples import LEAST_PROB

SWAPS = 10_000
SWAPPED_UP_TO = 1000  # patients or nodes; beyond, DeLong's p is near it (experiments/benchmarks/auc_tests.md)
_BLOCK = 1 << 20  # placements held at once: 8 MiB
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


def name_test(n_patients: int) -> str:
    """Name the test of `swap_test` for as many patients, for pages."""
    if n_patients > SWAPPED_UP_TO:
        return "DeLong’s test"
    return f"a permutation test that swaps the two models’ answers within patients {SWAPS:,} times, with DeLong’s z"


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
    rng, above, step = np.random.default_rng(seed), np.full(len(sample), 0.5), max(1, _BLOCK // len(labels))
    for start in range(0, n_swaps, step):
        kept = rng.random((min(step, n_swaps - start), int(owner.max()) + 1)) < 0.5
        drawn = _statistics(classes, labels, kept[:, owner].astype(np.float32), of_nodes)
        alike = np.abs(drawn - sample) <= _ALIKE * (1 + sample)
        above += np.where(alike, 0.5, drawn > sample).sum(axis=0)
    return np.where(sample <= _ALIKE, 1.0, above / (n_swaps + 1))  # no difference is no sign of one, however many agree


@dataclass(frozen=True)
class _OneVsRest:
    """Pairs that a class's patients win in one half less those that they win in the other, after swaps.

    The number of each patient, of the class or of the rest, is linear in who was kept (1) or swapped (0). It is summed
    over the seeds; whole and half numbers below 2^24, so that float32 sums are exact.

    Attributes:
        inside: Places of the class's patients, who are neighbours.
        base: The number of each patient where everyone is swapped. Shape (P,).
        own: What being kept adds to a patient's own number. Shape (P,).
        of_inside: What each of the rest who is kept adds to the numbers of the class's patients. Shape (P, M), 0 within
            the class.
        of_rest: What each patient of the class who is kept adds to the numbers of the rest. Shape (M, P), likewise.
        pairs: Pairs of all seeds.
    """

    inside: slice
    base: np.ndarray
    own: np.ndarray
    of_inside: np.ndarray
    of_rest: np.ndarray
    pairs: float

    @classmethod
    def of(cls, places: np.ndarray, a: np.ndarray, b: np.ndarray) -> "_OneVsRest":
        """Compare the class's patients with all others, by two models' probabilities of the class (S, P)."""
        m, n = len(places), a.shape[1]
        inside = slice(int(places[0]), int(places[-1]) + 1)
        base, own, of_inside, of_rest = np.zeros(n), np.zeros(n), np.zeros((n, m)), np.zeros((m, n))
        for of_a, of_b in zip(a, b, strict=True):
            x, y = _common_scale(of_a), _common_scale(of_b)
            a_over_a, b_over_b = _above(of_a[inside], of_a), _above(of_b[inside], of_b)
            a_over_b, b_over_a = _above(x[inside], y), _above(y[inside], x)
            for each in (a_over_a, b_over_b, a_over_b, b_over_a):
                each[:, inside] = 0
            a_wins, b_wins = a_over_a + a_over_b, b_over_b + b_over_a  # by the answer to the patient of the class
            over_a, over_b = a_over_a + b_over_a, a_over_b + b_over_b  # and to that of the rest
            of_inside += (over_a - over_b).T
            of_rest += a_wins - b_wins
            own += (over_a - over_b).sum(axis=0)
            own[inside] += (a_wins - b_wins).sum(axis=1)
            base += (b_wins - over_a).sum(axis=0)
            base[inside] += (over_b - a_wins).sum(axis=1)
        pairs = float(len(a) * m * (n - m))
        return cls(inside, _exact(base), _exact(own), _exact(of_inside), _exact(of_rest), pairs)

    def wins(self, kept: np.ndarray) -> np.ndarray:
        """Compute the number of each patient after swaps. Shape (R, P), as ``kept``."""
        found = kept * self.own
        found += self.base
        inside, before, after = self.inside, slice(0, self.inside.start), slice(self.inside.stop, None)
        for part in (before, after):
            found[:, part] += kept[:, inside] @ self.of_rest[:, part]
            found[:, inside] += kept[:, part] @ self.of_inside[part]
        return np.asarray(found)


def _statistics(
    classes: Sequence[_OneVsRest], labels: np.ndarray, kept: np.ndarray, clusters: np.ndarray | None
) -> np.ndarray:
    """Compute the size of DeLong's z after swaps (R, P), of each class and of the mean. Shape (R, C + 1)."""
    gaps, influence, found = [], np.zeros(kept.shape, dtype=np.float32), []
    for c, of_class in enumerate(classes):
        wins = of_class.wins(kept)
        gaps.append(wins[:, of_class.inside].sum(axis=1, dtype=np.float64) / of_class.pairs)
        wins /= np.float32(of_class.pairs)  # influence, but for a constant of the group
        found.append(z_test(gaps[-1], _variance(wins, classes, labels, labels == c, clusters))[0])
        influence += wins / np.float32(len(classes))
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
        exact = influence.astype(np.float64)
        return covariance(exact, exact, groups, clusters)
    parts = [influence[:, each.inside] for each in classes]
    # In float64, so that no processor's order of sums decides between draws that are nearly alike.
    sums = np.stack([part.sum(axis=1, dtype=np.float64) for part in parts], axis=1)
    squares = np.stack([np.einsum("rp,rp->r", part, part, dtype=np.float64) for part in parts], axis=1)
    members = np.unique(groups) == groups[[each.inside.start for each in classes]][:, None]  # (C, G)
    sizes = np.bincount(labels) @ members
    variance = (squares @ members - (sums @ members) ** 2 / sizes) @ (sizes / (sizes - 1))
    return np.where(variance > _ROUNDING * squares.sum(axis=1), variance, 0)


def _exact(halves: np.ndarray) -> np.ndarray:
    return np.asarray(halves, dtype=np.float32)


def _above(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Tell who of x (rows) ranks above y (columns): 1, or 0.5 where alike."""
    return np.asarray((np.sign(x[:, None] - y[None]) + 1) / 2, dtype=np.float32)


def _common_scale(probs: np.ndarray) -> np.ndarray:
    """Standardise the logits of probabilities (P,), so that two models' answers can be compared."""
    held = probs.clip(LEAST_PROB, 1 - LEAST_PROB)
    logits = np.log(held) - np.log1p(-held)
    spread = logits.std()
    return np.asarray((logits - logits.mean()) / (spread if spread > 0 else 1))
