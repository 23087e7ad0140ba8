"""Tests of the calibration of evidence: which reject."""

from collections import defaultdict

import numpy as np
from evidence_intervals import BLOCK, Hits
from evidence_models import CLASSES, labels_of, simulate, skills_for
from scipy.special import softmax
from scipy.stats import chi2, rankdata

from fusion_ln.evaluation.delong import z_test
from fusion_ln.evaluation.limits.auc import Aucs, aucs
from fusion_ln.evaluation.significance import all_better, holm
from fusion_ln.metrics import METRICS, PRIMARY, score

PERMUTED = (60, 100, 150)  # sizes whose permutation test is run: beyond it agrees with DeLong's
PERMUTATIONS = 199


def replicate_tests(n: int, recall: tuple[float, float], replicates: int, seed: list[int]) -> Hits:
    """Rejections of single tests, of Holm's family of four fusions, and of the intersection-union test."""
    rng, labels, hits = np.random.default_rng(seed), labels_of(n), defaultdict(list)
    better = (recall[0] + 0.05, min(recall[1] + 0.05, 0.995))
    worse = (recall[0] - 0.08, recall[1] - 0.08)
    for start in range(0, replicates, BLOCK):
        share = rng.random(min(BLOCK, replicates - start))
        skills = skills_for((recall,) * 5 + (better,) * 3 + (worse,) * 2, share)
        logits = simulate(labels, skills, rng)
        found = [aucs(labels, softmax(own, axis=-1)) for own in logits]
        z, p = _macro_tests(found[0], found[1:])
        for c, name in enumerate(CLASSES):
            own, other = found[0], found[1]
            variance = own.covariance(own) + other.covariance(other) - 2 * own.covariance(other)
            _, of_class = z_test((own.by_class - other.by_class)[:, c], variance[:, c])
            hits["rejection", f"auc:{name}", "DeLong"] += (of_class < 0.05).tolist()
        hits["rejection", "auc_ovr", "macro DeLong"] += (p[0] < 0.05).tolist()
        if n in PERMUTED:
            pairs = zip(*softmax(logits[:2], axis=-1), strict=True)
            hits["rejection", "auc_ovr", "permutation"] += [permutation_p(labels, *pair, rng) <= 0.05 for pair in pairs]
        right = logits[:2].argmax(axis=-1) == labels
        apart = np.stack([(right[m] & ~right[1 - m]).sum(axis=-1) for m in range(2)])
        statistic = np.square(apart[0] - apart[1]) / np.maximum(apart.sum(axis=0), 1)
        hits["rejection", "accuracy", "McNemar"] += (chi2.sf(statistic, 1) < 0.05).tolist()
        for true in range(4):  # so many of four fusions are better than the reference, model 0
            family = np.concatenate([p[: 4 - true], p[4 : 4 + true]])
            false = (holm(family)[: 4 - true] < 0.05).any(axis=0)
            hits["family", "auc_ovr", f"Holm, {true} of 4 fusions better"] += false.tolist()
        # Model 0 is the fusion; single modalities as good as it (1, 2, 3) and worse (8, 9).
        for name, singles in {"3 as good": (1, 2, 3), "2 as good": (1, 2, 8), "1 as good": (1, 8, 9)}.items():
            rows = [single - 1 for single in singles]
            together, _ = all_better(z[rows], p[rows])
            hits["family", "auc_ovr", f"intersection-union, {name}"] += (together < 0.05).tolist()
    return hits


def permutation_p(labels: np.ndarray, a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> float:
    """P-value of the difference in macro AUC, by swapping two models' answers within patients."""
    ranks, twice = np.concatenate([rankdata(each, axis=0) for each in (a, b)]), np.concatenate([labels, labels])
    swaps = np.concatenate([np.zeros((1, len(labels)), bool), rng.random((PERMUTATIONS, len(labels))) < 0.5])
    first = np.concatenate([~swaps, swaps], axis=1).astype(np.float32)
    metrics = [metric for metric in METRICS if metric.name == PRIMARY]
    found = [
        score(twice, np.concatenate([a, b]), CLASSES, half, ranking=ranks, metrics=metrics)[PRIMARY]
        for half in (first, 1 - first)
    ]
    gaps = np.abs(found[0] - found[1])
    return float((gaps >= gaps[0] - 1e-12).mean())


def _macro_tests(own: Aucs, others: list[Aucs]) -> tuple[np.ndarray, np.ndarray]:
    """Test the macro AUC of ``own`` minus each other's: z and p, both (K, R)."""
    tests = []
    for other in others:
        variance = own.macro_covariance(own) + other.macro_covariance(other) - 2 * own.macro_covariance(other)
        tests.append(z_test(own.macro - other.macro, variance))
    return np.stack([z for z, _ in tests]), np.stack([p for _, p in tests])
