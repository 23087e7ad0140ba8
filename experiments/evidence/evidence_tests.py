"""Tests of the calibration of evidence: which reject."""

from collections import defaultdict

import numpy as np
from evidence_intervals import Hits
from evidence_models import CLASSES, labels_of, simulate, skills_for
from scipy.special import softmax
from scipy.stats import chi2

from fusion_ln.evaluation.delong import p_of_means
from fusion_ln.evaluation.significance import all_better, holm
from fusion_ln.evaluation.swaps import p_of_swaps
from fusion_ln.metrics import METRICS, PRIMARY, score

SWAPS = 399  # Holm's bounds, 0.05 / 4 to 0.05, are p-values of as many
LEVEL = 0.05
ONE = [metric for metric in METRICS if metric.name == PRIMARY]


def replicate_tests(n: int, recall: tuple[float, float], replicates: int, seed: list[int]) -> Hits:
    """Rejections of single tests, of Holm's family of four fusions, and of the intersection-union test."""
    rng, labels, hits = np.random.default_rng(seed), labels_of(n), defaultdict(list)
    better = (recall[0] + 0.05, min(recall[1] + 0.05, 0.995))
    worse = (recall[0] - 0.08, recall[1] - 0.08)
    ranges = (recall,) * 5 + (better,) * 3 + (worse,) * 2
    for number in range(replicates):
        logits = simulate(labels, skills_for(ranges, rng.random(1)), rng)[:, 0]
        probs = softmax(logits, axis=-1)
        found = [p_of_swaps(labels, probs[:1], own[None], n_swaps=SWAPS, seed=[*seed, number]) for own in probs[1:]]
        for name, p_values in (("swaps", found[0]), ("DeLong", p_of_means(labels, probs[:1], probs[1:2]))):
            for c, rejected in zip(CLASSES, p_values[:-1] <= LEVEL, strict=True):
                hits["rejection", f"auc:{c}", f"{name}, a class"].append(rejected)
            hits["rejection", PRIMARY, f"{name}, mean AUC"].append(p_values[-1] <= LEVEL)
        hits["rejection", "accuracy", "McNemar"].append(_mcnemar(labels, logits) < LEVEL)
        p = np.array([each[-1] for each in found])
        for true in range(4):  # so many of four fusions are better than the reference, model 0
            family = np.concatenate([p[: 4 - true], p[4 : 4 + true]])
            false = (holm(family)[: 4 - true] <= LEVEL).any()
            hits["family", PRIMARY, f"Holm, {true} of 4 fusions better"].append(false)
        # Model 0 is the fusion; single modalities as good as it (1, 2, 3) and worse (8, 9).
        auc = [score(labels, own, CLASSES, metrics=ONE)[PRIMARY][0] for own in probs]
        for name, singles in {"3 as good": (1, 2, 3), "2 as good": (1, 2, 8), "1 as good": (1, 8, 9)}.items():
            rows = list(singles)
            together, _ = all_better(auc[0] - np.take(auc, rows), p[np.array(rows) - 1])
            hits["family", PRIMARY, f"intersection-union, {name}"].append(together <= LEVEL)
    return hits


def _mcnemar(labels: np.ndarray, logits: np.ndarray) -> float:
    right = logits[:2].argmax(axis=-1) == labels
    apart = (right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum()
    return float(chi2.sf((apart[0] - apart[1]) ** 2 / max(sum(apart), 1), 1))
