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
_ALIKE = 1e-9  # relative difference below which two statistics differ by rounding
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
    return f"permutation test, {SWAPS:,} swaps of the two models’ answers within patients, DeLong’s z of each"


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
    classes = [_OneVsRest.of(labels == c, a[..., c], b[..., c]) for c in range(a.shape[-1])]
    owner = np.arange(len(labels)) if clusters is None else clusters
    sample = _statistics(classes, labels, np.ones((1, len(labels)), dtype=bool), clusters)[0]
    rng, above, step = np.random.default_rng(seed), np.full(len(sample), 0.5), max(1, _BLOCK // len(labels))
    for start in range(0, n_swaps, step):
        kept = rng.random((min(step, n_swaps - start), int(owner.max()) + 1)) < 0.5
        drawn = _statistics(classes, labels, kept[:, owner], clusters)
        alike = np.abs(drawn - sample) <= _ALIKE * (1 + sample)
        above += np.where(alike, 0.5, drawn > sample).sum(axis=0)
    return np.where(sample <= _ALIKE, 1.0, above / (n_swaps + 1))  # no difference is no sign of one, however many agree


@dataclass(frozen=True)
class _OneVsRest:
    """Pairs that a class's patients win in one half less those that they win in the other, after swaps.

    The number of each patient is linear in who was kept (1) or swapped (0). It is summed over the seeds; whole and half
    numbers below 2^24, so that float32 sums are exact.

    Attributes:
        base: The number of each patient, of the class or of the rest, where everyone is swapped. Shape (P,).
        kept: What a kept patient (row) adds to the number of each. Shape (P, P).
        positive: The patients of the class. Shape (P,).
        pairs: Pairs of all seeds.
    """

    base: np.ndarray
    kept: np.ndarray
    positive: np.ndarray
    pairs: float

    @classmethod
    def of(cls, positive: np.ndarray, a: np.ndarray, b: np.ndarray) -> "_OneVsRest":
        """Compare the class's patients with the rest, by two models' probabilities of it (S, P)."""
        n, rest = a.shape[1], ~positive
        base, kept = np.zeros(n), np.zeros((n, n), dtype=np.float32)
        for of_a, of_b in zip(a, b, strict=True):
            x, y = _common_scale(of_a), _common_scale(of_b)
            a_over_a, b_over_b = _above(of_a[positive], of_a[rest]), _above(of_b[positive], of_b[rest])
            a_over_b, b_over_a = _above(x[positive], y[rest]), _above(y[positive], x[rest])
            a_wins, b_wins = a_over_a + a_over_b, b_over_a + b_over_b  # by the answer to the patient of the class
            over_a, over_b = a_over_a + b_over_a, a_over_b + b_over_b  # and to that of the rest
            kept[np.ix_(rest, positive)] += (over_a - over_b).T
            kept[np.ix_(positive, rest)] += a_wins - b_wins
            kept[positive, positive] += (a_wins - b_wins).sum(axis=1)
            kept[rest, rest] += (over_a - over_b).sum(axis=0)
            base[positive] += (over_b - a_wins).sum(axis=1)
            base[rest] += (b_wins - over_a).sum(axis=0)
        return cls(base.astype(np.float32), kept, positive, float(len(a) * positive.sum() * rest.sum()))


def _statistics(
    classes: Sequence[_OneVsRest], labels: np.ndarray, kept: np.ndarray, clusters: np.ndarray | None
) -> np.ndarray:
    """Compute the size of DeLong's z after swaps (R, P), of each class and of the mean. Shape (R, C + 1)."""
    kept = kept.astype(np.float32)
    gap, influence, found = np.zeros(len(kept)), np.zeros(kept.shape), []
    for of_class in classes:
        wins = kept @ of_class.kept + of_class.base
        difference = wins @ of_class.positive.astype(np.float32) / np.float64(of_class.pairs)
        own = wins / np.float64(of_class.pairs)  # but for a constant of the group
        found.append(z_test(difference, covariance(own, own, of_class.positive, clusters))[0])
        gap += difference / len(classes)
        influence += own / len(classes)
    found.append(z_test(gap, covariance(influence, influence, labels, clusters))[0])
    return np.asarray(np.abs(np.stack(found, axis=1)).clip(max=_MOST))


def _above(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Tell who of x (rows) ranks above y (columns): 1, or 0.5 where alike."""
    return np.asarray((np.sign(x[:, None] - y[None]) + 1) / 2, dtype=np.float32)


def _common_scale(probs: np.ndarray) -> np.ndarray:
    """Standardise the logits of probabilities (P,), so that two models' answers can be compared."""
    held = probs.clip(LEAST_PROB, 1 - LEAST_PROB)
    logits = np.log(held) - np.log1p(-held)
    spread = logits.std()
    return np.asarray((logits - logits.mean()) / (spread if spread > 0 else 1))
